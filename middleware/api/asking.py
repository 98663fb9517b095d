"""What is asked for, read: from a request's body, or from a file at the console."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from middleware.api import problems
from middleware.api.schemas.actions import ActionAsked
from middleware.contract.actions import REQUESTS
from middleware.contract.canonical import Ref
from middleware.domain.actions import Wanted
from middleware.domain.problems import InvalidError

A = TypeVar("A", bound=BaseModel)

_REFS = frozenset(("order", "contact", "account", "case", "on"))
_ASKED: TypeAdapter[Any] = TypeAdapter(ActionAsked)


def read(form: type[A], body: dict[str, Any]) -> A:
    """A body of one form, validated; raises InvalidError with the places."""
    try:
        return form.model_validate(body)
    except ValidationError as error:
        places = error.errors(include_url=False, include_input=False)
        found = problems.field_problems(places, body, form)
        raise InvalidError("The request is not valid.", errors=found) from None


def asked_of(body: Any) -> Any:
    """The body of `POST /v1/actions`, validated; raises InvalidError with the places."""
    try:
        return _ASKED.validate_python(body)
    except ValidationError as error:
        places = error.errors(include_url=False, include_input=False)
        # Behind the operation's name, which pydantic puts first, lie the body's own fields.
        inside = [{**one, "loc": one["loc"][1:]} for one in places]
        found = problems.field_problems(inside, body, None)
        raise InvalidError("The request is not valid.", errors=found) from None


def wanted_of(asked: Any) -> Wanted:
    """A request in the words of the domain; raises InvalidError with the places."""
    request = _plain(asked.request)
    body = {
        "operation": asked.operation,
        "request": request,
        "complaint_id": asked.complaint_id,
        "person_id": asked.person_id,
        "case": _plain(asked.case) if asked.case is not None else None,
        "note": asked.note,
        "evidence": tuple(asked.evidence),
        "override": asked.override,
    }
    try:
        model = REQUESTS[asked.operation]
        return Wanted.model_validate({**body, "request": model.model_validate(request)})
    except ValidationError as error:
        found = problems.field_problems(
            error.errors(include_url=False, include_input=False), body, Wanted, prefix=""
        )
        raise InvalidError("The request contradicts itself.", errors=found) from None


def _plain(part: BaseModel) -> dict[str, Any]:
    """A part of a request as the contract reads it: references parsed, absent parts left out."""
    plain = part.model_dump(exclude_none=True)
    return {name: Ref.parse(value) if name in _REFS else value for name, value in plain.items()}
