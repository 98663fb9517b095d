"""`amends understand` and `amends train`: what texts say, and the model that reads them."""

from __future__ import annotations

import csv
import getpass
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from middleware.api.routes.understanding import training_shown
from middleware.app import set_up_logging
from middleware.commands.console import ConfigOption, err, fail, opened, say
from middleware.configuration import understanding_of
from middleware.domain.problems import ProblemError
from middleware.domain.understanding import TrainingState, Understanding
from middleware.flows import trainings, understood
from middleware.flows.hub import Asker
from middleware.settings import Settings
from middleware.store import queries
from middleware.understanding import Understands
from middleware.understanding.pool import Pooled
from middleware.understanding.table import (
    COLUMNS,
    Line,
    TableUnreadableError,
    labelled_rows,
    read_table,
)
from middleware.understanding.trained import Asked
from middleware.understanding.training.corpus import MalformedSentencesError

TOGETHER = 64
LISTED = 20


def understand(
    config: ConfigOption = None,
    *,
    table: Annotated[
        Path | None,
        typer.Option("--csv", help="Texts: columns `text`, and `lang` where it is known."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON lines instead of CSV.")] = False,
    retrain: Annotated[
        bool, typer.Option("--retrain", help="Learn from corrections and from your own sentences.")
    ] = False,
    heads: Annotated[
        int | None,
        typer.Option("--heads", help="Use these heads again; 0 are those the model came with."),
    ] = None,
    listed: Annotated[bool, typer.Option("--trainings", help="What it was taught.")] = False,
    agreement: Annotated[
        bool, typer.Option("--agreement", help="How a model in shadow stands to the deciding one.")
    ] = False,
) -> None:
    """Label a table of texts, with probabilities and bands, on standard output.

    Or fit the model to what your people said, go back to an earlier fit, or see how your own model
    in shadow does.
    """
    if [table is not None, retrain, heads is not None, listed, agreement].count(True) != 1:
        fail("say one of --csv FILE, --retrain, --heads N, --trainings and --agreement")
    if table is not None:
        _label(config, table, as_json=as_json)
    elif retrain or heads is not None:
        _retrain(config, heads, as_json=as_json)
    elif listed:
        _show_trainings(config, as_json=as_json)
    else:
        _show_agreement(config, as_json=as_json)


def _retrain(config: Path | None, again: int | None, *, as_json: bool) -> None:
    with opened(config) as application:
        try:
            made = trainings.at_once(
                application.hub, again=again, asker=Asker(f"cli:{getpass.getuser()}")
            )
        except ProblemError as error:
            fail(str(error))
    shown = training_shown(made)
    if as_json:
        sys.stdout.write(shown.model_dump_json() + "\n")
    if made.state != TrainingState.DONE:
        fail(f"nothing changed: {made.why}")
    if as_json:
        return
    say(f"heads {shown.heads} are in use")
    if shown.learned_from and shown.learned_from.left_out:
        say(f"{shown.learned_from.left_out} corrected in a language that the model does not read")
    for question, found in shown.report.items():
        seen = f"{found.labels_before} → {found.labels_after}"
        held = f"{found.held_out_before} → {found.held_out_after}"
        say(f"{question}: {found.labels} labels; right on them {seen}, on ours {held}")


def _show_trainings(config: Path | None, *, as_json: bool) -> None:
    with opened(config) as application:
        found = trainings.in_use(application.hub)
        with application.database.read() as uow:
            rows = queries.trainings(uow, before=None, limit=LISTED)
    if as_json:
        for row in rows:
            sys.stdout.write(training_shown(row).model_dump_json() + "\n")
        return
    say(f"in use: {found.model or found.refused or 'the rules alone'}, heads {found.heads}")
    for row in rows:
        what = "learned" if row.again is None else f"heads {row.again} again"
        came = f"heads {row.heads}" if row.heads is not None else row.why or ""
        say(f"{row.asked_at:%Y-%m-%d %H:%M} {row.state}: {what} ({row.asked_by}) {came}".rstrip())


def _show_agreement(config: Path | None, *, as_json: bool) -> None:
    with opened(config) as application:
        found = understood.agreement(application.hub)
    if as_json:
        sys.stdout.write(json.dumps([asdict(one) for one in found]) + "\n")
        return
    if not found:
        say("no complaint was understood with a model in shadow")
    for one in found:
        say(f"{one.question}: {one.agreed} of {one.asked} agree")
        if one.corrected:
            say(f"  of {one.corrected} that people corrected it had {one.right} right")
        for decided, shadow, times in one.differences:
            say(f"  {decided} decided, {shadow} in shadow: {times}")


def _label(config: Path | None, table: Path, *, as_json: bool) -> None:
    try:
        lines = read_table(table)
    except TableUnreadableError as error:
        fail(str(error))
    with _understanding(config) as understands:
        if isinstance(understands, Pooled) and understands.trained() is None:
            err.print(f"the rules judge alone: {understands.refused}", markup=False)
        rows = labelled_rows(lines, _all(understands, lines))
        if as_json:
            for row in rows:
                sys.stdout.write(json.dumps(row, ensure_ascii=False) + "\n")
            return
        writer = csv.DictWriter(sys.stdout, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


@contextmanager
def _understanding(config: Path | None) -> Iterator[Understands]:
    """What the hub understands with, newest heads and all; the defaults where there is no hub."""
    if config or "AMENDS_CONFIG" in os.environ or Path("amends.toml").exists():
        with opened(config) as application:
            with application.database.read() as uow:
                trainings.keep_up(application.hub, uow)
            yield application.hub.understands
        return
    set_up_logging("ERROR")
    understands = understanding_of(Settings())
    try:
        yield understands
    finally:
        if isinstance(understands, Pooled):
            understands.close()


def _all(understands: Understands, lines: Sequence[Line]) -> list[Understanding]:
    trained = understands.trained() if isinstance(understands, Pooled) else None
    if trained is None:
        return [understands.understand(line.text, language=line.language) for line in lines]
    found: list[Understanding] = []
    for start in range(0, len(lines), TOGETHER):
        found += trained.understand_all(
            [Asked(line.text, line.language) for line in lines[start : start + TOGETHER]]
        )
    return found


def train(
    texts: Annotated[
        Path, typer.Argument(help="The folder with uci-sentences/ and bitext/; see docs.")
    ],
    out: Annotated[Path, typer.Argument(help="The folder that the model is written to.")],
    *,
    world: Annotated[
        bool, typer.Option(help="The heads for other languages, from our own sentences alone.")
    ] = False,
    encoder: Annotated[
        Path | None, typer.Option(help="The folder of an encoder made before: fit the heads only.")
    ] = None,
    seed: Annotated[int, typer.Option(help="What chance begins with.")] = 20261122,
    epochs: Annotated[int, typer.Option(min=1, max=20)] = 1,
    times: Annotated[int, typer.Option(min=1, max=20, help="Ways to write a sentence.")] = 1,
) -> None:
    """Train the default model anew from its sentences. Needs the extra `train`; takes minutes."""
    from middleware.understanding.training.train import Recipe, train_world
    from middleware.understanding.training.train import train as run
    from middleware.understanding.training.tuning import BaseModelError

    try:
        manifest = (
            train_world(out, tell=say)
            if world
            else run(
                texts,
                out,
                recipe=Recipe(seed=seed, epochs=epochs, times=times),
                encoder=encoder,
                tell=say,
            )
        )
    except (MalformedSentencesError, BaseModelError) as error:
        fail(str(error))
    except ImportError as error:
        fail(f"{error.name} is not installed; pip install 'amends[train,multilingual]'")
    say(json.dumps(manifest["metrics"], indent=1))
    say(f"written to {out}")
