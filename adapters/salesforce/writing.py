"""What is made in an org, once: cases, call-backs, notes and replacement orders."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from adapters.salesforce import layout, soql
from adapters.salesforce.client import SYSTEM, is_id
from adapters.salesforce.org import id_of, kind_of
from adapters.salesforce.soql import Children
from adapters.salesforce.text import ends_with_marker, marker, shortened
from adapters.salesforce.withdrawing import Withdraws
from middleware.contract.actions import (
    PREVIEW_KEY,
    CallBackRequest,
    CaseRequest,
    Effect,
    NoteRequest,
    Operation,
    Preview,
    Receipt,
    ReplacementOrderRequest,
    WithdrawalRequest,
)
from middleware.contract.canonical import Frozen, Kind, Order, Ref
from middleware.contract.capabilities import (
    CreatesReplacementOrders,
    KeyTraits,
    OpensCases,
    PreviewsActions,
    SchedulesCallBacks,
    WritesNotes,
)
from middleware.contract.errors import (
    Ambiguous,
    Missing,
    NotOffered,
    Permanent,
    Rejected,
    RemoteError,
    Transient,
)
from middleware.contract.mapping import Mapping
from middleware.contract.mapping.preview import masked

_OBJECTS = {Kind.CONTACT: "Contact", Kind.ACCOUNT: "Account", Kind.CASE: "Case"}
_LONGEST_COMMENT = 4000
"""Bytes of CaseComment.CommentBody (Object Reference)."""


class Writes(
    Withdraws,
    CreatesReplacementOrders,
    OpensCases,
    SchedulesCallBacks,
    WritesNotes,
    PreviewsActions,
):
    """Writes under a key, each findable by it."""

    def key_traits(self, operation: Operation) -> KeyTraits:
        """Cases, events and orders bear the key in a unique field; a comment in its text.

        Taking back sets a state or deletes, so that a second time changes nothing; and nothing that
        comes late overwrites what people did meanwhile (see `Client.update`).
        """
        if operation is Operation.WITHDRAWAL and any(
            self._connection.mappings.has_push(layout.withdrawing(made_by))
            for made_by in layout.NATIVE
        ):
            return KeyTraits(native=True, settle=self._settings.settle)
        if operation not in (*layout.NATIVE, Operation.NOTE):
            raise NotOffered(
                f"Salesforce takes no {operation}", system=SYSTEM, operation=str(operation)
            )
        self._push(operation)
        if operation is Operation.NOTE:
            return KeyTraits(native=False, settle=self._settings.settle)
        return KeyTraits(native=True, settle=self._settings.settle)

    def preview(self, operation: Operation, request: Frozen) -> Preview:
        """What would be written, by the mapping: Salesforce itself simulates nothing."""
        name = "preview"
        self._are_there(request, name)
        lines: dict[str, list[dict[str, Any]]] = {}
        match request:
            case ReplacementOrderRequest():
                mapping = self._push(operation)
                (child, _), values, products = self._replacement(mapping, request, PREVIEW_KEY)
                lines, what = {child: products}, "a draft order, which somebody activates there"
            case CaseRequest():
                mapping = self._push(operation)
                values = mapping.write({**self._ours(request), "key": PREVIEW_KEY})
                what = "a case"
            case CallBackRequest():
                mapping = self._push(operation)
                values = mapping.write(
                    {**self._slot(mapping, request, operation=name), "key": PREVIEW_KEY}
                )
                what = "an event in the calendar of whoever owns the customer"
            case NoteRequest():
                mapping, values = self._comment(request, PREVIEW_KEY, operation=name)
                what = "a private comment on the case"
            case WithdrawalRequest():
                return self._foreseen(request, name)
            case _:
                raise NotOffered(f"Salesforce takes no {operation}", system=SYSTEM, operation=name)
        shown = {"object": mapping.object, **masked(mapping, {**values, **lines})}
        return Preview(effects=(Effect(what=what),), payload=shown)

    def _are_there(self, request: Frozen, name: str) -> None:
        """Raise Missing for a record that a request leads to and that nobody sees there."""
        for field in ("contact", "account", "case", "on"):
            ref = getattr(request, field, None)
            if not isinstance(ref, Ref) or ref.connection != self._connection.name:
                continue
            sobject = _OBJECTS.get(ref.kind)
            if sobject is None or not is_id(ref.id):
                continue
            query = soql.select(("Id",), sobject, soql.equal("Id", ref.id))
            if not self._client.query(query, operation=name):
                raise Missing(
                    f"there is no such {sobject} in Salesforce, or the hub's user may not see it",
                    system=SYSTEM,
                    operation=name,
                    field=field,
                )

    def create_case(self, request: CaseRequest, *, key: str) -> Receipt:
        def create(mapping: Mapping) -> str:
            return self._insert(mapping, self._ours(request), key, operation="create_case")

        return self._once(Operation.CASE, key, create)

    def find_case(self, request: CaseRequest, *, key: str) -> Receipt | None:
        return self._by_key(Operation.CASE, key, "find_case")

    def create_call_back(self, request: CallBackRequest, *, key: str) -> Receipt:
        """An event in the calendar of whoever owns the contact, or the account."""
        name = "create_call_back"

        def create(mapping: Mapping) -> str:
            ours = self._slot(mapping, request, operation=name)
            return self._insert(mapping, ours, key, operation=name)

        return self._once(Operation.CALL_BACK, key, create)

    def _slot(
        self, mapping: Mapping, request: CallBackRequest, *, operation: str
    ) -> dict[str, Any]:
        if request.slot_to <= self._client.now():
            raise Rejected("the slot has passed", system=SYSTEM, operation=operation,
                           field="slot_to")  # fmt: skip
        ours = self._ours(request)
        if layout.reads(mapping, "owner"):
            ours["owner"] = self._owner(ours, operation=operation)
        return ours

    def find_call_back(self, request: CallBackRequest, *, key: str) -> Receipt | None:
        return self._by_key(Operation.CALL_BACK, key, "find_call_back")

    def create_replacement_order(self, request: ReplacementOrderRequest, *, key: str) -> Receipt:
        """A draft order with its products, made in one transaction; somebody activates it there."""

        def create(mapping: Mapping) -> str:
            sobject, values, lines = self._replacement(mapping, request, key)
            return self._client.plant(
                mapping.object,
                values,
                {sobject[0]: (sobject[1], lines)},
                operation="create_replacement_order",
            )

        return self._once(Operation.REPLACEMENT_ORDER, key, create)

    def find_replacement_order(
        self, request: ReplacementOrderRequest, *, key: str
    ) -> Receipt | None:
        return self._by_key(Operation.REPLACEMENT_ORDER, key, "find_replacement_order")

    def create_note(self, request: NoteRequest, *, key: str) -> Receipt:
        """A private comment on a case."""
        mapping, values = self._comment(request, key, operation="create_note")
        made = self._client.create(mapping.object, values, operation="create_note")
        return Receipt(ref=self._ref(Kind.NOTE, made), key=key, url=self._client.url_of(made))

    def _comment(
        self, request: NoteRequest, key: str, *, operation: str
    ) -> tuple[Mapping, dict[str, Any]]:
        """The mapping and the comment that it makes of a note, which must end with the key."""
        mapping = self._push(Operation.NOTE)
        self._own_id(request.on, operation, Kind.CASE)
        room = _LONGEST_COMMENT - len(marker(key)) - 2
        ours = {**self._ours(request), "key": key, "text": shortened(request.text, room)}
        values = mapping.write(ours)
        if not ends_with_marker(values.get(layout.key_field(mapping)), key):
            raise Permanent(
                f"{mapping.path.name} does not put {marker('{key}')} at the end of the field that "
                "its idempotency names; without it a comment could not be found again",
                system=SYSTEM,
                operation=operation,
            )
        return mapping, values

    def find_note(self, request: NoteRequest, *, key: str) -> Receipt | None:
        """The comment of the case that ends with the key's marker, deleted or not.

        Reads all comments of the case: the text of a comment cannot be filtered by.
        """
        mapping = self._push(Operation.NOTE)
        case = self._own_id(request.on, "find_note", Kind.CASE)
        field = layout.key_field(mapping)
        query = soql.select(
            ("Id", "IsDeleted", field, *layout.answer_paths(mapping)),
            mapping.object,
            soql.equal("ParentId", case),
            order=("Id",),
        )
        rows = self._client.query(query, operation="find_note", deleted=True)
        hits = [row for row in rows if ends_with_marker(row.get(field), key)]
        return self._receipt(Kind.NOTE, mapping, hits, key, operation="find_note")

    def _insert(self, mapping: Mapping, ours: dict[str, Any], key: str, *, operation: str) -> str:
        """A new record under the key, or by the mapping's wish over the one that bears it."""
        values = mapping.write({**ours, "key": key})
        if mapping.binding.get("write", "create") == "upsert":
            field = layout.key_field(mapping)
            values.pop(field, None)
            return self._client.upsert(mapping.object, field, key, values, operation=operation)
        return self._client.create(mapping.object, values, operation=operation)

    def _owner(self, ours: dict[str, Any], *, operation: str) -> str | None:
        """Who looks after the customer there: the owner of the contact, else of the account."""
        for name, sobject in (("contact", "Contact"), ("account", "Account")):
            if ours.get(name) is None:
                continue
            query = soql.select(("Id", "OwnerId"), sobject, soql.equal("Id", ours[name]["id"]))
            for row in self._client.query(query, operation=operation):
                owner = row.get("OwnerId")
                return owner if isinstance(owner, str) and is_id(owner) else None
        return None

    def _once(self, operation: Operation, key: str, create: Callable[[Mapping], str]) -> Receipt:
        """Find the record that bears the key, else create it; Salesforce refuses a second one."""
        name = f"create_{operation}"
        mapping = self._push(operation)
        found = self._by_key(operation, key, name)
        if found is not None:
            return found
        try:
            made = create(mapping)
        except Rejected as refusal:
            if refusal.code not in ("DUPLICATE_VALUE", "DUPLICATES_DETECTED"):
                raise
            return self._beaten(operation, mapping, key, refusal)
        receipt = Receipt(ref=self._ref(kind_of(operation), made), key=key)
        try:
            # The id proves it; number, state and time are for people, and can be read later.
            told = self._by_key(operation, key, name)
        except RemoteError:
            told = None
        if told is not None and told.ref == receipt.ref:
            return told.model_copy(update={"already_existed": False})
        return receipt.model_copy(update={"url": self._client.url_of(made)})

    def _beaten(
        self, operation: Operation, mapping: Mapping, key: str, refusal: Rejected
    ) -> Receipt:
        """What "duplicate" means: ours was there already, or another record is in the way."""
        name = f"create_{operation}"
        about_key = refusal.code == "DUPLICATE_VALUE" and refusal.field == layout.key_field(mapping)
        try:
            found = self._by_key(operation, key, name)
        except Transient as error:
            if about_key:
                raise Ambiguous(
                    f"Salesforce says that a record bears our key; reading it failed: "
                    f"{error.message}",
                    system=SYSTEM,
                    operation=name,
                    code=refusal.code,
                ) from None
            raise
        if found is not None:
            return found
        if about_key:
            raise Ambiguous(
                "Salesforce says that a record bears our key, but shows none; the hub's user may "
                "lack the permission to see it",
                system=SYSTEM,
                operation=name,
                code=refusal.code,
                field=refusal.field,
            )
        raise refusal

    def _replacement(
        self, mapping: Mapping, request: ReplacementOrderRequest, key: str
    ) -> tuple[tuple[str, str], dict[str, Any], list[dict[str, Any]]]:
        """The child relationship and its object, the order's values, and its products' values."""
        name = "create_replacement_order"
        lines = mapping.binding.get("lines")
        if not isinstance(lines, dict) or not {"children", "object"} <= set(lines):
            raise Permanent(
                f"{mapping.path.name} needs target.lines: {{children: OrderItems, object: "
                "OrderItem}",
                system=SYSTEM,
                operation=name,
            )
        children, item = str(lines["children"]), str(lines["object"])
        order = self._original(mapping, request, children)
        entries = self._entries(order, request, children)
        values = mapping.write(
            {
                **self._ours(request),
                "key": key,
                "today": self._client.now().date(),
                "original": order,
                "ship_to": self._ship_to(request, order),
                "lines": [
                    {**line.model_dump(mode="python"), "price_entry": entry}
                    for line, entry in zip(request.lines, entries, strict=True)
                ],
            }
        )
        made = list(values.pop(children, ()))
        return (children, item), values, made

    def _original(
        self, mapping: Mapping, request: ReplacementOrderRequest, children: str
    ) -> dict[str, Any]:
        """The original order's row: what our own reading needs of it, and what is taken over."""
        name = "create_replacement_order"
        key = self._own_id(request.order, name, Kind.ORDER)
        columns, below = layout.selection(self._connection.mappings.pull(Kind.ORDER))
        priced = {"Id": None, "PricebookEntryId": None, "Product2.ProductCode": None}
        for child in below:
            if child.relationship == children:
                priced |= dict.fromkeys(child.columns)
        below = [child for child in below if child.relationship != children]
        query = soql.select(
            ("Id", "Pricebook2Id", *columns, *layout.taken_over(mapping)),
            mapping.object,
            soql.equal("Id", key),
            children=[*below, Children(children, tuple(priced))],
        )
        named = [*(child.relationship for child in below), children]
        rows = self._client.query(query, operation=name, children=named)
        if not rows:
            raise Missing("there is no such order in Salesforce", system=SYSTEM, operation=name)
        return rows[0]

    def _ship_to(
        self, request: ReplacementOrderRequest, original: dict[str, Any]
    ) -> dict[str, Any] | None:
        """Where to send it: as asked for, else where the original went."""
        if request.ship_to is not None:
            return request.ship_to.model_dump()
        order = self._mapped(Kind.ORDER, self._connection.mappings.pull(Kind.ORDER), original)
        assert isinstance(order, Order)
        return order.ship_to.model_dump() if order.ship_to else None

    def _entries(
        self, order: dict[str, Any], request: ReplacementOrderRequest, children: str
    ) -> list[str]:
        """The price book entry of each line: the original's, or for a substitute the book's."""
        name = "create_replacement_order"
        by_line = {str(item.get("Id")): item for item in order[children]}
        for number, line in enumerate(request.lines):
            if line.line not in by_line:
                raise Rejected(
                    "the original order has no such line",
                    system=SYSTEM,
                    operation=name,
                    field=f"lines.{number}.line",
                )
        substitutes = {
            line.sku for line in request.lines if _sku_of(by_line[line.line]) != line.sku
        }
        known: dict[str, str] = {}
        if substitutes and order.get("Pricebook2Id"):
            where = (
                soql.among("Product2.ProductCode", sorted(substitutes))
                & soql.equal("Pricebook2Id", str(order["Pricebook2Id"]))
                & soql.equal("IsActive", True)
            )
            if order.get("CurrencyIsoCode"):
                where &= soql.equal("CurrencyIsoCode", str(order["CurrencyIsoCode"]))
            query = soql.select(
                ("Id", "Product2.ProductCode"), "PricebookEntry", where, order=("-Id",)
            )
            for row in self._client.query(query, operation=name):
                known[_sku_of(row) or ""] = id_of(row)
        entries: list[str] = []
        for number, line in enumerate(request.lines):
            item = by_line[line.line]
            entry = (
                item.get("PricebookEntryId") if _sku_of(item) == line.sku else known.get(line.sku)
            )
            if not isinstance(entry, str):
                raise Rejected(
                    "the original order's price book has no active entry for this product",
                    system=SYSTEM,
                    operation=name,
                    field=f"lines.{number}.sku",
                )
            entries.append(entry)
        return entries


def _sku_of(row: dict[str, Any]) -> str | None:
    product = row.get("Product2")
    code = product.get("ProductCode") if isinstance(product, dict) else None
    return code if isinstance(code, str) else None
