"""Records in quarantine are tried again: read anew, or mapped from what was kept."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from middleware.contract.canonical import Account, Kind, Record, Ref
from middleware.contract.capabilities import MapsAgain, Quarantined
from middleware.contract.errors import Missing
from middleware.contract.mapping import MappingError, Problem
from middleware.domain.problems import NotFoundError, NotOfferedError
from middleware.flows import replay
from middleware.flows.hub import Asker
from middleware.store import queries
from tests.flows.conftest import Stage

ASKER = Asker(principal="key_test")


class Keeps(MapsAgain):
    """An adapter that reads nothing alone, and maps what was kept."""

    refuses = False

    def map_again(self, ref: Ref, payload: Mapping[str, Any]) -> Record:
        if self.refuses:
            raise MappingError([Problem("name", "is longer than 80", "account.map.yaml:7:3")])
        return Account(ref=ref, name=str(payload["Name"]))


class OnlyLists:
    """An adapter that can do neither."""

    change_kinds = tuple(Kind)


def keep(stage: Stage, ref: Ref, **payload: Any) -> None:
    item = Quarantined(
        kind=ref.kind, id=ref.id, field="status", reason="is unknown", payload=payload
    )
    with stage.hub.database.begin() as uow:
        uow.records.quarantine([item], connection=ref.connection, at=stage.time.now)


def speak(stage: Stage, connection: str, adapter: object) -> None:
    """Let a connection be of another adapter."""
    stage.hub.registry._slots[stage.names[connection]].adapter = adapter


def kept(stage: Stage, ref: Ref) -> queries.QuarantineRow | None:
    with stage.hub.database.read() as uow:
        return queries.quarantined_record(uow, ref)


def stored(stage: Stage, ref: Ref) -> Record | None:
    with stage.hub.database.read() as uow:
        found = uow.records.get(ref)
    return found.record if found else None


@pytest.mark.parametrize("kind", [Kind.CONTACT, Kind.ACCOUNT, Kind.ORDER])
def test_any_kind_is_read_anew(stage: Stage, kind: Kind) -> None:
    record: Record = {
        Kind.CONTACT: stage.contact,
        Kind.ACCOUNT: stage.account,
        Kind.ORDER: stage.order,
    }[kind]
    keep(stage, record.ref, state="?")
    replay.record(stage.hub, record.ref, ASKER)
    assert kept(stage, record.ref) is None
    found = stored(stage, record.ref)
    assert found is not None
    assert found.ref == record.ref
    with stage.hub.database.read() as uow:
        assert uow.records.count()[(record.ref.connection, kind.value)] == 1


def test_what_is_gone_from_the_remote_stays_with_the_remotes_reason(stage: Stage) -> None:
    ref = stage.ref("crm", Kind.CONTACT, "C99")
    keep(stage, ref)
    with pytest.raises(Missing):
        replay.record(stage.hub, ref, ASKER)
    assert kept(stage, ref) is not None


def test_what_was_kept_whole_is_mapped_again(stage: Stage) -> None:
    """It is as old as when it was read: whatever was stored since is newer."""
    speak(stage, "erp", Keeps())
    ref = stage.ref("erp", Kind.ACCOUNT, "A9")
    keep(stage, ref, Name="Kim Berg")
    stage.time.pass_(hours=3)
    replay.record(stage.hub, ref, ASKER)
    assert kept(stage, ref) is None
    assert stored(stage, ref) == Account(ref=ref, name="Kim Berg")
    with stage.hub.database.read() as uow:
        found = uow.records.get(ref)
    assert found is not None
    assert found.as_of == stage.time.now - timedelta(hours=3)


def test_what_still_does_not_map_stays_with_the_new_reason(stage: Stage) -> None:
    adapter = Keeps()
    adapter.refuses = True
    speak(stage, "erp", adapter)
    ref = stage.ref("erp", Kind.ACCOUNT, "A9")
    keep(stage, ref, Name="Kim Berg")
    before = kept(stage, ref)
    stage.time.pass_(hours=3)
    with pytest.raises(MappingError, match="longer than 80"):
        replay.record(stage.hub, ref, ASKER)
    row = kept(stage, ref)
    assert row is not None
    assert before is not None
    assert (row.field, row.reason, row.place) == (
        "name",
        "is longer than 80",
        "account.map.yaml:7:3",
    )
    assert (row.payload, row.last_at) == ({"Name": "Kim Berg"}, before.last_at)
    assert stored(stage, ref) is None


def test_an_adapter_that_can_do_neither_says_so(stage: Stage) -> None:
    speak(stage, "crm", OnlyLists())
    ref = stage.ref("crm", Kind.CONTACT, "C1")
    keep(stage, ref)
    with pytest.raises(NotOfferedError, match="reads no single contact"):
        replay.record(stage.hub, ref, ASKER)
    assert kept(stage, ref) is not None


def test_what_is_not_in_quarantine_is_not_found(stage: Stage) -> None:
    with pytest.raises(NotFoundError):
        replay.record(stage.hub, stage.contact.ref, ASKER)
