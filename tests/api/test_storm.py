"""Many clients, the worker and a run of resolution at once upon the same few people.

No request fails for another's sake, and what is left holds together. `AMENDS_STORM_SECONDS` has it
go on for longer, `AMENDS_STORM_SEED` otherwise.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pytest
from sqlmodel import SQLModel, col, select

from middleware.contract.canonical import Account, Contact, Kind, Ref
from middleware.contract.capabilities import Merged
from middleware.flows import merged, relink
from middleware.resolution.batch.persons import Assigned, Change, Do, Held
from middleware.resolution.identifiers import identifiers_of
from middleware.store import resolving
from middleware.store.ledger import thing_of
from middleware.store.tables import (
    CannotLinkRow,
    ComplaintRow,
    LinkRow,
    PersonChangeRow,
    PersonRow,
    ReviewRow,
    RunRow,
)
from tests.api.conftest import Api, both_databases, sent

SECONDS = float(os.environ.get("AMENDS_STORM_SECONDS", "2"))
SEED = os.environ.get("AMENDS_STORM_SEED", "1")
CLIENTS, WORKERS = 6, 2
ACCOUNTS, RECORDS = 8, 8
RUN = "run_storm"
SAID = {"reason": "said so"}


@dataclass
class Storm:
    api: Api
    things: list[str] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)
    ends: float = 0.0

    def begin(self) -> None:
        stage = self.api.stage
        with stage.hub.database.begin() as uow:
            for n in range(RECORDS):
                emails = (f"box{n % 5}@example.com", f"own{n}@example.com")
                contact = Contact(
                    ref=stage.ref("crm", Kind.CONTACT, f"R{n}"),
                    display_name=f"Somebody {n % 3}",
                    emails=emails,
                )
                account = Account(
                    ref=stage.ref("erp", Kind.ACCOUNT, f"R{n}"),
                    name=f"Somebody {n % 3}",
                    emails=emails[1:],
                )
                records = [(one, identifiers_of(one)) for one in (contact, account)]
                uow.records.store(records, as_of=stage.time())
                self.things += [str(contact.ref), str(account.ref)]
            uow.jobs.declare(
                {"people": {"flow": "resolve", "arguments": {}, "schedule": {"every": 60}}},
                at=stage.time.now,
            )
            uow.session.add(
                RunRow(
                    id=RUN,
                    job="people",
                    tick="t",
                    state="running",
                    requested_by="test",
                    queued_at=stage.time(),
                    counts={},
                )
            )
        for n in range(ACCOUNTS):
            complaint = self.api.send_in(**self._written(n, f"{n}", f"box{n % 5}"))
            shown = self.api.get(f"/v1/complaints/{complaint}").json()
            self.things.append(shown["identity_id"])
        self.ends = time.monotonic() + SECONDS

    def rows(self, kind: type[Any], *where: Any) -> list[Any]:
        with self.api.stage.hub.database.read() as uow:
            return list(uow.session.exec(select(kind).where(*where)))

    # --- who does something ---------------------------------------------------------------------

    def client(self, number: int) -> None:
        chance = random.Random(f"{SEED} client {number}")
        kinds: list[Callable[[random.Random], httpx2.Response | None]] = [
            *(self.link, self.unlink, self.merge, self.undo, self.answer) * 2,
            *(self.split, self.apart, self.lift, self.restore, self.write, self.read, self.why),
            self.pages,
        ]
        while time.monotonic() < self.ends:
            kind = chance.choice(kinds)
            answer = kind(chance)
            if answer is not None:
                self.answers[f"{kind.__name__} {answer.status_code}"] += 1
                assert answer.status_code < 500, answer.text

    def worker(self) -> None:
        stage = self.api.stage
        while time.monotonic() < self.ends:
            owed = next((one for one in list(stage.engine.owed) if one.due <= stage.time()), None)
            try:
                stage.engine.owed.remove(owed)  # type: ignore[arg-type]
            except ValueError:
                stage.time.pass_(seconds=5)
                time.sleep(0.02)
                continue
            assert owed is not None
            try:
                stage.handlers[owed.flow](*owed.arguments)
            except RuntimeError as error:
                if "changes faster than it can be understood" not in str(error):
                    raise
                stage.engine.owed.append(owed)  # begun anew, as reconcile does

    def runs(self) -> None:
        """A run of resolution puts records together, and a CRM merges contacts."""
        chance = random.Random(f"{SEED} run")
        hub = self.api.stage.hub
        records = [thing for thing in self.things if ":" in thing]
        while time.monotonic() < self.ends:
            if chance.random() < 0.3:
                gone, into = chance.sample([one for one in records if ":contact:" in one], 2)
                merged.follow(hub, Merged(gone=Ref.parse(gone), into=Ref.parse(into)))
                continue
            refs = sorted(chance.sample(records, 3))
            with hub.database.read() as uow:
                links = resolving.links_of(uow, map(Ref.parse, refs))
            held = {
                str(one.ref): Held(one.id, one.person_id, one.decided_by == relink.RUN)
                for one in links
            }
            person = min((one.person for one in held.values()), default=None)
            changes = [Change(Do.MAKE, ref) for ref in refs if ref not in held]
            changes += [
                Change(Do.MOVE, ref, one)
                for ref, one in held.items()
                if one.by_run and one.person != person
            ]
            if changes:
                left = tuple({one.held.person for one in changes if one.held})
                group = Assigned(tuple(refs), person, tuple(changes), left)
                why = dict.fromkeys(refs, relink.Reason((), 0.99))
                relink.apply(hub, RUN, [group], why, {})
            time.sleep(0.05)

    # --- what clients ask for -------------------------------------------------------------------

    def link(self, chance: random.Random) -> httpx2.Response:
        thing = chance.choice(self.things)
        body: dict[str, Any] = {"person_id": self._person(chance), **SAID}
        body["record" if ":" in thing else "identity_id"] = thing
        body["although_revoked"] = chance.random() < 0.5
        return self._write("PUT", "/v1/links", body)

    def unlink(self, chance: random.Random) -> httpx2.Response | None:
        row = self._one(chance, LinkRow, col(LinkRow.valid_to).is_(None))
        if row is None:
            return None
        return self._write("POST", f"/v1/links/{row.id}/revoke", SAID, version=row.version)

    def restore(self, chance: random.Random) -> httpx2.Response | None:
        row = self._one(chance, LinkRow, col(LinkRow.revoked_by).is_not(None))
        return row and self._write("POST", f"/v1/links/{row.id}/restore", SAID)

    def merge(self, chance: random.Random) -> httpx2.Response:
        stays, goes = self._person(chance), self._person(chance)
        body: dict[str, Any] = {"other_id": goes}
        shown = self._write("POST", f"/v1/people/{stays}/merge/preview", body, scope="people:read")
        if shown.status_code == 200 and chance.random() < 0.5:
            body["preview_token"] = shown.json()["preview_token"]
        return self._write("POST", f"/v1/people/{stays}/merge", {**body, **SAID})

    def split(self, chance: random.Random) -> httpx2.Response | None:
        row = self._one(chance, LinkRow, col(LinkRow.valid_to).is_(None))
        if row is None:
            return None
        what = "records" if row.identity_id is None else "identities"
        body = {what: [thing_of(row)], **SAID}
        return self._write("POST", f"/v1/people/{row.person_id}/split", body)

    def undo(self, chance: random.Random) -> httpx2.Response | None:
        row = self._one(chance, PersonChangeRow, col(PersonChangeRow.undone_by).is_(None))
        return row and self._write("POST", f"/v1/changes/{row.id}/undo", SAID)

    def apart(self, chance: random.Random) -> httpx2.Response:
        one, other = chance.choice(self.things), self._person(chance)
        if chance.random() < 0.5:
            other = chance.choice(self.things)
        return self._write("PUT", "/v1/cannot-links", {"one": one, "other": other, **SAID})

    def lift(self, chance: random.Random) -> httpx2.Response | None:
        row = self._one(chance, CannotLinkRow, col(CannotLinkRow.valid_to).is_(None))
        if row is None:
            return None
        return self._write("POST", f"/v1/cannot-links/{row.id}/lift", SAID, version=row.version)

    def answer(self, chance: random.Random) -> httpx2.Response | None:
        row = self._one(chance, ReviewRow, ReviewRow.state == "open")
        if row is None:
            return None
        body: dict[str, Any] = {"said": chance.choice(["this", "none", "unsure"]), **SAID}
        if body["said"] == "this":
            body["candidate"] = 0
        return self._write("POST", f"/v1/reviews/{row.id}/answer", body, version=row.version)

    def write(self, chance: random.Random) -> httpx2.Response:
        box = chance.choice([f"box{chance.randrange(5)}", f"own{chance.randrange(RECORDS)}"])
        about = f"{chance.random()}"
        written = self._written(chance.randrange(ACCOUNTS), about, box)
        return self.api.post("/v1/complaints", sent(**written))

    def read(self, chance: random.Random) -> httpx2.Response:
        return self.api.get(f"/v1/people/{self._person(chance)}")

    def why(self, chance: random.Random) -> httpx2.Response:
        one, other = chance.sample(self.things, 2)
        return self.api.get("/v1/people/why", params={"one": one, "other": other})

    def pages(self, chance: random.Random) -> httpx2.Response:
        """All links there were of somebody, one by one while they change: none of them twice."""
        asked: dict[str, Any] = {"person_id": self._person(chance), "limit": 1, "history": True}
        seen = []
        while True:
            answer = self.api.get("/v1/links", params=asked)
            page = answer.json()
            seen += [row["id"] for row in page["data"]]
            if not page["has_more"]:
                assert len(seen) == len(set(seen))
                return answer
            asked["cursor"] = page["next_cursor"]

    def _person(self, chance: random.Random) -> str:
        return str(chance.choice(self.rows(PersonRow)).id)

    def _one(self, chance: random.Random, kind: type[SQLModel], *where: Any) -> Any:
        found = self.rows(kind, *where)
        return chance.choice(found) if found else None

    def _write(
        self,
        method: str,
        path: str,
        body: dict[str, Any],
        *,
        version: int | None = None,
        scope: str = "links:write",
    ) -> httpx2.Response:
        headers = {"if-match": f'"{version}"'} if version is not None else {}
        return self.api.call(method, path, json=body, scopes=(scope,), headers=headers)

    def _written(self, account: int, about: str, box: str) -> dict[str, Any]:
        author = {
            "native_id": f"n{account}",
            "handle": f"h{account}",
            "emails": [f"{box}@example.com"],
        }
        return {"id": f"m-{about}", "conversation": f"c-{about}", "author": author}

    # --- what is left ---------------------------------------------------------------------------

    def check(self) -> None:
        valid = self.rows(LinkRow, col(LinkRow.valid_to).is_(None))
        persons = {row.id: row for row in self.rows(PersonRow)}
        whose = {thing_of(row): row.person_id for row in valid}
        assert len(whose) == len(valid), "something is linked twice"
        assert not [row.id for row in valid if persons[row.person_id].redirect_to is not None]
        for row in self.rows(ComplaintRow, ComplaintRow.state != "deleted"):
            assert row.person_id == whose.get(row.identity_id), "shown under somebody else"
        with self.api.stage.hub.database.read() as uow:
            for pair in uow.ledger.all_apart():
                assert len({uow.ledger.now(whose.get(one, one)) for one in pair}) == 2, pair
        leading = Counter(
            row.redirected
            for row in self.rows(PersonChangeRow, col(PersonChangeRow.undone_by).is_(None))
            if row.redirected is not None
        )
        led = {row.id for row in persons.values() if row.redirect_to is not None}
        assert leading == dict.fromkeys(led, 1), "an id leads somewhere without a merge"
        asked = Counter(row.identity_id for row in self.rows(ReviewRow, ReviewRow.state == "open"))
        assert not [one for one, times in asked.items() if one is not None and times > 1]


@pytest.mark.timeout(120 + 3 * SECONDS)
@both_databases
def test_whatever_many_do_at_once(api: Api) -> None:
    for scope in ("links:write", "people:read", "admin"):
        api.key(scope)
    storm = Storm(api)
    storm.begin()
    with ThreadPoolExecutor(CLIENTS + WORKERS + 1) as pool:
        doing = [pool.submit(storm.client, number) for number in range(CLIENTS)]
        doing += [pool.submit(storm.worker) for _ in range(WORKERS)]
        doing.append(pool.submit(storm.runs))
        for one in doing:
            one.result()
    api.stage.run_all(hours=1)
    print(dict(sorted(storm.answers.items())))
    storm.check()
