"""`amends resolve`: which records are one customer, now; what a run did; and training."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from middleware.app import Application, handlers
from middleware.commands.console import ConfigOption, JsonOption, err, fail, opened, out, say
from middleware.flows import resolve, sync
from middleware.flows.due import tick_now
from middleware.flows.engine import WorkerRunningError

commands = typer.Typer(help="Which records are one customer.", no_args_is_help=True)


@commands.command("run")
def run_resolution(
    job: Annotated[str | None, typer.Argument(help="Default: the one with this flow.")] = None,
    config: ConfigOption = None,
    *,
    full: Annotated[bool, typer.Option("--full", help="Compare all records anew.")] = False,
    allow_changes: Annotated[
        int | None, typer.Option(min=0, help="So many links may change in this run.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Resolve records now and show how far it is, until it ends."""
    with opened(config) as application:
        hub = application.hub
        name = job or _only_job(application)
        with application.database.read() as uow:
            row = uow.jobs.get(name)
        if row is not None and row.flow != "resolve":
            fail(f"{name} is a job of the flow {row.flow}; run it with `amends {row.flow} run`")
        try:
            hub.engine.work(handlers(hub))
        except WorkerRunningError:
            err.print("a worker is running: it does the work, this only watches", style="dim")
        wanted = {"allow_changes": allow_changes} if allow_changes is not None else None
        mode = "full" if full else "changes"
        tick = tick_now(hub.clock())
        run_id, _ = sync.owe(hub, name, tick=tick, requested_by="cli", mode=mode, wanted=wanted)
        with err.status(f"{name}: queued") as status:
            while True:
                with application.database.read() as uow:
                    found = uow.jobs.run(run_id)
                assert found is not None
                status.update(f"{name}: {found.state} {told_step(found.counts)}")
                if found.state not in ("queued", "running"):
                    break
                time.sleep(0.2)
    if as_json:
        shown = {"run": run_id, "state": found.state, "counts": found.counts, "error": found.error}
        out.print_json(json.dumps(shown))
    else:
        say(f"{name}: {found.state} ({run_id}) {told(found.counts)}")
        if found.error:
            fail(str(found.error.get("message")))
    sys.exit(0 if found.state == "done" else 1)


@commands.command("report")
def show_report(
    run_id: Annotated[str, typer.Argument(help="As `amends resolve run` shows it.")],
    config: ConfigOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Show what a run changed, or would have changed, and why: figures and examples."""
    with opened(config) as application:
        found = resolve.report(application.hub, run_id)
    if found is None:
        fail(f"the run {run_id} has no report: it did not come so far, or there is none")
    if as_json:
        out.print_json(json.dumps(found))
        return
    say(told(found["counts"]))
    for one in found["changes"]:
        person = one["person"] or "a new person"
        beside = f" beside {', '.join(one['with'])}" if one["with"] else ""
        was = f" (was {one['was']})" if one["was"] else ""
        goal = f" to {person}{beside}" if one["change"] != "ended" else ""
        say(f"  {one['change']}: {one['record']}{goal}{was}")
    for one in found["refused"]:
        say(f"  kept apart, {one['why']}: {' and '.join(one['records'])}")


@commands.command("train")
def train_model(
    output: Annotated[Path, typer.Argument(help="The model file to write.")],
    config: ConfigOption = None,
) -> None:
    """Learn the model's numbers from the records in the store, and write it to a file.

    It is used once `resolve.model` in the settings names it.
    """
    from middleware.resolution.batch.model import written

    with opened(config) as application, err.status("reading") as status:
        model = resolve.train(
            application.hub, tell=lambda seen, total: status.update(f"{seen} of {total} read")
        )
    output.write_text(written(model))
    say(f"{output}: {model.name}, learned from {model.trained_on} records")


def _only_job(application: Application) -> str:
    found = [n for n, job in application.settings.jobs.items() if job.flow == "resolve"]
    if len(found) != 1:
        fail(
            "name the job: there are " + ", ".join(found)
            if found
            else 'no job resolves records; add [jobs.resolve] with flow = "resolve" and a schedule'
        )
    return found[0]


def told_step(counts: dict[str, Any]) -> str:
    """`2 of 5, 4000 of 10000` of a run's counts."""
    step = counts.get("step")
    return f"{step['number']} of {step['of']}, {step['done']} of {step['total']}" if step else ""


def told(counts: dict[str, Any]) -> str:
    """What was seen and changed, in one line."""
    parts = []
    for title, names in (
        ("records", ("seen", "changed", "deleted")),
        ("pairs", ("likely", "doubtful", "held_back")),
        ("groups", ("groups", "records")),
        ("links" if "links" in counts else "planned", ("made", "moved", "ended")),
    ):
        known = counts.get(title, {})
        said = [f"{known[name]} {name}" for name in names if name in known]
        if said:
            parts.append(f"{title}: {', '.join(said)}")
    return "; ".join(parts)
