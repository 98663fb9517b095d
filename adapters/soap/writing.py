"""What can be done over a SOAP connection, each capability mixed in where it is bound."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from typing import Any, ClassVar

from pydantic import ValidationError

from adapters.soap.answers import Tree, collect, text
from adapters.soap.bindings import EffectRule
from adapters.soap.client import matches
from adapters.soap.connection import SYSTEM, SoapConnection
from middleware.contract.actions import (
    PREVIEW_KEY,
    CallBackRequest,
    CancellationRequest,
    CaseRequest,
    CreditRequest,
    Effect,
    NoteRequest,
    Operation,
    Preview,
    Receipt,
    ReplacementOrderRequest,
    ReturnRequest,
    StoreCreditRequest,
    WithdrawalRequest,
)
from middleware.contract.canonical import (
    Frozen,
    Money,
)
from middleware.contract.capabilities import (
    AuthorisesReturns,
    CancelsOrders,
    CreatesReplacementOrders,
    IssuesCredits,
    IssuesStoreCredits,
    OpensCases,
    PreviewsActions,
    SchedulesCallBacks,
    WithdrawsActions,
    WritesNotes,
)
from middleware.contract.errors import (
    NotOffered,
)
from middleware.contract.mapping.preview import masked


class SoapPreviewsActions(SoapConnection, PreviewsActions):
    def preview(self, operation: Operation, request: Frozen) -> Preview:
        write = self._bound(operation, request)
        rule = write.preview
        if rule is None:
            raise NotOffered(
                f"this connection cannot say beforehand what a {operation} would do",
                system=SYSTEM,
                operation=operation,
            )
        mapping = self._mappings.push(write.mapping)
        payload = self._payload(write, request, PREVIEW_KEY, write.call)
        if rule.mapped:
            asked = self._payload(write, request, PREVIEW_KEY, rule.call)
        else:
            asked = self._arguments(rule.call, {"key": PREVIEW_KEY, "request": request})
        answer = self._wire().call(rule.call.operation, asked, write=False, rule=mapping.fault)
        effects = [effect for line in rule.effects for effect in _effects(line, answer.body)]
        warnings = [effect for line in rule.warnings for effect in _effects(line, answer.body)]
        return Preview(
            effects=tuple(effects),
            warnings=tuple(warning.what for warning in warnings),
            exact=rule.mapped,
            payload=masked(mapping, payload),
        )


class SoapCreatesReplacementOrders(SoapConnection, CreatesReplacementOrders):
    def create_replacement_order(self, request: ReplacementOrderRequest, *, key: str) -> Receipt:
        return self._create(Operation.REPLACEMENT_ORDER, request, key)

    def find_replacement_order(
        self, request: ReplacementOrderRequest, *, key: str
    ) -> Receipt | None:
        return self._find(Operation.REPLACEMENT_ORDER, request, key)


class SoapAuthorisesReturns(SoapConnection, AuthorisesReturns):
    def create_return(self, request: ReturnRequest, *, key: str) -> Receipt:
        return self._create(Operation.RETURN, request, key)

    def find_return(self, request: ReturnRequest, *, key: str) -> Receipt | None:
        return self._find(Operation.RETURN, request, key)


class SoapIssuesCredits(SoapConnection, IssuesCredits):
    def create_credit(self, request: CreditRequest, *, key: str) -> Receipt:
        return self._create(Operation.CREDIT, request, key)

    def find_credit(self, request: CreditRequest, *, key: str) -> Receipt | None:
        return self._find(Operation.CREDIT, request, key)


class SoapIssuesStoreCredits(SoapConnection, IssuesStoreCredits):
    def create_store_credit(self, request: StoreCreditRequest, *, key: str) -> Receipt:
        return self._create(Operation.STORE_CREDIT, request, key)

    def find_store_credit(self, request: StoreCreditRequest, *, key: str) -> Receipt | None:
        return self._find(Operation.STORE_CREDIT, request, key)


class SoapCancelsOrders(SoapConnection, CancelsOrders):
    def create_cancellation(self, request: CancellationRequest, *, key: str) -> Receipt:
        return self._create(Operation.CANCELLATION, request, key)

    def find_cancellation(self, request: CancellationRequest, *, key: str) -> Receipt | None:
        return self._find(Operation.CANCELLATION, request, key)


class SoapOpensCases(SoapConnection, OpensCases):
    def create_case(self, request: CaseRequest, *, key: str) -> Receipt:
        return self._create(Operation.CASE, request, key)

    def find_case(self, request: CaseRequest, *, key: str) -> Receipt | None:
        return self._find(Operation.CASE, request, key)


class SoapSchedulesCallBacks(SoapConnection, SchedulesCallBacks):
    def create_call_back(self, request: CallBackRequest, *, key: str) -> Receipt:
        return self._create(Operation.CALL_BACK, request, key)

    def find_call_back(self, request: CallBackRequest, *, key: str) -> Receipt | None:
        return self._find(Operation.CALL_BACK, request, key)


class SoapWithdrawsActions(SoapConnection, WithdrawsActions):
    """What was taken back before, by whomever, is found; the fault tables say which codes mean so
    (`already_done`)."""

    withdrawable: ClassVar[frozenset[Operation]] = frozenset()

    def create_withdrawal(self, request: WithdrawalRequest, *, key: str) -> Receipt:
        return self._create(Operation.WITHDRAWAL, request, key)

    def find_withdrawal(self, request: WithdrawalRequest, *, key: str) -> Receipt | None:
        return self._find(Operation.WITHDRAWAL, request, key)


class SoapWritesNotes(SoapConnection, WritesNotes):
    def create_note(self, request: NoteRequest, *, key: str) -> Receipt:
        return self._create(Operation.NOTE, request, key)

    def find_note(self, request: NoteRequest, *, key: str) -> Receipt | None:
        return self._find(Operation.NOTE, request, key)


WRITES: dict[Operation, type[Any]] = {
    Operation.REPLACEMENT_ORDER: SoapCreatesReplacementOrders,
    Operation.RETURN: SoapAuthorisesReturns,
    Operation.CREDIT: SoapIssuesCredits,
    Operation.STORE_CREDIT: SoapIssuesStoreCredits,
    Operation.CANCELLATION: SoapCancelsOrders,
    Operation.CASE: SoapOpensCases,
    Operation.CALL_BACK: SoapSchedulesCallBacks,
    Operation.NOTE: SoapWritesNotes,
}


PARTS: tuple[type[Any], ...] = (*WRITES.values(), SoapPreviewsActions, SoapWithdrawsActions)


def _effects(rule: EffectRule, body: Tree) -> Iterator[Effect]:
    for row in collect(body, rule.each):
        if rule.only and not matches(row, rule.only):
            continue
        what = "".join(
            (text(row, part) or "?") if odd % 2 else part for odd, part in enumerate(rule.what)
        ).strip()
        yield Effect(what=what or "?", amount=_money(rule, row, body))


def _money(rule: EffectRule, row: Tree, body: Tree) -> Money | None:
    stated = text(row, rule.amount) if rule.amount else None
    currency = rule.currency
    if not (len(currency) == 3 and currency.isupper()):
        currency = (text(row, currency) or text(body, currency) or "") if currency else ""
    if stated is None or not currency:
        return None
    try:
        return Money(amount=Decimal(stated), currency=currency)
    except (InvalidOperation, ValidationError):
        return None
