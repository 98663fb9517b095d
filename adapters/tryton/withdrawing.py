"""Taking back what was made, for as long as nothing has left the house, come in or been booked.

A replacement order is a sale: before it is in process Tryton cancels it. Once it is, Tryton knows
no way back for the sale itself, so its shipments are cancelled while nobody has picked them, and
their moves are ignored, which is what a person answers to the exception that this makes. A case is
its complaint. A return and a credit are what their complaint made, a draft sale and a draft credit
note; until the complaint is approved they are the complaint itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from adapters.tryton.client import SYSTEM, Client, Row
from adapters.tryton.planning import COMPLAINT, SALE
from adapters.tryton.records import Records, ids_in, missing, rejected
from middleware.contract.actions import Effect, Operation, Preview, WithdrawalRequest
from middleware.contract.canonical import Kind, Money
from middleware.contract.errors import (
    Ambiguous,
    Busy,
    NotOffered,
    Permanent,
    Transient,
)

INVOICE = "account.invoice"
SHIPMENT = "stock.shipment.out"

WITHDRAWABLE: dict[Operation, tuple[Kind, ...]] = {
    Operation.REPLACEMENT_ORDER: (Kind.ORDER,),
    Operation.RETURN: (Kind.RETURN,),
    Operation.CREDIT: (Kind.INVOICE, Kind.CASE),
    Operation.CASE: (Kind.CASE,),
}
"""What can be taken back, and the kinds of record that its receipt may name: a credit is a
complaint until Tryton has made the credit note."""

_UNPICKED = ("draft", "waiting", "assigned")
_OVER = ("cancelled", "rejected")
"""The states of a complaint that came to nothing."""


@dataclass(frozen=True)
class Press:
    """A button of one record, pressed only if nobody has changed it since."""

    model: str
    button: str
    id: int
    seen: str | None = None


@dataclass(frozen=True)
class Standing:
    """How what was made stands now."""

    model: str
    id: int
    number: str | None
    what: str
    """What people call it: *order SO-1*."""
    done: bool = False
    """It is taken back already, whoever did it."""
    presses: tuple[Press, ...] = ()
    """What takes it back, in this order."""
    ignored: tuple[tuple[int, tuple[int, ...]], ...] = ()
    """Lines of the sale, each with the moves that are not to be made again."""
    refusal: str = ""
    """Why it is too late."""
    busy: bool = False
    """Tryton has not carried out yet what was approved."""
    worth: Money | None = None


class Withdrawals:
    """Looks how records stand, and takes them back."""

    def __init__(self, client: Client, records: Records) -> None:
        self._client = client
        self._records = records

    def standing(self, request: WithdrawalRequest, operation: str) -> Standing:
        """How the record stands; raises Missing, and NotOffered for what is never taken back."""
        if request.made_by not in WITHDRAWABLE:
            raise NotOffered(
                f"Tryton does not take back a {request.made_by}",
                system=SYSTEM,
                operation=operation,
            )
        id_ = self._records.id_of(request.of, WITHDRAWABLE[request.made_by], operation)
        if request.of.kind is Kind.ORDER:
            return self._sale(id_, operation)
        if request.of.kind is Kind.INVOICE:
            return self._credit_note(id_, operation)
        return self._complaint(id_, request, operation)

    def preview(self, request: WithdrawalRequest, operation: str) -> Preview:
        """What taking it back would do; raises Rejected where it is too late."""
        standing = self.standing(request, operation)
        if standing.refusal:
            raise rejected(standing.refusal, "of", operation)
        if standing.done:
            return Preview(effects=(), warnings=(f"{standing.what} is taken back already",))
        warnings = ("Tryton is still working on it",) if standing.busy else ()
        ends = "its shipments are cancelled" if standing.ignored else "it is cancelled"
        effect = Effect(what=f"{standing.what}: {ends}", amount=standing.worth)
        pressed = [{"model": p.model, "button": p.button, "id": p.id} for p in standing.presses]
        return Preview(effects=(effect,), warnings=warnings, payload={"presses": pressed})

    def take_back(
        self, request: WithdrawalRequest, key: str, operation: str
    ) -> tuple[Standing, bool]:
        """How it stood, and whether somebody had taken it back before. Raises Rejected."""
        standing = self.standing(request, operation)
        if standing.done:
            return standing, True
        if standing.refusal:
            raise rejected(standing.refusal, "of", operation)
        if standing.busy:
            raise Busy(
                "Tryton is still working on it; it can be taken back when that is done",
                system=SYSTEM,
                operation=operation,
            )
        for number, press in enumerate(standing.presses):
            try:
                self._press(press, key, operation)
            except Permanent as refusal:
                if self.standing(request, operation).done:
                    # Somebody else took it back between our look and our press.
                    return standing, number == 0
                if number:
                    raise _halfway(refusal, operation) from None
                raise
            except (Transient, Ambiguous) as error:
                if number:
                    raise _halfway(error, operation) from None
                raise
        try:
            self._ignore(standing, key, operation)
        except (Permanent, Transient, Ambiguous) as error:
            raise _halfway(error, operation) from None
        return standing, False

    def _press(self, press: Press, key: str, operation: str) -> None:
        self._client.press(
            press.model, press.button, press.id, operation=operation, key=key, seen=press.seen
        )

    def _ignore(self, standing: Standing, key: str, operation: str) -> None:
        """Answer the exception that cancelled shipments make of a sale: send nothing in their
        place."""
        for line, moves in standing.ignored:
            self._client.call(
                "model.sale.line.write",
                [line],
                {"moves_ignored": [["add", list(moves)]]},
                operation=operation,
                write=True,
                key=key,
            )
        if standing.ignored:
            self._client.press(SALE, "process", standing.id, operation=operation, key=key)

    # How each stands.

    def _sale(self, id_: int, operation: str) -> Standing:
        fields = (
            "number",
            "state",
            "_timestamp",
            "total_amount",
            "currency.code",
            "moves.state",
            "shipments.state",
            "shipments.number",
            "shipments._timestamp",
            "line_lines.moves",
        )
        sale = self._row(SALE, id_, Kind.ORDER, fields, operation)
        number, state = sale["number"], sale["state"]
        what = f"order {number}" if number else "the draft order"

        def stands(
            *,
            done: bool = False,
            presses: Sequence[Press] = (),
            ignored: Sequence[tuple[int, tuple[int, ...]]] = (),
            refusal: str = "",
        ) -> Standing:
            return Standing(
                SALE, id_, number, what, done, tuple(presses), tuple(ignored), refusal,
                worth=Money(amount=sale["total_amount"], currency=sale["currency"]["code"]),
            )  # fmt: skip

        moves = [move["state"] for move in sale["moves"]]
        if state == "cancelled" or (moves and set(moves) == {"cancelled"}):
            return stands(done=True)
        if state in ("draft", "quotation"):
            return stands(presses=[Press(SALE, "cancel", id_, sale["_timestamp"])])
        if state == "confirmed":
            back = Press(SALE, "draft", id_, sale["_timestamp"])
            return stands(presses=[back, Press(SALE, "cancel", id_)])
        there = [one for one in sale["shipments"] if one["state"] != "cancelled"]
        late = next((one for one in there if one["state"] not in _UNPICKED), None)
        if late is not None:
            return stands(
                refusal=f"shipment {late['number']} is {late['state']} in Tryton: the goods are on "
                "their way; stop it in the warehouse, or take the goods back"
            )
        if not there or "done" in moves:
            return stands(
                refusal=f"{what} is {state} in Tryton and has no shipment that could be stopped"
            )
        lines = [(line["id"], tuple(ids_in(line["moves"]))) for line in sale["line_lines"]]
        return stands(
            presses=[Press(SHIPMENT, "cancel", one["id"], one["_timestamp"]) for one in there],
            ignored=[(line, moved) for line, moved in lines if moved],
        )

    def _complaint(self, id_: int, request: WithdrawalRequest, operation: str) -> Standing:
        fields = ("number", "state", "_timestamp", "actions.result")
        row = self._row(COMPLAINT, id_, request.of.kind, fields, operation)
        state, what = row["state"], f"complaint {row['number']}"
        standing = Standing(COMPLAINT, id_, row["number"], what)
        if state in _OVER:
            return replace(standing, done=True)
        if state in ("draft", "waiting"):
            cancel = Press(COMPLAINT, "cancel", id_, row["_timestamp"])
            return replace(standing, presses=(cancel,))
        if state == "approved":
            return replace(standing, busy=True)
        if request.made_by is Operation.CASE:
            # Settled: there is nothing open any more that could be closed.
            return replace(standing, done=True)
        model = SALE if request.made_by is Operation.RETURN else INVOICE
        made = [one for action in row["actions"] for one in ids_in(action["result"], model)]
        return self._made(standing, model, made, operation)

    def _credit_note(self, id_: int, operation: str) -> Standing:
        row = self._row(INVOICE, id_, Kind.INVOICE, ("number", "total_amount"), operation)
        what = f"credit note {row['number'] or id_}"
        standing = Standing(INVOICE, id_, row["number"], what)
        if row["total_amount"] > 0:
            return replace(standing, refusal=f"invoice {row['number'] or id_} is no credit note")
        return self._made(standing, INVOICE, [id_], operation)

    def _made(self, standing: Standing, model: str, ids: Sequence[int], operation: str) -> Standing:
        """How what a complaint made stands: the return's sales, or the credit notes."""
        fields = ("number", "state", "_timestamp", "total_amount", "currency.code")
        made = self._client.read(model, ids, fields, operation=operation)
        still = [one for one in made if one["state"] != "cancelled"]
        if not still:
            return replace(standing, done=True)
        presses: list[Press] = []
        for one in still:
            if model == SALE:
                late = one["state"] not in ("draft", "quotation", "confirmed")
                name, why = "return", "the goods are expected or back; settle it with the warehouse"
            else:
                late = one["state"] not in ("draft", "validated")
                name = "credit note"
                why = "what is booked stays; bill the amount again, or have accounting cancel it"
            if late:
                called = f"{name} {one['number'] or one['id']}"
                return replace(standing, refusal=f"the {called} is {one['state']} in Tryton: {why}")
            if one["state"] == "confirmed":
                presses.append(Press(model, "draft", one["id"], one["_timestamp"]))
                presses.append(Press(model, "cancel", one["id"]))
            else:
                presses.append(Press(model, "cancel", one["id"], one["_timestamp"]))
        worth = Money(amount=abs(still[0]["total_amount"]), currency=still[0]["currency"]["code"])
        return replace(standing, presses=tuple(presses), worth=worth if len(still) == 1 else None)

    def _row(self, model: str, id_: int, kind: Kind, fields: Sequence[str], operation: str) -> Row:
        rows = self._client.read(model, [id_], fields, operation=operation)
        if not rows:
            raise missing(kind, operation)
        return rows[0]


def _halfway(error: Permanent | Transient | Ambiguous, operation: str) -> Ambiguous:
    return Ambiguous(
        f"a part of it is taken back; then {error.message}",
        system=SYSTEM,
        operation=operation,
        code=error.code,
    )
