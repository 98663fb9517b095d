"""Reading a policy from a YAML file or from JSON, with the place of every mistake."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML

from middleware.contract.mapping.document import Block, Node, Scalar, parse, read
from middleware.contract.mapping.document import Sequence as Listed
from middleware.contract.mapping.issues import MappingInvalid, Place, did_you_mean
from middleware.domain import policy as words
from middleware.domain.policy import Policy, PolicyInvalidError

_KNOWN = frozenset(
    name
    for model in vars(words).values()
    if isinstance(model, type) and issubclass(model, BaseModel)
    for name in model.model_fields
)


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
    try:
        return _policy(read(path, file))
    except MappingInvalid as error:
        raise _not_yaml(error) from None


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
    text = io.StringIO()
    yaml = YAML()
    yaml.default_flow_style = False
    yaml.width = 100
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.dump(body_of(policy), text)
    return text.getvalue()


def hash_of(body: dict[str, Any]) -> str:
    """What tells whether two policies are the same."""
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _policy(root: Node) -> Policy:
    return _checked(_plain(root), root)


def _checked(plain: Any, root: Node | None) -> Policy:
    try:
        return Policy.model_validate(plain)
    except PolicyInvalidError as error:
        found = error.mistakes
    except ValidationError as error:
        found = tuple(
            (wrong["loc"], _told(wrong))
            for wrong in error.errors(include_url=False, include_input=False)
        )
    raise PolicyUnreadableError(
        Mistake(_place(root, loc) if root else None, _pointer(loc), message)
        for loc, message in found
    ) from None


def _plain(node: Node) -> Any:
    """The node as dicts, lists and scalars; a number with a point keeps its digits as text."""
    if isinstance(node, Scalar):
        return node.text if isinstance(node.value, float) else node.value
    if isinstance(node, Listed):
        return [_plain(item) for item in node.items]
    return {key: _plain(entry.node) for key, entry in node.entries.items()}


def _told(wrong: Any) -> str:
    if wrong["type"] == "extra_forbidden":
        name = str(wrong["loc"][-1])
        return f"there is no {name!r} here{did_you_mean(name, sorted(_KNOWN - {name}))}"
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
