"""One org: its client, its mappings, and rows that become records."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from adapters.salesforce import layout, soql
from adapters.salesforce.bulk import Selection
from adapters.salesforce.client import SYSTEM, Client, is_id
from adapters.salesforce.settings import Configured
from adapters.salesforce.soql import Clause
from middleware.contract.actions import (
    Operation,
    Receipt,
)
from middleware.contract.canonical import Frozen, Kind, Record, Ref
from middleware.contract.capabilities import Adapter, Connection
from middleware.contract.errors import (
    Duplicated,
    Missing,
    Permanent,
    Rejected,
    Transient,
)
from middleware.contract.mapping import AnswerUnreadable, Mapping, MappingError, to_record

_KINDS = {
    Operation.CASE: Kind.CASE,
    Operation.CALL_BACK: Kind.TASK,
    Operation.REPLACEMENT_ORDER: Kind.ORDER,
}


class Org(Adapter):
    """What everything about one org needs."""

    def __init__(self, connection: Connection, configured: Configured) -> None:
        self._connection = connection
        self._settings = configured.settings
        self._client = Client(configured.settings, configured.secrets)
        self._selections: dict[str, Selection | None] = {}
        self._tells_no_merge: set[str] = set()
        """Objects whose `MasterRecordId` the user may not see."""

    def close(self) -> None:
        self._client.close()

    def _by_key(self, operation: Operation, key: str, name: str) -> Receipt | None:
        mapping = self._push(operation)
        field = layout.key_field(mapping)
        query = soql.select(
            ("Id", "IsDeleted", field, *layout.answer_paths(mapping)),
            mapping.object,
            soql.equal(field, key),
            order=("Id",),
        )
        rows = self._client.query(query, operation=name, deleted=True)
        hits = [row for row in rows if row.get(field) == key]  # SOQL compares without case
        return self._receipt(kind_of(operation), mapping, hits, key, operation=name)

    def _receipt(
        self,
        kind: Kind,
        mapping: Mapping,
        rows: Sequence[dict[str, Any]],
        key: str,
        *,
        operation: str,
    ) -> Receipt | None:
        """The receipt of what was found. A record that people deleted was made all the same."""
        living = [row for row in rows if row.get("IsDeleted") is not True]
        if len(living) > 1:
            raise Duplicated(
                f"{len(living)} records of {mapping.object} bear our key",
                system=SYSTEM,
                operation=operation,
            )
        if not rows:
            return None
        row = (living or rows)[0]
        try:
            said = mapping.read_answer(row)
        except AnswerUnreadable as unreadable:
            raise Transient(unreadable.message, system=SYSTEM, operation=operation) from None
        status = str(said.get("status") or "accepted")
        made = id_of(row)
        return Receipt(
            ref=self._ref(kind, made),
            key=key,
            number=said.get("number"),
            status=status if living else "deleted",
            already_existed=True,
            at=said.get("at"),
            url=self._client.url_of(made),
        )

    def _rows(
        self,
        mapping: Mapping,
        where: Clause,
        *,
        operation: str,
        extra: Sequence[str] = (),
        order: Sequence[str] = (),
        limit: int | None = None,
        deleted: bool = False,
    ) -> list[dict[str, Any]]:
        """The rows of the mapping's object with all that the mapping reads."""
        columns, children = layout.selection(mapping)
        query = soql.select(
            ("Id", *columns, *extra),
            mapping.object,
            where,
            children=children,
            order=order,
            limit=limit,
        )
        return self._client.query(
            query,
            operation=operation,
            deleted=deleted,
            children=[child.relationship for child in children],
        )

    def _mapped(self, kind: Kind, mapping: Mapping, row: dict[str, Any]) -> Record:
        return to_record(
            kind, connection=self._connection.name, id=id_of(row), values=mapping.read(row)
        )

    def _record(self, kind: Kind, mapping: Mapping, row: dict[str, Any]) -> Record | None:
        """The row's record; None for one that the mapping refuses. A sync quarantines those."""
        try:
            return self._mapped(kind, mapping, row)
        except MappingError:
            return None

    def _push(self, operation: Operation) -> Mapping:
        mapping = self._connection.mappings.push(str(operation))
        if mapping.idempotency is None:
            raise Permanent(
                f"{mapping.path.name} has no idempotency: it does not say which field bears the "
                "key",
                system=SYSTEM,
            )
        return mapping

    def _ours(self, request: Frozen) -> dict[str, Any]:
        """The request as a mapping sees it; references to other systems mean nothing there."""
        ours = request.model_dump(mode="python")
        for name in ("contact", "account", "order", "case", "on"):
            ref = getattr(request, name, None)
            if isinstance(ref, Ref) and (
                ref.connection != self._connection.name or not is_id(ref.id)
            ):
                ours[name] = None
        return ours

    def _own_id(self, ref: Ref, operation: str, *kinds: Kind) -> str:
        """The reference's id, which must be one of this org and of one of these kinds."""
        if ref.connection != self._connection.name or ref.kind not in kinds:
            wanted = " or ".join(map(str, kinds))
            raise Rejected(
                f"this needs a {wanted} of {self._connection.name}, not a {ref.kind} of "
                f"{ref.connection}",
                system=SYSTEM,
                operation=operation,
            )
        if not is_id(ref.id):
            raise Missing(
                "a Salesforce id has 15 or 18 letters and digits",
                system=SYSTEM,
                operation=operation,
            )
        return ref.id

    def _ref(self, kind: Kind, key: str) -> Ref:
        return Ref(connection=self._connection.name, kind=kind, id=key)


def kind_of(operation: Operation) -> Kind:
    return _KINDS[operation]


def id_of(row: dict[str, Any]) -> str:
    key = row.get("Id")
    if not isinstance(key, str) or not is_id(key):
        raise Transient("a row of the answer has no id", system=SYSTEM)
    return key


def instant_of(row: dict[str, Any], field: str) -> datetime:
    try:
        moment = datetime.fromisoformat(str(row.get(field)))
    except ValueError:
        raise Transient(f"a row of the answer has no {field}", system=SYSTEM) from None
    if moment.tzinfo is None:
        raise Transient(f"a row's {field} has no zone", system=SYSTEM)
    return moment
