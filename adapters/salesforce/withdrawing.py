"""What was made in an org is taken back, as far as it may be."""

from __future__ import annotations

from typing import Any, ClassVar

from adapters.salesforce import layout, soql
from adapters.salesforce.client import SYSTEM
from adapters.salesforce.org import Org, instant_of
from adapters.salesforce.text import shortened
from middleware.contract.actions import (
    PREVIEW_KEY,
    Effect,
    Operation,
    Preview,
    Receipt,
    WithdrawalRequest,
)
from middleware.contract.canonical import Kind
from middleware.contract.capabilities import (
    WithdrawsActions,
)
from middleware.contract.errors import (
    Missing,
    NotOffered,
    Rejected,
    RemoteError,
)
from middleware.contract.mapping import Mapping
from middleware.contract.mapping.preview import masked

_KINDS = {
    Operation.CASE: Kind.CASE,
    Operation.CALL_BACK: Kind.TASK,
    Operation.REPLACEMENT_ORDER: Kind.ORDER,
}
_CHANGED = "LastModifiedDate"
_LONGEST_BECAUSE = 255


class Withdraws(Org, WithdrawsActions):
    """Withdrawals, and what they would do."""

    withdrawable: ClassVar[frozenset[Operation]] = frozenset(layout.NATIVE)

    def create_withdrawal(self, request: WithdrawalRequest, *, key: str) -> Receipt:
        """Close the case, cancel the event or delete the draft order, as the mapping says.

        What is taken back already is found and left as it is. What somebody changed between our
        look and our write stays too: it is looked at again (Transient).
        """
        name = "create_withdrawal"
        mapping, kind = self._withdrawal(request, name)
        row = self._made(mapping, kind, request, name)
        found = self._taken_back(mapping, kind, row, key, name)
        if found is not None:
            return found
        self._in_time(mapping, row, name)
        values = mapping.write(
            {**request.model_dump(mode="python"), "key": key, "because": _because(request)}
        )
        deletes = mapping.binding.get("write") == "delete"
        send = self._client.discard if deletes else self._client.update
        try:
            send(
                mapping.object,
                request.of.id,
                values,
                unmodified_since=instant_of(row, _CHANGED),
                operation=name,
            )
        except Missing:  # somebody else was faster
            found = self.find_withdrawal(request, key=key)
            if found is None:
                raise
            return found
        try:
            told = self.find_withdrawal(request, key=key)
        except RemoteError:
            told = None
        if told is not None:
            return told.model_copy(update={"already_existed": False})
        return Receipt(ref=request.of, key=key, url=self._client.url_of(request.of.id))

    def find_withdrawal(self, request: WithdrawalRequest, *, key: str) -> Receipt | None:
        """The record's own state is the proof, or that it lies in the recycle bin.

        A record that is nowhere is none: the hub's user may have lost the right to see it.
        """
        name = "find_withdrawal"
        mapping, kind = self._withdrawal(request, name)
        row = self._made(mapping, kind, request, name)
        return self._taken_back(mapping, kind, row, key, name)

    def _foreseen(self, request: WithdrawalRequest, name: str) -> Preview:
        """What taking it back would do; raises Rejected where it is too late."""
        mapping, kind = self._withdrawal(request, name)
        row = self._made(mapping, kind, request, name)
        if self._taken_back(mapping, kind, row, PREVIEW_KEY, name) is not None:
            warning = f"the {mapping.object} is taken back already"
            return Preview(effects=(Effect(what="nothing"),), warnings=(warning,))
        self._in_time(mapping, row, name)
        deletes = mapping.binding.get("write") == "delete"
        verb = "deleted, and lies in the recycle bin" if deletes else "closed as taken back"
        values = mapping.write(
            {**request.model_dump(mode="python"), "key": PREVIEW_KEY, "because": _because(request)}
        )
        shown = {"object": mapping.object, "Id": request.of.id, **masked(mapping, values)}
        return Preview(effects=(Effect(what=f"the {mapping.object} is {verb}"),), payload=shown)

    def _withdrawal(self, request: WithdrawalRequest, name: str) -> tuple[Mapping, Kind]:
        if request.made_by not in self.withdrawable:
            raise NotOffered(
                f"Salesforce cannot take back a {request.made_by}", system=SYSTEM, operation=name
            )
        return (
            self._connection.mappings.push(layout.withdrawing(request.made_by)),
            _KINDS[request.made_by],
        )

    def _made(
        self, mapping: Mapping, kind: Kind, request: WithdrawalRequest, name: str
    ) -> dict[str, Any]:
        """The row that was made, which must bear the key that it was made under."""
        key_field = layout.key_field(self._push(request.made_by))
        columns = (*layout.proofs(mapping), *layout.answer_paths(mapping))
        query = soql.select(
            ("Id", "IsDeleted", _CHANGED, key_field, *columns),
            mapping.object,
            soql.equal("Id", self._own_id(request.of, name, kind)),
        )
        rows = self._client.query(query, operation=name, deleted=True)
        if not rows:
            raise Missing(
                f"there is no such {mapping.object} in Salesforce, not in its recycle bin either, "
                "or the hub's user may not see it",
                system=SYSTEM,
                operation=name,
            )
        if rows[0].get(key_field) != request.made_under:
            raise Rejected(
                f"this {mapping.object} does not bear the key that it is said to be made under",
                system=SYSTEM,
                operation=name,
                field=key_field,
            )
        return rows[0]

    def _taken_back(
        self, mapping: Mapping, kind: Kind, row: dict[str, Any], key: str, name: str
    ) -> Receipt | None:
        proven = layout.states(mapping, "withdrawn")
        if row.get("IsDeleted") is True or any(row.get(f) in vs for f, vs in proven.items()):
            return self._receipt(kind, mapping, [row], key, operation=name)
        return None

    def _in_time(self, mapping: Mapping, row: dict[str, Any], name: str) -> None:
        for field, values in layout.states(mapping, "only_while").items():
            if row.get(field) not in values:
                raise Rejected(
                    f"its {field} is {row.get(field)}; it can be taken back only while it is "
                    f"{' or '.join(map(str, values))}",
                    system=SYSTEM,
                    operation=name,
                    field=field,
                )
        until = mapping.binding.get("until")
        ends = instant_of(row, str(until)) if until and row.get(str(until)) is not None else None
        if ends is not None and ends <= self._client.now():
            raise Rejected(f"its {until} has passed", system=SYSTEM, operation=name,
                           field=str(until))  # fmt: skip


def _because(request: WithdrawalRequest) -> str:
    return shortened(": ".join(filter(None, (request.reason, request.note))), _LONGEST_BECAUSE)
