"""Resolution of all records of all connections: which contacts and accounts are one customer.

read what changed ▸ weigh pairs ▸ make groups ▸ plan ▸ change links ▸ report. Each part leaves in
the workspace what is still to be done, so that a run that dies or is stopped is carried on by the
next worker, and one without a workspace begins by reading everything.

A full run looks at all pairs, through Splink; an incremental one at those of new and changed
records, in its workspace, with the same model in the same frame. Nothing but `relink` writes, and
only if the changes are not more than allowed: else the run ends as `stopped`, with the report of
what it would have done.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from itertools import product
from typing import TYPE_CHECKING, Any

from middleware.contract.canonical import Account, Contact, Kind, Ref
from middleware.domain import ledger
from middleware.domain.ids import new_id
from middleware.domain.problems import ConflictError, NotFoundError, NotOfferedError
from middleware.flows import deliver, relink, rounds, sync
from middleware.flows.due import tick_now
from middleware.flows.hub import Asker, Hub
from middleware.flows.weigh import KINDS, evidence_of, model_of
from middleware.resolution import batch
from middleware.store import resolving
from middleware.store.database import UnitOfWork
from middleware.store.jobs import ENDED
from middleware.store.tables import RunRow

if TYPE_CHECKING:
    from middleware.resolution.batch.grouping import Rules
    from middleware.resolution.batch.model import Model
    from middleware.resolution.batch.persons import Assigned
    from middleware.resolution.batch.workspace import Workspace

log = logging.getLogger(__name__)

PAGE = 5_000
"""Records that are read at once."""
GROUPS = 10_000
"""Groups that are planned at once: what is read of the workspace for them is read once for each."""
AT_ONCE = 250
"""Groups that are changed in one transaction; agents' writes wait for it on SQLite."""
EXAMPLES = 20
"""Of each kind of change so many are named in the report."""
GROWN = 1.5
"""A frame is made anew when there are so many times more or fewer records than it was made of."""
MOST_CHANGED = 0.05
"""A larger share of changed records is weighed by Splink, all pairs anew."""
LEAST_TO_LEARN = 1_000
"""Fewer records than these teach nothing."""
TOLD_EVERY_S = 2.0
"""Progress is written so often."""

MOST_NOTED = 0.1
"""Of a larger share of changed records every record is looked at: that is as quick."""
LOOK_THROUGH_EVERY = timedelta(days=1)
"""So often every record is looked at: a process of an older release, or a hand in the database,
leaves no note."""
LOOKED_THROUGH = "looked_through"
"""Under this the workspace says when every record was last looked at; empty until that is done."""

CHANGED = ("made", "moved", "ended")
STEPS = ("read", "weigh", "group", "plan", "link")


class _Stopping(Exception):
    """This worker is to stop."""


class _TooMuch(Exception):
    """The run would change more than is allowed."""

    def __init__(self, changes: int, allowed: int) -> None:
        super().__init__(changes, allowed)
        self.changes, self.allowed = changes, allowed


def run(hub: Hub, run_id: str) -> None:
    """Carry a queued run to its end: `done`, `failed`, `stopped` or `overtaken`, and why."""
    now = hub.clock()
    with hub.database.begin() as uow:
        row = uow.jobs.run(run_id)
        if row is None or row.state not in ("queued", "running"):
            return
        other = next((r for r in _underway(uow.jobs.running(), hub, uow) if r.id < run_id), None)
        row.state = "running"
        row.started_at = row.started_at or now
        counts: dict[str, Any] = dict(row.counts)
        full, wanted = row.mode == "full", dict(row.wanted or {})
    if other is not None:
        _finish(hub, run_id, "overtaken", {"message": f"{other.id} is under way", "by": other.id})
        return
    state, error = "done", None
    made: _Run | None = None
    try:
        batch.require()
        made = _Run(hub, run_id, counts, full=full, allowed=wanted.get("allow_changes"))
        made.carry_out()
    except relink.CarriedOn:
        log.info("run is carried on elsewhere", extra={"run": run_id})
        return
    except _Stopping:
        _owe_rest(hub, run_id)
        return
    except _TooMuch as found:
        state = "stopped"
        error = {
            "message": f"{found.changes} links would change, {found.allowed} may; look at the"
            f" report, and run it with --allow-changes {found.changes} if that is right",
            "changes": found.changes,
            "allowed": found.allowed,
        }
    except NotOfferedError as failed:
        state, error = "failed", {"message": failed.detail}
    except Exception as failed:
        mended = _mendable(hub, failed)
        if mended is None:
            log.exception("resolution failed", extra={"run": run_id})
            mended = f"the run failed with {type(failed).__name__}; see the log"
        state, error = "failed", {"message": mended}
    _finish(hub, run_id, state, error, counts=made.counts if made else None)


def _underway(running: Sequence[RunRow], hub: Hub, uow: Any) -> Iterator[RunRow]:
    """Runs of resolution that have begun and are not over."""
    for row in running:
        job = uow.jobs.get(row.job)
        if row.state == "running" and job is not None and job.flow == "resolve":
            yield row


def _mendable(hub: Hub, error: Exception) -> str | None:
    """What an operator can do something about, in words; None for what is our own mistake."""
    from middleware.resolution.batch.model import ModelUnreadableError
    from middleware.resolution.batch.workspace import WorkspaceUnusableError, short_of

    if isinstance(error, ModelUnreadableError | WorkspaceUnusableError):
        return str(error)
    chosen = hub.options.resolve
    return {
        "memory": f"there is more to weigh than fits into {chosen.memory}: raise `resolve.memory`",
        "disk": f"the disk of {chosen.workspace}, or that of temporary files, is full",
        None: None,
    }[short_of(error)]


class _Run:
    """One run, from what was changed to what is linked."""

    def __init__(
        self, hub: Hub, run_id: str, counts: dict[str, Any], *, full: bool, allowed: int | None
    ) -> None:
        from middleware.resolution.batch.clusters import Guards
        from middleware.resolution.batch.grouping import Rules

        self.hub, self.run_id, self.counts = hub, run_id, counts
        chosen = hub.options.resolve
        self.full = full and not counts.get("weigh")
        self.allowed = allowed
        self.model = model_of(hub)
        self.read_at = hub.clock()
        if not self.model.trained:
            raise NotOfferedError(f"the model {self.model.name!r} is not trained")
        self.least = self.model.weight_of(chosen.review_from)
        self.rules: Rules = Rules(
            least=round(self.model.weight_of(chosen.threshold), 6),
            guards=Guards(most=chosen.most_in_group),
            free=tuple(f"{name}:{kind}" for name in hub.options.duplicate_free for kind in KINDS),
        )
        self._told = 0.0
        self.examples: list[dict[str, Any]] = []

    def carry_out(self) -> None:
        from middleware.resolution.batch.workspace import Workspace

        chosen = self.hub.options.resolve
        space = Workspace(
            chosen.workspace / "resolve.duckdb",
            self.model,
            stamp=stamp_of(self.hub),
            memory=chosen.memory,
        )
        try:
            self._read(space)
            self._weigh(space)
            self._group(space)
            self._plan(space)
            self._link(space)
        finally:
            space.close()

    # --- the parts ----------------------------------------------------------------------------

    def _read(self, space: Workspace) -> None:
        """Bring the workspace up to what the store holds now.

        By what was noted since it was last brought up, where it is this workspace that follows;
        else, and in a full run, and once a day, by looking at every record.
        """

        def tell(seen: int, total: int) -> None:
            self._step("read", seen, total)

        now = self.hub.clock()
        token, noted = _follow(self.hub, space, anew=self.full, now=now)
        if noted is None:
            read = bring_up(self.hub, space, tell=tell)
            space.say(LOOKED_THROUGH, now.isoformat())
        else:
            read = take_noted(self.hub, space, token, noted, tell=tell)
        before = self.counts.get("records", {})
        self.counts["records"] = {
            "seen": max(read["seen"], before.get("seen", 0)),
            "changed": read["changed"] + before.get("changed", 0),
            "deleted": read["deleted"] + before.get("deleted", 0),
        }

    def _weigh(self, space: Workspace) -> None:
        """Weigh pairs: all of them, or those of the changed records."""
        changed, count = space.changed, space.count
        fits = space.framed / GROWN <= count <= space.framed * GROWN
        many = changed > max(PAGE, MOST_CHANGED * count)
        anew = count > 0 and (self.full or not space.scored or not fits or many)
        self._step("weigh", 0, count if anew else changed)
        if anew:
            with _engine(self.hub, space) as engine:
                if fits:
                    space.refresh()
                else:
                    space.frame()
                engine(self.least)
        compared = 0 if anew else space.score_changed(least=self.least)
        self.counts["weigh"] = {"full": int(anew), "compared": compared}

    def _group(self, space: Workspace) -> None:
        """Make the touched groups anew, by what is known of who is who and who is not."""
        from middleware.resolution.batch.grouping import figures, regroup, take_rules

        self._step("group", 0, space.count)
        with self.hub.database.read() as uow:
            take_rules(
                space,
                ((str(one), str(other)) for one, other in cannot_links(uow)),
                ((str(r), person) for r, person in resolving.held_by_others(uow, run=relink.RUN)),
            )
        regroup(space, self.rules)
        self.counts |= figures(space, self.rules)

    def _plan(self, space: Workspace) -> None:
        """Count what would change, with what a run that is carried on has changed, and stop if that
        is too much."""
        from middleware.resolution.batch.grouping import looked_at, refused, settled

        done: dict[str, int] = self.counts.get("links", {})
        counted = {what: done.get(what, 0) for what in CHANGED}
        if any(counted.values()):
            self.examples = list((report(self.hub, self.run_id) or {}).get("changes", ()))
        named = {(one["change"], one["record"]) for one in self.examples}
        for number, looked in enumerate(looked_at(space, at_once=GROUPS)):
            self._step("plan", number * GROUPS, self.counts["groups"]["groups"])
            assigned = self._assigned(space, looked.groups)
            for one in assigned:
                for change in one.changes:
                    counted[change.do] += 1
                    many = sum(e["change"] == change.do for e in self.examples) >= EXAMPLES
                    if not many and (change.do, change.ref) not in named:
                        self.examples.append(_example(one, change.do, change.ref))
            busy = {one.refs[0] for one in assigned}
            at_rest = [ref for group in looked.groups if group[0] not in busy for ref in group]
            settled(space, list(space.numbers(at_rest).values()))
        self.counts["planned"] = counted
        held_back = [{"why": why, "records": [a, b]} for why, a, b in refused(space, most=5)]
        chosen = self.hub.options.resolve
        with self.hub.database.begin() as uow:
            linked = resolving.counted(uow, run=relink.RUN)
            uow.audit.write(
                at=self.hub.clock(),
                actor=relink.RUN,
                action="run.report",
                subject=self.run_id,
                model=self.model.fingerprint,
                counts={k: v for k, v in self.counts.items() if k != "step"},
                changes=self.examples,
                refused=held_back,
            )
        changes = sum(counted.values())
        allowed = self.allowed
        if allowed is None:
            before = linked - done.get("made", 0) + done.get("ended", 0)
            allowed = max(chosen.most_changes, int(chosen.most_changed_share * before))
        if changes > allowed:
            raise _TooMuch(changes, allowed)

    def _link(self, space: Workspace) -> None:
        """Change the links, some groups at a time."""
        from middleware.resolution.batch.grouping import looked_at, settled, touch

        done: dict[str, int] = dict.fromkeys(CHANGED, 0) | self.counts.get("links", {})
        total = sum(self.counts["planned"].values())
        for looked in looked_at(space, at_once=GROUPS):
            assigned = self._assigned(space, looked.groups)
            reasons, names = self._reasons(space, assigned), self._names(assigned)
            for start in range(0, len(assigned), AT_ONCE):
                self._step("link", sum(done[k] for k in CHANGED), total)
                part = assigned[start : start + AT_ONCE]
                came = relink.apply(self.hub, self.run_id, part, reasons, names)
                if came.late:
                    touch(space, list(space.numbers(came.late).values()))
                for what, count in came.counts.items():
                    done[what] = done.get(what, 0) + count
                self.counts["links"] = done
            settled(space, looked.numbers)
        self.counts["links"] = done
        self._step("link", total, total, now=True)

    # --- what they need -----------------------------------------------------------------------

    def _assigned(self, space: Workspace, groups: Sequence[tuple[str, ...]]) -> list[Assigned]:
        from middleware.resolution.batch.grouping import groups_of
        from middleware.resolution.batch.persons import Held, assign

        refs = [Ref.parse(ref) for group in groups for ref in group]
        with self.hub.database.read() as uow:
            links = resolving.links_of(uow, refs)
            all_links = resolving.links_of_persons(uow, {link.person_id for link in links})
        held = {
            str(link.ref): Held(link.id, link.person_id, link.decided_by == relink.RUN)
            for link in reversed(links)
        }
        records_of: dict[str, list[str]] = {}
        for link in all_links:
            records_of.setdefault(link.person_id, []).append(str(link.ref))
        home = groups_of(space, {ref for records in records_of.values() for ref in records})
        for group in groups:
            home |= dict.fromkeys(group, group)
        return assign(groups, held, records_of, lambda ref: home.get(ref, (ref,)))

    def _reasons(self, space: Workspace, assigned: Sequence[Assigned]) -> dict[str, relink.Reason]:
        """Why each record that is to be linked belongs to its group."""
        from middleware.resolution.batch.grouping import best_pairs

        refs = [ref for one in assigned if len(one.refs) > 1 for ref in one.refs]
        if not refs:
            return {}
        best = best_pairs(space, refs)
        numbers = space.numbers({*best, *(other for other, _ in best.values())})
        rows = space.rows(numbers.values())
        scorer = space.scorer(rows.values())
        reasons = {}
        for ref, (other, weight) in best.items():
            left, right = rows[numbers[ref]], rows[numbers[other]]
            evidence = evidence_of(scorer, left, right, other, self.read_at)
            reasons[ref] = relink.Reason(evidence, self.model.probability(weight))
        return reasons

    def _names(self, assigned: Sequence[Assigned]) -> dict[str, str]:
        """What the records of new persons call them."""
        refs = [Ref.parse(ref) for one in assigned if one.person is None for ref in one.refs[:5]]
        with self.hub.database.read() as uow:
            found = {str(stored.record.ref): stored.record for stored in uow.records.get_all(refs)}
        return {ref: name for ref, record in found.items() if (name := _name(record))}

    def _step(self, step: str, done: int, total: int, *, now: bool = False) -> None:
        """Say how far the run is, and find out whether it is to go on."""
        if self.hub.engine.stopping:
            raise _Stopping
        began = self.counts.get("step", {}).get("number") != STEPS.index(step) + 1
        if not began and not now and time.monotonic() - self._told < TOLD_EVERY_S:
            return
        self._told = time.monotonic()
        number = STEPS.index(step) + 1
        self.counts["step"] = {"number": number, "of": len(STEPS), "done": done, "total": total}
        with self.hub.database.begin() as uow:
            row = uow.jobs.run(self.run_id)
            if row is None or row.state != "running":
                raise relink.CarriedOn
            row.counts = dict(self.counts)


def bring_up(hub: Hub, space: Workspace, *, tell: Callable[[int, int], None]) -> dict[str, int]:
    """Take what is new or has changed in the store into a workspace, some pages at a time.

    What it has of each record is compared by the hash of what the record says, so that nothing is
    missed, whenever it was committed; what changes meanwhile is taken in by the next run. Answers
    how many were seen, changed and deleted.
    """
    seen = 0
    space.look_through()
    with hub.database.read() as uow:
        counted = uow.records.count()
    sources = sorted(source for source in counted if Kind(source[1]) in KINDS)
    total = sum(counted[source] for source in sources)
    for connection, kind in sources:
        after = ""
        while True:
            tell(0, total)
            with hub.database.read() as uow:
                page = resolving.contents(uow, connection, Kind(kind), after=after, limit=PAGE)
            if page is None:
                break
            space.see(f"{connection}:{kind}", page.ids, page.hashes)
            seen, after = seen + page.count, page.last
    changed, deleted = _take_stale(hub, space, total, tell=tell)
    return {"seen": seen, "changed": changed, "deleted": deleted}


def take_noted(
    hub: Hub, space: Workspace, token: str, noted: int, *, tell: Callable[[int, int], None]
) -> dict[str, int]:
    """Take into a workspace that follows what was noted, and forget the notes; see `bring_up`.

    `noted` is how many notes there were: those that come meanwhile are for the next run.
    """
    notes = seen = changed = deleted = 0
    while notes < noted:
        tell(notes, noted)
        with hub.database.read() as uow:
            page = uow.followed.changed(limit=PAGE)
            if page is None:
                break
            contents = resolving.contents_of(uow, page.refs)
        space.look_at(contents)
        took = _take_stale(hub, space, noted, tell=tell, among=[str(ref) for ref in page.refs])
        with hub.database.begin() as uow:
            if not uow.followed.forget(token, page.notes):
                raise relink.CarriedOn
        notes, seen = notes + len(page.notes), seen + len(page.refs)
        changed, deleted = changed + took[0], deleted + took[1]
    return {"seen": seen, "changed": changed, "deleted": deleted}


def _follow(hub: Hub, space: Workspace, *, anew: bool, now: datetime) -> tuple[str, int | None]:
    """Have what changes from now on noted for this workspace, under a new token.

    Answers the token and how many notes there are of what changed since it was last brought up;
    None where they don't tell all, or looking at everything is as quick.
    """
    token, looked = new_id("follow"), space.said(LOOKED_THROUGH)
    whole = looked and now - datetime.fromisoformat(looked) < LOOK_THROUGH_EVERY
    # Who dies from here on has looked at nothing.
    space.say(LOOKED_THROUGH, "")
    with hub.database.begin() as uow:
        noted = uow.followed.count()
        tells = not anew and whole and noted <= MOST_NOTED * space.count
        was = space.said("follows") if tells else None
        continued = uow.followed.follow(token, was=was, at=now)
    space.say("follows", token)
    if continued:
        space.say(LOOKED_THROUGH, looked or "")
    return token, noted if continued else None


def _take_stale(
    hub: Hub,
    space: Workspace,
    total: int,
    *,
    tell: Callable[[int, int], None],
    among: Sequence[str] | None = None,
) -> tuple[int, int]:
    """Take in of the records that the workspace has just seen those that differ from its own, and
    let go of those that it has and did not see; how many of each."""
    from middleware.resolution.batch.columns import columns_of, unique_ids
    from middleware.resolution.batch.workspace import Entry

    options, changed = hub.options, 0
    clean = options.blocked.record
    left, gone = space.compare(among)
    for stale in space.stale(at_once=PAGE):
        tell(max(0, total - left), total)
        with hub.database.read() as uow:
            records = [one.record for one in uow.records.get_all(map(Ref.parse, stale))]
        entries = [
            Entry(
                ref=str(record.ref),
                content=stale[str(record.ref)],
                columns=columns_of(clean(record), regions=options.phone_regions),
                ids=unique_ids(clean(record), options.resolve.unique_ids),
            )
            for record in records
            if isinstance(record, Contact | Account)
        ]
        space.put(entries)
        left, changed = left - len(stale), changed + len(entries)
    if gone:
        space.put([], gone)
    return changed, len(gone)


def train(hub: Hub, *, tell: Callable[[int, int], None] = lambda _seen, _total: None) -> Model:
    """The model in use with its numbers learned anew from the store's records, without a label.

    Nothing is changed; put the answer into a file and name it in the settings to use it. Raises
    NotOfferedError where there is too little to learn from.
    """
    batch.require()
    from middleware.resolution.batch import executor
    from middleware.resolution.batch.workspace import Workspace

    chosen = hub.options.resolve
    space = Workspace(None, model_of(hub), memory=chosen.memory)
    try:
        bring_up(hub, space, tell=tell)
        if space.count < LEAST_TO_LEARN:
            raise NotOfferedError(
                f"{space.count} records are too few to learn from; there must be"
                f" {LEAST_TO_LEARN}. The model that comes with the hub needs none"
            )
        space.frame()
        return executor.learn(space)
    finally:
        space.close()


def stamp_of(hub: Hub) -> str:
    """What, besides the model, a workspace was made under: with another it is made anew."""
    from middleware.resolution.batch.columns import VERSION

    unique = hub.options.resolve.unique_ids
    blocked = hub.options.blocked.digest
    return f"{VERSION}/{sorted(hub.options.phone_regions)}/{sorted(unique)}/{blocked}".rstrip("/")


@contextmanager
def _engine(hub: Hub, space: Workspace) -> Iterator[Any]:
    """What weighs all pairs of a workspace: Splink on DuckDB, or on Spark where that is chosen."""
    from middleware.resolution.batch import executor

    if hub.options.resolve.engine == "spark":
        batch.require("spark")
        from middleware.resolution.batch import spark

        with spark.session(hub.options.resolve.spark) as session:
            yield lambda least: spark.weigh(space, session, least=least)
    else:
        yield lambda least: executor.weigh(space, least=least)


def cannot_links(uow: UnitOfWork) -> Iterator[tuple[Ref, Ref]]:
    """Pairs of records that are never one customer, by what people said of them and of whose they
    are."""
    for pair in uow.ledger.all_apart():
        yield from product(*(_records_of(uow, thing) for thing in pair))


def _records_of(uow: UnitOfWork, thing: ledger.Thing) -> list[Ref]:
    """The records that a word about a thing is about: itself, or those of the person it is of."""
    one = ledger.record(thing)
    if one is not None:
        return [one]
    persons = [thing]
    if not ledger.is_person(thing):
        persons = [link.person_id for link in uow.people.links_of_identity(thing)]
    theirs = (other for person in persons for other in uow.ledger.things_of(person))
    return [ref for ref in map(ledger.record, theirs) if ref is not None]


def allow(hub: Hub, run_id: str, asker: Asker) -> str:
    """Owe a run that may change as many links as the report of a stopped one shows, and beside them
    as many as any run may; answers its id. What a stopped full run weighed is not weighed again.

    Raises NotFoundError, and ConflictError where it was not stopped, or a later run looked since.
    """
    with hub.database.read() as uow:
        row = uow.jobs.run(run_id)
        if row is None:
            raise NotFoundError(f"there is no run {run_id}")
        last = uow.jobs.last_of(row.job, states=("queued", "running", *ENDED))
    if row.state != "stopped" or row.error is None:
        raise ConflictError(f"it is {row.state}; only a run that was stopped is let through")
    if last is not None and last.id != run_id:
        raise ConflictError(f"{last.id} ran since: what it says is what would change now")
    wanted = {"allow_changes": row.error["changes"] + row.error["allowed"]}
    tick = tick_now(hub.clock())
    owed, _ = sync.owe(hub, row.job, tick=tick, requested_by=asker.principal, wanted=wanted)
    return owed


def report(hub: Hub, run_id: str) -> dict[str, Any] | None:
    """What a run did or would have done, and why: figures, and examples by reference."""
    with hub.database.read() as uow:
        told = uow.audit.about(run_id, action="run.report")
    return dict(told[-1].detail) if told else None


def _example(one: Assigned, do: str, ref: str) -> dict[str, Any]:
    others = [other for other in one.refs if other != ref]
    held = next(c.held for c in one.changes if c.ref == ref)
    return {
        "change": str(do),
        "record": ref,
        "person": one.person,
        "was": held.person if held else None,
        "with": others[:3],
    }


def _name(record: Any) -> str | None:
    if isinstance(record, Account):
        return record.name
    if isinstance(record, Contact):
        whole = " ".join(p for p in (record.given_name, record.family_name) if p)
        return record.display_name or whole or None
    return None


def _owe_rest(hub: Hub, run_id: str) -> None:
    """Owe what is left of a run, for the next worker."""
    with hub.database.begin() as uow:
        row = uow.jobs.run(run_id)
        if row is not None and row.state == "running":
            name = f"resolve:{row.job}:{row.tick}:{new_id('rest')}"
            hub.engine.enqueue(uow, "resolve", run_id, name=name)


def _finish(
    hub: Hub,
    run_id: str,
    state: str,
    error: dict[str, Any] | None,
    *,
    counts: dict[str, Any] | None = None,
) -> None:
    now = hub.clock()
    with hub.database.begin() as uow:
        row = uow.jobs.run(run_id)
        if row is None or row.state != "running":
            return
        row.state, row.error, row.finished_at = state, error, now
        row.counts = counts or row.counts
        told = {"id": run_id, "job": row.job, "state": state, "counts": row.counts}
        deliver.tell(hub, uow, "sync.run.finished", subject=run_id, data=told, at=now)
        rounds.ended(hub, uow, row, now=now)
