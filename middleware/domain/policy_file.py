"""Reading a policy from a YAML file or from JSON, with the place of every mistake."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML

from middleware.contract.mapping.document import Block, Node, Scalar, parse, read
from middleware.contract.mapping.document import Sequence as Listed
from middleware.contract.mapping.issues import MappingInvalid, Place, did_you_mean
from middleware.domain import policy as words
from middleware.domain.policy import Policy, PolicyInvalidError

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True, order=True)
class Mistake:
    """One thing that is wrong with a policy: where in the file, or as a JSON Pointer, and what."""

    place: Place | None
    pointer: str
    message: str

    def __str__(self) -> str:
        return f"{self.place or self.pointer or '/'}: {self.message}"


class PolicyUnreadableError(ValueError):
    """A policy is wrong; `mistakes` lists everything that is."""

    def __init__(self, mistakes: Iterable[Mistake]) -> None:
        self.mistakes = tuple(mistakes)
        super().__init__("\n".join(map(str, self.mistakes)))


def read_policy(path: Path, file: str | None = None) -> Policy:
    """Read a policy file (YAML 1.2; JSON is YAML too). Raises PolicyUnreadableError."""
    return _checked(*plain_of(path, file))


def parse_policy(text: str, file: str = "policy") -> Policy:
    """Read a policy from the text of such a file. Raises PolicyUnreadableError."""
    try:
        return _policy(parse(text, file))
    except MappingInvalid as error:
        raise _not_yaml(error) from None


def policy_of(body: Any) -> Policy:
    """Read a policy from plain JSON. Raises PolicyUnreadableError with JSON Pointers."""
    return _checked(body, None)


def body_of(policy: Policy) -> dict[str, Any]:
    """A policy as plain JSON, in the form of a policy file; what it leaves out is the default."""
    return policy.model_dump(mode="json", exclude_defaults=True)


def text_of(policy: Policy) -> str:
    """A policy as the text of a policy file."""
    return yaml_of(body_of(policy))


def yaml_of(body: dict[str, Any]) -> str:
    """Plain JSON as the text of a file."""
    text = io.StringIO()
    yaml = YAML()
    yaml.default_flow_style = False
    yaml.width = 100
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.dump(body, text)
    return text.getvalue()


def checked(model: type[Model], plain: Any, root: Node | None, *, names: frozenset[str]) -> Model:
    """Anything that is read as a policy is. Raises PolicyUnreadableError with every mistake.

    `root` is the file that `plain` was read from, for places in it; `names` are all that may stand
    anywhere in it, for whoever mistyped one.
    """
    try:
        return model.model_validate(plain)
    except PolicyInvalidError as error:
        found = error.mistakes
    except ValidationError as error:
        found = tuple(
            (wrong["loc"], _told(wrong, names))
            for wrong in error.errors(include_url=False, include_input=False)
        )
    raise PolicyUnreadableError(placed(found, root)) from None


def placed(
    found: Iterable[tuple[Sequence[int | str], str]], root: Node | None
) -> tuple[Mistake, ...]:
    """What is to be said about places of a policy, in the file that it was read from."""
    return tuple(
        Mistake(_place(root, loc) if root else None, _pointer(loc), message)
        for loc, message in found
    )


def names_in(module: Any) -> frozenset[str]:
    """The fields of all models of a module."""
    return frozenset(
        name
        for model in vars(module).values()
        if isinstance(model, type) and issubclass(model, BaseModel)
        for name in model.model_fields
    )


def plain_of(path: Path, file: str | None = None) -> tuple[Any, Node]:
    """What a file says as dicts, lists and scalars, and its places. Raises PolicyUnreadableError.

    YAML 1.2; JSON is YAML too. A number with a point keeps its digits as text.
    """
    try:
        root = read(path, file)
    except MappingInvalid as error:
        raise _not_yaml(error) from None
    return _plain(root), root


def hash_of(body: dict[str, Any]) -> str:
    """What tells whether two policies are the same."""
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _policy(root: Node) -> Policy:
    return _checked(_plain(root), root)


def _checked(plain: Any, root: Node | None) -> Policy:
    return checked(Policy, plain, root, names=names_in(words))


def _plain(node: Node) -> Any:
    """The node as dicts, lists and scalars; a number with a point keeps its digits as text."""
    if isinstance(node, Scalar):
        return node.text if isinstance(node.value, float) else node.value
    if isinstance(node, Listed):
        return [_plain(item) for item in node.items]
    return {key: _plain(entry.node) for key, entry in node.entries.items()}


def _told(wrong: Any, names: frozenset[str]) -> str:
    if wrong["type"] == "extra_forbidden":
        name = str(wrong["loc"][-1])
        return f"there is no {name!r} here{did_you_mean(name, sorted(names - {name}))}"
    if wrong["type"] == "missing":
        return f"{wrong['loc'][-1]!r} is missing"
    message = str(wrong["msg"]).removeprefix("Value error, ").removeprefix("Input ")
    return message[:1].lower() + message[1:]


def _place(root: Node, loc: Sequence[int | str]) -> Place:
    """Where a path leads, as far as the file goes along with it."""
    node, place = root, root.place
    for part in loc:
        if isinstance(node, Block) and part in node.entries:
            entry = node.entries[str(part)]
            node, place = entry.node, entry.key.place
        elif isinstance(node, Listed) and isinstance(part, int) and part < len(node.items):
            node = node.items[part]
            place = node.place
        elif not isinstance(node, Block | Listed):
            break
    return place


def _pointer(loc: Sequence[int | str]) -> str:
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in loc)


def _not_yaml(error: MappingInvalid) -> PolicyUnreadableError:
    return PolicyUnreadableError(Mistake(issue.place, "", issue.message) for issue in error.issues)
