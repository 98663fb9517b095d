"""What the org says about itself and about our user's rights, without changing anything."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from adapters.salesforce import layout
from adapters.salesforce.client import SYSTEM, Client
from middleware.contract.capabilities import (
    CheckReport,
    Description,
    FieldInfo,
    Finding,
    ObjectInfo,
)
from middleware.contract.errors import RemoteError
from middleware.contract.mapping import Mapping


class Checking:
    """One look at the org; what it has described is not asked for again."""

    def __init__(self, client: Client, mappings: Sequence[Mapping], version: str) -> None:
        self._client = client
        self._mappings = mappings
        self._version = version
        self._known: dict[str, dict[str, Any] | None] = {}

    def check(self) -> CheckReport:
        """Logs in, and compares the org's objects, fields and permissions with the mappings."""
        try:
            self._client.log_in()
            left, most = self._client.requests_left()
        except RemoteError as error:
            return CheckReport(
                findings=(
                    Finding(
                        name="login",
                        ok=False,
                        detail=error.message,
                        remedy="Correct url, login, username or the secrets; or mend the network "
                        "between here and Salesforce.",
                    ),
                )
            )
        findings = [
            Finding(name="login", ok=True, detail=f"API {self._version}"),
            Finding(
                name="API requests",
                ok=left > most // 20,
                detail=f"{left} of {most} left for today",
                remedy="" if left > most // 20 else "Sync less often, or buy more requests.",
            ),
        ]
        try:
            for mapping in self._mappings:
                findings += self._check(mapping)
        except RemoteError as error:
            findings.append(Finding(name="describe", ok=False, detail=error.message))
        return CheckReport(findings=tuple(findings))

    def _check(self, mapping: Mapping) -> Iterator[Finding]:
        name = f"{mapping.object} ({mapping.path.name})"
        about = self._described(mapping.object)
        if about is None or not about.get("queryable", True):
            yield Finding(
                name=name,
                ok=False,
                detail=f"the hub's user sees no object {mapping.object}",
                remedy="Give the user's permission set read access to the object, or correct its "
                "name in the mapping.",
            )
            return
        missing = [path for path in layout.needed(mapping) if not self._resolve(path, about)]
        yield Finding(
            name=name,
            ok=not missing,
            detail="" if not missing else f"the hub's user does not see {', '.join(missing)}",
            remedy=""
            if not missing
            else "Create the fields, give the permission set read access to them, or take their "
            "lines out of the mapping.",
        )
        if mapping.pushes and mapping.canonical.startswith(layout.WITHDRAW):
            yield self._check_withdrawal(mapping, about)
        elif mapping.pushes:
            yield from self._check_writes(mapping, about)

    def _check_withdrawal(self, mapping: Mapping, about: dict[str, Any]) -> Finding:
        fields = {field["name"]: field for field in about["fields"]}
        locked = [
            rule.key for rule in mapping.fields
            if rule.key in fields and not fields[rule.key].get("updateable")
        ]  # fmt: skip
        deletes = mapping.binding.get("write") == "delete"
        verb = "delete" if deletes else "change"
        may = bool(about.get("updateable")) and (not deletes or bool(about.get("deletable")))
        detail = (
            f"the hub's user may not {verb} it"
            if not may
            else f"the hub's user may not write {', '.join(locked)}"
        )
        ok = may and not locked
        return Finding(
            name=f"{verb} {mapping.object}",
            ok=ok,
            detail="" if ok else detail,
            remedy=""
            if ok
            else f"Give the user's permission set access to {verb} it, or take "
            f"{mapping.path.name} away: then it is not taken back.",
        )

    def _check_writes(self, mapping: Mapping, about: dict[str, Any]) -> Iterator[Finding]:
        name = f"create {mapping.object}"
        lines = mapping.binding.get("lines")
        child = str(lines.get("children")) if isinstance(lines, dict) else None
        fields = {field["name"]: field for field in about["fields"]}
        locked = [
            rule.key
            for rule in mapping.fields
            if rule.key != child and rule.key in fields and not fields[rule.key].get("createable")
        ]
        may = bool(about.get("createable"))
        ok = may and not locked
        detail = (
            "the hub's user may not create it"
            if not may
            else f"the hub's user may not write {', '.join(locked)}"
        )
        yield Finding(
            name=name,
            ok=ok,
            detail="" if ok else detail,
            remedy="" if ok else "Give the user's permission set create and edit access, or take "
            "the lines out of the mapping.",
        )  # fmt: skip
        if mapping.canonical not in map(str, layout.NATIVE):
            return
        field = layout.key_field(mapping)
        known = fields.get(field)
        length = int(known.get("length") or 0) if known else 0
        wrong = (
            "does not exist or is hidden"
            if known is None
            else "is not an External ID"
            if not known.get("externalId")
            else "is not Unique"
            if not known.get("unique")
            else f"holds {length} characters"
            if length < layout.KEY_LENGTH
            else ""
        )
        yield Finding(
            name=f"key {mapping.object}.{field}",
            ok=not wrong,
            detail=f"the field {wrong}" if wrong else "unique external id",
            remedy=""
            if not wrong
            else f"Make {field} a custom field of {layout.owns(mapping.object)}: "
            f"Text({layout.KEY_LENGTH}), External ID, Unique; and let the hub's user read and edit "
            "it.",
        )

    def describe(self) -> Description:
        """The objects that the mappings use. Fields behind lookups and of children, as far as a
        mapping names them, are listed under their whole path."""
        objects: list[ObjectInfo] = []
        by_object: dict[str, list[Mapping]] = {}
        for mapping in self._mappings:
            by_object.setdefault(mapping.object, []).append(mapping)
        for name, mappings in by_object.items():
            about = self._described(name)
            if about is None:
                continue
            infos = [_info(field, field["name"]) for field in about["fields"]]
            below = {c.get("relationshipName") for c in about.get("childRelationships") or ()}
            paths = {path for mapping in mappings for path in layout.needed(mapping) if "." in path}
            for path in sorted(paths):
                field = self._resolve(path, about)
                if field is None:
                    continue
                info = _info(field, path)
                # A child's own fields are written with it; what a lookup leads to is not ours.
                if path.count(".") > 1 or path.partition(".")[0] not in below:
                    info = info.model_copy(update={"writable": False, "required": False})
                infos.append(info)
            objects.append(ObjectInfo(name=name, fields=tuple(infos)))
        return Description(system=SYSTEM, version=self._version, objects=tuple(objects))

    def _described(self, sobject: str) -> dict[str, Any] | None:
        if sobject not in self._known:
            self._known[sobject] = self._client.describe(sobject)
        return self._known[sobject]

    def _resolve(self, path: str, about: dict[str, Any]) -> dict[str, Any] | None:
        """The field's description behind a path of lookups and children; None if there is none."""
        *steps, last = path.split(".")
        here: dict[str, Any] | None = about
        for step in steps:
            assert here is not None
            target = next(
                (f["referenceTo"][0] for f in here["fields"]
                 if f.get("relationshipName") == step and f.get("referenceTo")),
                None,
            ) or next(
                (c["childSObject"] for c in here.get("childRelationships") or ()
                 if c.get("relationshipName") == step),
                None,
            )  # fmt: skip
            here = self._described(target) if target else None
            if here is None:
                return None
        assert here is not None
        children = here.get("childRelationships") or ()
        if not steps and any(c.get("relationshipName") == last for c in children):
            return {"name": last, "type": "children", "createable": True, "nillable": True}
        return next((field for field in here["fields"] if field["name"] == last), None)


def _info(field: dict[str, Any], name: str) -> FieldInfo:
    """A field's description in our words."""
    required = (
        not field.get("nillable", True)
        and bool(field.get("createable"))
        and not field.get("defaultedOnCreate")
    )
    values = tuple(
        str(value["value"])
        for value in field.get("picklistValues") or ()
        if isinstance(value, dict) and value.get("active", True) and value.get("value") is not None
    )
    return FieldInfo(
        name=name,
        type=str(field.get("type") or "string"),
        label=str(field.get("label") or ""),
        required=required,
        writable=bool(field.get("createable")) or bool(field.get("updateable")),
        max_length=int(field.get("length") or 0) or None,
        values=values,
        unique=bool(field.get("unique")) or field.get("type") == "id",
    )
