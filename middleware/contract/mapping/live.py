"""A mapping against what the remote says about itself: the R-codes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from typing import Literal

from middleware.contract.capabilities import Description, FieldInfo, ObjectInfo
from middleware.contract.mapping import paths
from middleware.contract.mapping.codes import issue
from middleware.contract.mapping.fields import FieldRule
from middleware.contract.mapping.issues import Issue, Place, Severity, did_you_mean
from middleware.contract.mapping.mapping import Mapping
from middleware.contract.mapping.steps import text

KEY_LENGTH = 64
"""The most characters that an idempotency key of the hub has."""

_FAMILIES = {
    "boolean": ("bool", "checkbox"),
    "moment": ("datetime", "timestamp"),
    "date": ("date",),
    "number": ("int", "long", "short", "double", "float", "decimal", "numeric", "number",
               "currency", "percent", "money", "monetary", "byte"),
    "object": ("object", "many2one", "one2many", "many2many", "address", "location", "complex"),
}  # fmt: skip

_UNFIT = {
    "boolean": {"moment", "date", "object"},
    "integer": {"boolean", "moment", "date", "object"},
    "decimal": {"boolean", "moment", "date", "object"},
    "money": {"boolean", "moment", "date", "object"},
    "date": {"boolean", "number", "object"},
    "datetime": {"boolean", "number", "object"},
    "email": {"boolean", "moment", "date", "number", "object"},
    "phone": {"boolean", "moment", "date", "object"},
    "country": {"boolean", "moment", "date", "number", "object"},
    "currency": {"boolean", "moment", "date", "number", "object"},
    "uuid": {"boolean", "moment", "date", "number", "object"},
    "string": {"object"},
}
_OURS_FOR = {"boolean": "boolean", "moment": "datetime", "date": "date", "number": "decimal"}


def family(remote_type: str) -> str:
    """The kind of value that a remote's type name stands for: text where nothing says more."""
    name = remote_type.lower().rpartition(":")[2]
    if name.startswith(("datetime", "timestamp")):
        return "moment"
    for known, beginnings in _FAMILIES.items():
        if name.startswith(beginnings):
            return known
    return "text"


def against(mapping: Mapping, description: Description) -> list[Issue]:
    """Every issue between a mapping and the remote's own description, in the file's order."""
    return list(_Live(mapping, description).issues())


class _Live:
    """One comparison; `used` collects the remote fields that the mapping touches."""

    def __init__(self, mapping: Mapping, description: Description) -> None:
        self.mapping = mapping
        self.description = description
        self.sides = mapping.file.sides
        self.is_operation = self.sides.operation is not None
        self.name = self.sides.operation or self.sides.object
        self.infos: dict[str, FieldInfo] = {}
        self.used: set[str] = set()
        self.absent: set[str] = set()

    def issues(self) -> Iterator[Issue]:
        yield from self._lock()
        found = self._object()
        if found is None:
            names = [described.name for described in self.description.objects]
            code = "R201" if self.is_operation else "R101"
            what = "operation" if self.is_operation else "object"
            yield issue(
                code,
                f"{self.description.system} has no {what} {self.name!r}"
                f"{did_you_mean(self.name, names)}",
                self.sides.place,
            )
            return
        self.infos = {info.name: info for info in found.fields}
        if self.mapping.pulls:
            yield from self._reads(self.mapping.fields, ((),))
            yield from self._match()
        if self.mapping.pushes:
            yield from self._writes(self._pushed(self.mapping.fields, ()))
            yield from self._key()
        if self.mapping.pulls and not self.is_operation:
            yield from self._unmapped()

    def _object(self) -> ObjectInfo | None:
        return next((o for o in self.description.objects if o.name == self.name), None)

    def _lock(self) -> Iterator[Issue]:
        lock, version = self.sides.wsdl_lock, self.description.version
        if lock is not None and version.startswith("sha256:") and version != lock:
            yield issue(
                "R203",
                f"the WSDL changed since this file was written: it is {version} now",
                self.mapping.file.places["target" if self.sides.ours_is_source else "source"],
            )

    # reading

    def _reads(
        self, rules: Iterable[FieldRule], stack: tuple[tuple[str, ...], ...]
    ) -> Iterator[Issue]:
        for rule in rules:
            if not rule.direction.pulls:
                continue
            for path in rule.read_paths():
                base = stack[max(0, len(stack) - 1 - path.ups)]
                yield from self._read(rule, base, path)
            if rule.origin == "each":
                base = stack[max(0, len(stack) - 1 - rule.sources[0].ups)]
                below = (*base, *_named(rule.sources[0]))
                yield from self._reads(rule.fields, (*stack, below))

    def _read(self, rule: FieldRule, base: tuple[str, ...], path: paths.Path) -> Iterator[Issue]:
        segments = (*base, *_named(path))
        if path.special == "#" or not segments:
            return
        info = self._resolve(segments)
        if info is False:
            yield self._absent(".".join(segments), rule.where)
        elif info is not None and path in rule.sources:
            yield from self._type(rule, info)
            yield from self._gaps(rule, info)

    def _resolve(self, segments: tuple[str, ...]) -> FieldInfo | Literal[False] | None:
        """The field's description; None where the remote describes only what encloses it."""
        name = ".".join(segments)
        self.used.add(segments[0])
        self.used.add(name)
        if name in self.infos:
            return self.infos[name]
        if any(known.startswith(name + ".") for known in self.infos):
            return None
        for length in range(len(segments) - 1, 0, -1):
            above = ".".join(segments[:length])
            described = [k for k in self.infos if k.startswith(above + ".")]
            if described:
                return False
            if above in self.infos:
                return None
            # A relationship is described by its key field: Account by AccountId.
            for key in (above + "Id", above + "_id", above.removesuffix("__r") + "__c"):
                if key in self.infos:
                    self.used.add(key)
                    return None
        return False

    def _absent(self, name: str, place: Place) -> Issue:
        self.absent.add(name)
        hint = did_you_mean(name, self.infos)
        if self.is_operation:
            return issue("R201", f"{self.name} has no element {name!r}{hint}", place)
        return issue("R101", f"{self.name} has no field {name!r}{hint}", place)

    def _type(self, rule: FieldRule, info: FieldInfo) -> Iterator[Issue]:
        if rule.type is None or rule.table is not None or rule.uses:
            return
        theirs = family(info.type)
        if theirs not in _UNFIT[rule.type] or (theirs == "number" and rule.format is not None):
            return
        better = _OURS_FOR.get(theirs)
        hint = f"; use type: {better}" if better else ""
        yield issue(
            "R102",
            f"{info.name} is {info.type} in the remote, which is no {rule.type}{hint}",
            rule.places.get("type", rule.place),
        )

    def _gaps(self, rule: FieldRule, info: FieldInfo) -> Iterator[Issue]:
        """Values that the remote may send and the table does not know."""
        if rule.table is None or not info.values or rule.table.otherwise is not None:
            return
        unknown = rule.unknown_value or self.mapping.file.defaults.unknown_value
        missing = [value for value in info.values if value not in rule.table.entries]
        if missing and unknown == "error" and not rule.uses:
            yield issue(
                "R103",
                f"values of {info.name} without an entry: {', '.join(missing)}",
                rule.places.get("table", rule.place),
                Severity.WARNING,
            )

    def _match(self) -> Iterator[Issue]:
        match = self.mapping.match
        if match is None:
            return
        place = self.mapping.file.places["match"]
        segments = _named(paths.parse(match.theirs))
        info = self._resolve(segments)
        if info is False:
            yield self._absent(".".join(segments), place)
        elif (
            isinstance(info, FieldInfo)
            and not info.unique
            and any(other.unique for other in self.infos.values())
        ):
            yield issue("R107", f"{info.name} is not unique in the remote", place)

    def _unmapped(self) -> Iterator[Issue]:
        place = self.mapping.file.places["fields"]
        for name in self.infos:
            root = name.split(".", 1)[0]
            if name in self.used or (root in self.used and name != root):
                continue
            if any(fnmatchcase(name, pattern) for pattern in self.mapping.file.ignore):
                continue
            yield issue("R105", f"remote field {name!r} is neither mapped nor ignored", place)

    # writing

    def _pushed(
        self, rules: Iterable[FieldRule], base: tuple[str, ...]
    ) -> Iterator[tuple[FieldRule, tuple[str, ...]]]:
        """Every line that is pushed, with the remote path that it writes."""
        for rule in rules:
            if not rule.direction.pushes:
                continue
            path = rule.path if self.sides.ours_is_source else rule.push_path
            if path is None:
                continue
            target = (*base, *_named(path))
            yield rule, target
            if rule.origin == "each":
                yield from self._pushed(rule.fields, target)

    def _writes(self, pushed: Iterator[tuple[FieldRule, tuple[str, ...]]]) -> Iterator[Issue]:
        written: dict[str, FieldRule] = {}
        forward = self.sides.ours_is_source
        for rule, target in pushed:
            name = ".".join(target)
            written[name] = rule
            self.used.update((target[0], name))
            info = self._resolve(target)
            if info is False:
                if name not in self.absent:
                    yield self._absent(name, rule.place if forward else rule.where)
            elif isinstance(info, FieldInfo):
                yield from self._written(rule, info)
        yield from self._required(written)

    def _written(self, rule: FieldRule, info: FieldInfo) -> Iterator[Issue]:
        if not info.writable:
            yield issue("R104", f"{info.name} is read-only in the remote", rule.where)
        if info.values:
            wrong = [value for value in _sent(rule, self.sides.ours_is_source)
                     if value not in info.values]  # fmt: skip
            if wrong:
                yield issue(
                    "R103",
                    f"{info.name} does not take {', '.join(wrong)}; "
                    f"it takes {', '.join(info.values[:12])}",
                    rule.places.get("table", rule.where),
                )
        if info.max_length is not None:
            yield from self._length(rule, info, info.max_length)

    def _length(self, rule: FieldRule, info: FieldInfo, limit: int) -> Iterator[Issue]:
        if rule.max_length is not None and rule.max_length > limit:
            yield issue(
                "R106",
                f"max_length is {rule.max_length}, {info.name} takes {limit} characters",
                rule.places["max_length"],
            )
        for use in rule.uses:
            if use.step.name == "truncate" and use.argument > limit:
                yield issue(
                    "R106", f"{info.name} takes {limit} characters, not {use.argument}", use.place
                )
        longest = max(map(len, _sent(rule, self.sides.ours_is_source)), default=0)
        if longest > limit:
            yield issue(
                "R106", f"{info.name} takes {limit} characters, a value here has {longest}",
                rule.where,
            )  # fmt: skip

    def _required(self, written: dict[str, FieldRule]) -> Iterator[Issue]:
        """R202, where a record is made: what bears no key and is not matched only changes one."""
        if not (self.is_operation or self.mapping.idempotency or self.mapping.match):
            return
        code, what = "R202", "element" if self.is_operation else "field"
        place = self.mapping.file.places["fields"]
        for info in self.infos.values():
            if not info.required or not info.writable:
                continue
            rule = written.get(info.name)
            if rule is not None:
                sure = rule.required or rule.default is not None or rule.origin in ("const", "each")
                if self.sides.ours_is_source and not sure:
                    yield issue(
                        code,
                        f"required {what} {info.name!r} may be left empty; set required: true or "
                        "a default",
                        rule.place,
                        Severity.WARNING,
                    )
                continue
            if any(name.startswith(info.name + ".") for name in written):
                continue
            if self._inside_what_is_left_out(info.name, written):
                continue
            yield issue(code, f"required {what} {info.name!r} is not mapped", place)

    def _inside_what_is_left_out(self, name: str, written: dict[str, FieldRule]) -> bool:
        """Whether an optional part that encloses the element is not sent at all, or sent whole."""
        segments = name.split(".")
        for length in range(1, len(segments)):
            above = ".".join(segments[:length])
            if above in written and written[above].origin != "each":
                return True
            optional = above in self.infos and not self.infos[above].required
            if optional and not any(n == above or n.startswith(above + ".") for n in written):
                return True
        return False

    def _key(self) -> Iterator[Issue]:
        idempotency = self.mapping.idempotency
        if idempotency is None:
            return
        path = paths.parse(idempotency.field)
        info = self._resolve(_named(path))
        place = self.mapping.file.places["idempotency"]
        if info is False:
            yield self._absent(path.key, place)
        elif isinstance(info, FieldInfo) and (info.max_length or KEY_LENGTH) < KEY_LENGTH:
            made = [r for r in self.mapping.fields if r.path.text == idempotency.field]
            if not any(path.key != "key" for rule in made for path in rule.sources):
                yield issue(
                    "R106",
                    f"our key has up to {KEY_LENGTH} characters, {info.name} takes "
                    f"{info.max_length}; fill it from a shortened key that the adapter offers",
                    place,
                )


def _named(path: paths.Path) -> tuple[str, ...]:
    """The path's segments without list indexes: the names that a remote describes."""
    return tuple(
        segment
        for segment, literal in zip(path.segments, path.literal, strict=True)
        if not paths.is_index(segment, literal)
    )


def _sent(rule: FieldRule, forward: bool) -> list[str]:
    """Every value that a line is known to send."""
    if rule.origin == "const":
        return [text(rule.const)]
    if rule.table is None or rule.type is not None:
        return []
    if not forward:
        return [] if rule.uses else list(map(text, rule.table.sources.values()))
    values = [*rule.table.entries.values(), rule.table.otherwise, rule.default]
    return [text(value) for value in values if value is not None]
