"""The suite catches liars: adapters with one sin each must fail the test that is there for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, ClassVar, Self

import pytest
from pydantic import BaseModel

from adapters.memory.adapter import MemoryAdapter
from middleware.contract.actions import (
    CaseRequest,
    NoteRequest,
    Operation,
    Receipt,
    WithdrawalRequest,
)
from middleware.contract.canonical import Case, Contact, InvoiceStatus, Kind, Order, Record, Ref
from middleware.contract.capabilities import (
    CheckReport,
    Clue,
    Connection,
    Finding,
    KeyTraits,
    Page,
)
from middleware.contract.errors import Ambiguous, Missing, Rejected, RemoteError, Transient
from tests.adapters.memory.peer import TOKEN, MemoryPeer
from tests.conformance import (
    test_changes,
    test_faults,
    test_listed,
    test_opening,
    test_reads,
    test_withdrawals,
    test_writes,
)
from tests.conformance.peer import Fault


class CallsAmbiguousTransient(MemoryAdapter):
    def create_case(self, request: CaseRequest, *, key: str) -> Receipt:
        try:
            return super().create_case(request, key=key)
        except Ambiguous as error:
            raise Transient(error.message, system="memory", operation="case") from None


class LetsForeignExceptionsOut(MemoryAdapter):
    def create_case(self, request: CaseRequest, *, key: str) -> Receipt:
        try:
            return super().create_case(request, key=key)
        except Ambiguous as error:
            raise ConnectionResetError from error


class TakesFailureForAbsence(MemoryAdapter):
    def find_case(self, request: CaseRequest, *, key: str) -> Receipt | None:
        try:
            return super().find_case(request, key=key)
        except RemoteError:
            return None


class TakesFailureForNobody(MemoryAdapter):
    def find_contacts(self, clue: Clue, *, limit: int = 10) -> tuple[Contact, ...]:
        try:
            return super().find_contacts(clue, limit=limit)
        except RemoteError:
            return ()


class RefusesItsOwnKey(MemoryAdapter):
    def create_case(self, request: CaseRequest, *, key: str) -> Receipt:
        receipt = super().create_case(request, key=key)
        if receipt.already_existed:
            raise Rejected("duplicate", system="memory", operation="case")
        return receipt


class RetriesByItself(MemoryAdapter):
    """On a remote without unique keys, the cardinal sin."""

    def create_note(self, request: NoteRequest, *, key: str) -> Receipt:
        try:
            return super().create_note(request, key=key)
        except Ambiguous:
            return super().create_note(request, key=key)


class ClaimsNativeKeys(MemoryAdapter):
    def key_traits(self, operation: Operation) -> KeyTraits:
        return KeyTraits(native=True)


class SearchesForPartsOfKeys(MemoryAdapter):
    def find_case(self, request: CaseRequest, *, key: str) -> Receipt | None:
        for (operation, other), rows in self._remote._written.items():
            if operation is Operation.CASE and key in other:
                return Receipt(ref=rows[0][0], key=key, already_existed=True)
        return None


class KeepsWrittenRowsToItself(MemoryAdapter):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._receipts: dict[str, Receipt] = {}

    def create_case(self, request: CaseRequest, *, key: str) -> Receipt:
        self._receipts[key] = super().create_case(request, key=key)
        return self._receipts[key]

    def find_case(self, request: CaseRequest, *, key: str) -> Receipt | None:
        return self._receipts.get(key)


class WritesBeforeItChecks(MemoryAdapter):
    def create_case(self, request: CaseRequest, *, key: str) -> Receipt:
        if request.contact and request.contact.id == "nowhere":
            super().create_case(CaseRequest(subject=request.subject), key=key)
        return super().create_case(request, key=key)


class TellsItsToken(MemoryAdapter):
    def create_case(self, request: CaseRequest, *, key: str) -> Receipt:
        try:
            return super().create_case(request, key=key)
        except Ambiguous:
            raise Ambiguous("lost", system="memory", operation="case") from ValueError(TOKEN)


class Anonymous(MemoryAdapter):
    def create_case(self, request: CaseRequest, *, key: str) -> Receipt:
        try:
            return super().create_case(request, key=key)
        except Ambiguous:
            raise Ambiguous("something failed") from None


class WaitsTooLong(MemoryAdapter):
    def create_case(self, request: CaseRequest, *, key: str) -> Receipt:
        try:
            return super().create_case(request, key=key)
        except Ambiguous:
            time.sleep(MemoryPeer.patience_s)
            raise


class TakesNothingBack(MemoryAdapter):
    def create_withdrawal(self, request: WithdrawalRequest, *, key: str) -> Receipt:
        return Receipt(ref=request.of, key=key)


class SeesEverythingWithdrawn(MemoryAdapter):
    def find_withdrawal(self, request: WithdrawalRequest, *, key: str) -> Receipt | None:
        return Receipt(ref=request.of, key=key, already_existed=True)


class TakesBackTwice(MemoryAdapter):
    """Reverses what is reversed already: on a remote that allows it, the money flows again."""

    def create_withdrawal(self, request: WithdrawalRequest, *, key: str) -> Receipt:
        receipt = super().create_withdrawal(request, key=key)
        if receipt.already_existed:
            row = self._remote.get(request.of, Record)
            self._remote._written[Operation.WITHDRAWAL, f"{key}-again"] = [(request.of, row)]
        return receipt


class RefusesToTakeBackTwice(MemoryAdapter):
    def create_withdrawal(self, request: WithdrawalRequest, *, key: str) -> Receipt:
        receipt = super().create_withdrawal(request, key=key)
        if receipt.already_existed:
            raise Rejected("it is closed", system="memory", operation="withdrawal")
        return receipt


class ForgetsWhatIsClosed(MemoryAdapter):
    def find_case(self, request: CaseRequest, *, key: str) -> Receipt | None:
        found = super().find_case(request, key=key)
        if found and self._remote.get(found.ref, Case).status == "closed":
            return None
        return found


class TakesBackWhatIsPaid(MemoryAdapter):
    def create_withdrawal(self, request: WithdrawalRequest, *, key: str) -> Receipt:
        record = self._remote.get(request.of, Record)
        self._remote.put(record.model_copy(update={"status": InvoiceStatus.DRAFT}))
        return super().create_withdrawal(request, key=key)


class TakesMissingForGone(MemoryAdapter):
    def find_withdrawal(self, request: WithdrawalRequest, *, key: str) -> Receipt | None:
        try:
            return super().find_withdrawal(request, key=key)
        except Missing:
            return Receipt(ref=request.of, key=key, status="gone", already_existed=True)


class TakesBackAnything(MemoryAdapter):
    def _may_withdraw(self, request: WithdrawalRequest) -> None:
        pass


class ReadsAnotherState(MemoryAdapter):
    def read_record(self, ref: Ref) -> Record:
        return super().read_record(ref).model_copy(update={"extra": {"read": "alone"}})


class FindsWhatIsGone(MemoryAdapter):
    def read_record(self, ref: Ref) -> Record:
        try:
            return super().read_record(ref)
        except Missing:
            return Contact(ref=ref)


class ListsReturnsWithoutLines(MemoryAdapter):
    def changed_since(self, kind: Kind, cursor: str | None, *, limit: int = 200) -> Page:
        page = super().changed_since(kind, cursor, limit=limit)
        bare = tuple(record.model_copy(update={"lines": ()}) for record in page.records)
        return page.model_copy(update={"records": bare})


class ListsCreditsOfNoOrder(MemoryAdapter):
    def changed_since(self, kind: Kind, cursor: str | None, *, limit: int = 200) -> Page:
        page = super().changed_since(kind, cursor, limit=limit)
        bare = tuple(record.model_copy(update={"order": None}) for record in page.records)
        return page.model_copy(update={"records": bare})


class HidesWhatIsCancelled(MemoryAdapter):
    def changed_since(self, kind: Kind, cursor: str | None, *, limit: int = 200) -> Page:
        page = super().changed_since(kind, cursor, limit=limit)
        living = tuple(r for r in page.records if getattr(r, "status", None) != "cancelled")
        return page.model_copy(update={"records": living})


class SkipsTheLastOfAPage(MemoryAdapter):
    def changed_since(self, kind: Kind, cursor: str | None, *, limit: int = 200) -> Page:
        page = super().changed_since(kind, cursor, limit=limit)
        if not page.more:
            return page
        return page.model_copy(update={"cursor": str(int(page.cursor) + 1)})


class StandsStill(MemoryAdapter):
    def changed_since(self, kind: Kind, cursor: str | None, *, limit: int = 200) -> Page:
        page = super().changed_since(kind, cursor, limit=limit)
        return page.model_copy(update={"cursor": cursor or "0", "more": True})


class CountsFromNow(MemoryAdapter):
    """Starts a new cursor at the time of opening, so that what came before is lost."""

    def changed_since(self, kind: Kind, cursor: str | None, *, limit: int = 200) -> Page:
        page = super().changed_since(kind, cursor, limit=limit)
        return page.model_copy(update={"records": (), "as_of": datetime.now(UTC)})


class ReadsBrokenCursorsAsNone(MemoryAdapter):
    def changed_since(self, kind: Kind, cursor: str | None, *, limit: int = 200) -> Page:
        known = cursor if (cursor or "").isdigit() else None
        return super().changed_since(kind, known, limit=limit)


class FindsEverybodyForNothing(MemoryAdapter):
    def find_contacts(self, clue: Clue, *, limit: int = 10) -> tuple[Contact, ...]:
        if clue == Clue():
            return tuple(self._remote.all(Contact))[:limit]
        return super().find_contacts(clue, limit=limit)


class TakesCluesForPatterns(MemoryAdapter):
    def find_contacts(self, clue: Clue, *, limit: int = 10) -> tuple[Contact, ...]:
        if any(set(mail) & set("%*_") for mail in clue.emails):
            return tuple(self._remote.all(Contact))[:limit]
        return super().find_contacts(clue, limit=limit)


class ForgetsLines(MemoryAdapter):
    def read_order(self, ref: Ref) -> Order:
        return super().read_order(ref).model_copy(update={"lines": ()})


class NamesAnotherConnection(MemoryAdapter):
    def read_order(self, ref: Ref) -> Order:
        order = super().read_order(ref)
        elsewhere = Ref(connection="elsewhere", kind=Kind.ACCOUNT, id="A-1")
        return order.model_copy(update={"account": elsewhere})


class OldestFirst(MemoryAdapter):
    def orders_of(self, *args: Any, **kwargs: Any) -> tuple[Order, ...]:
        return super().orders_of(*args, **kwargs)[::-1]


class AlwaysWell(MemoryAdapter):
    def check(self) -> CheckReport:
        return CheckReport(findings=(Finding(name="connect", ok=True),))


class RaisesFromCheck(MemoryAdapter):
    def check(self) -> CheckReport:
        self._client.call("check", lambda: None)
        return super().check()


class LooseSettings(MemoryAdapter):
    class _Anything(BaseModel):
        pass

    Settings: ClassVar[type[Any]] = _Anything

    @classmethod
    def open(cls, connection: Connection) -> Self:
        return super().open(connection.model_copy(update={"settings": {}}))


class CallsThingsDifferently(MemoryAdapter):
    def find_order(self, order_number: str) -> Order | None:
        return super().find_order(order_number)


class ShowsItsToken(MemoryAdapter):
    def __repr__(self) -> str:
        return f"{self._client._token}"


def under(fault: Fault) -> dict[str, Any]:
    return {"operation": Operation.CASE, "fault": fault}


MADE_A_CASE: dict[str, Any] = {"made_by": Operation.CASE}

LIARS: list[tuple[type[MemoryAdapter], Callable[..., None], dict[str, Any]]] = [
    (CallsAmbiguousTransient, test_faults.test_write_under_fault, under(Fault.LOST_ANSWER)),
    (CallsAmbiguousTransient, test_faults.test_write_under_fault, under(Fault.SLOW)),
    (LetsForeignExceptionsOut, test_faults.test_write_under_fault, under(Fault.MALFORMED)),
    (RefusesItsOwnKey, test_faults.test_write_under_fault, under(Fault.DUPLICATE)),
    (
        RetriesByItself,
        test_faults.test_write_under_fault,
        {"operation": Operation.NOTE, "fault": Fault.LOST_ANSWER},
    ),
    (TellsItsToken, test_faults.test_write_under_fault, under(Fault.LOST_ANSWER)),
    (Anonymous, test_faults.test_write_under_fault, under(Fault.LOST_ANSWER)),
    (WaitsTooLong, test_faults.test_write_under_fault, under(Fault.LOST_ANSWER)),
    (
        TakesFailureForAbsence,
        test_faults.test_read_under_fault,
        {"read": "find_case", "fault": Fault.THROTTLED},
    ),
    (
        TakesFailureForNobody,
        test_faults.test_read_under_fault,
        {"read": "find_contacts", "fault": Fault.MASKED},
    ),
    (RaisesFromCheck, test_faults.test_check_under_fault, {"fault": Fault.DROPPED_BEFORE}),
    (ClaimsNativeKeys, test_writes.test_a_native_key_makes_one_row, {"operation": Operation.NOTE}),
    (
        ClaimsNativeKeys,
        test_writes.test_a_native_key_makes_one_row_under_concurrency,
        {"operation": Operation.NOTE},
    ),
    (
        SearchesForPartsOfKeys,
        test_writes.test_keys_are_compared_whole,
        {"operation": Operation.CASE},
    ),
    (
        KeepsWrittenRowsToItself,
        test_writes.test_another_process_finds_it,
        {"operation": Operation.CASE},
    ),
    (
        WritesBeforeItChecks,
        test_writes.test_the_impossible_is_refused,
        {"operation": Operation.CASE},
    ),
    (TakesNothingBack, test_withdrawals.test_what_was_made_is_taken_back, MADE_A_CASE),
    (SeesEverythingWithdrawn, test_withdrawals.test_what_was_made_is_taken_back, MADE_A_CASE),
    (
        TakesBackTwice,
        test_withdrawals.test_taking_back_twice_is_one_effect_and_a_receipt,
        MADE_A_CASE,
    ),
    (
        RefusesToTakeBackTwice,
        test_withdrawals.test_taking_back_twice_is_one_effect_and_a_receipt,
        MADE_A_CASE,
    ),
    (
        ForgetsWhatIsClosed,
        test_withdrawals.test_what_is_taken_back_was_made_all_the_same,
        MADE_A_CASE,
    ),
    (
        TakesBackWhatIsPaid,
        test_withdrawals.test_too_late_is_refused,
        {"made_by": Operation.CREDIT},
    ),
    (
        TakesMissingForGone,
        test_withdrawals.test_what_is_not_there_is_not_taken_back,
        MADE_A_CASE,
    ),
    (TakesBackAnything, test_withdrawals.test_what_it_cannot_take_back_is_not_offered, {}),
    (
        ReadsAnotherState,
        test_changes.test_what_was_kept_aside_is_taken_once_it_maps,
        {"kind": Kind.CONTACT},
    ),
    (
        FindsWhatIsGone,
        test_changes.test_what_was_kept_aside_is_taken_once_it_maps,
        {"kind": Kind.CONTACT},
    ),
    (
        ListsReturnsWithoutLines,
        test_listed.test_a_remedy_is_listed_until_it_is_taken_back,
        {"operation": Operation.RETURN, "kind": Kind.RETURN},
    ),
    (
        ListsCreditsOfNoOrder,
        test_listed.test_a_remedy_is_listed_until_it_is_taken_back,
        {"operation": Operation.CREDIT, "kind": Kind.INVOICE},
    ),
    (
        HidesWhatIsCancelled,
        test_listed.test_a_remedy_is_listed_until_it_is_taken_back,
        {"operation": Operation.STORE_CREDIT, "kind": Kind.INVOICE},
    ),
    (SkipsTheLastOfAPage, test_changes.test_pages_end_and_skip_nothing, {"kind": Kind.ORDER}),
    (StandsStill, test_changes.test_pages_end_and_skip_nothing, {"kind": Kind.ORDER}),
    (CountsFromNow, test_changes.test_pages_end_and_skip_nothing, {"kind": Kind.ORDER}),
    (
        CountsFromNow,
        test_changes.test_a_changed_record_appears_after_a_saved_cursor,
        {"kind": Kind.ORDER},
    ),
    (ReadsBrokenCursorsAsNone, test_changes.test_a_broken_cursor_is_refused, {"kind": Kind.ORDER}),
    (FindsEverybodyForNothing, test_reads.test_an_empty_clue_finds_no_contact, {}),
    (TakesCluesForPatterns, test_reads.test_clues_are_no_patterns_and_no_code_for_contacts, {}),
    (ForgetsLines, test_reads.test_read_order, {}),
    (NamesAnotherConnection, test_reads.test_read_order, {}),
    (OldestFirst, test_reads.test_orders_of, {}),
    (AlwaysWell, test_opening.test_check_names_what_is_wrong_with_the_credentials, {}),
    (LooseSettings, test_opening.test_unknown_settings_are_refused, {}),
    (CallsThingsDifferently, test_opening.test_methods_look_like_the_protocols, {}),
    (ShowsItsToken, test_opening.test_secrets_are_not_in_its_representation, {}),
]


@pytest.mark.parametrize(
    ("liar", "test", "given"),
    LIARS,
    ids=[
        f"{liar.__name__}-{test.__name__}-{number}" for number, (liar, test, _) in enumerate(LIARS)
    ],
)
@pytest.mark.parametrize("honest", [False, True], ids=["liar", "honest"])
def test_a_liar_is_caught(
    liar: type[MemoryAdapter],
    test: Callable[..., None],
    given: dict[str, Any],
    honest: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The same call passes with the honest adapter, so it is the sin that is caught."""
    peer = MemoryPeer()
    peer.adapter = MemoryAdapter if honest else liar
    code = test.__wrapped__ if hasattr(test, "__wrapped__") else test
    names = code.__code__.co_varnames[: code.__code__.co_argcount]
    fixtures = {
        "peer": peer,
        "adapter": peer.adapter.open(peer.connection()),
        "samples": peer.samples(),
        "caplog": caplog,
        "monkeypatch": pytest.MonkeyPatch(),
    }
    arguments = {name: fixtures[name] for name in names if name in fixtures} | given
    if honest:
        test(**arguments)
        return
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        test(**arguments)


def test_a_secret_in_the_log_is_caught(caplog: pytest.LogCaptureFixture) -> None:
    class Logs(MemoryAdapter):
        def find_order(self, number: str) -> Order | None:
            import logging

            logging.getLogger("vendor").warning("token=%s", TOKEN)
            return super().find_order(number)

    peer = MemoryPeer()
    peer.adapter = Logs
    adapter = Logs.open(peer.connection())
    with pytest.raises(AssertionError, match="secret"):
        test_reads.test_read(peer, adapter, peer.samples(), "find_order", caplog)
