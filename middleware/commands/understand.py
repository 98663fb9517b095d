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

from middleware.app import set_up_logging
from middleware.commands.console import ConfigOption, err, fail, opened, say
from middleware.configuration import understanding_of
from middleware.domain.problems import ProblemError
from middleware.domain.understanding import Understanding
from middleware.flows import understood
from middleware.flows.hub import Asker
from middleware.settings import Settings
from middleware.understanding import Understands
from middleware.understanding.pool import Pooled
from middleware.understanding.refit import RefitRefusedError, read_labels
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
    agreement: Annotated[
        bool, typer.Option("--agreement", help="How a model in shadow stands to the deciding one.")
    ] = False,
) -> None:
    """Label a table of texts, with probabilities and bands, on standard output.

    Or fit the model to what your people said, or see how your own model in shadow does.
    """
    if [table is not None, retrain, agreement].count(True) != 1:
        fail("say one of --csv FILE, --retrain and --agreement")
    if table is not None:
        _label(config, table, as_json=as_json)
    elif retrain:
        _retrain(config, as_json=as_json)
    else:
        _show_agreement(config, as_json=as_json)


def _retrain(config: Path | None, *, as_json: bool) -> None:
    with opened(config) as application:
        labels = application.settings.understanding.labels
        try:
            own = read_labels(application.settings.folder / labels) if labels else []
            made = understood.retrain(application.hub, own, asker=Asker(f"cli:{getpass.getuser()}"))
        except (MalformedSentencesError, RefitRefusedError, ProblemError) as error:
            fail(str(error))
    if as_json:
        sys.stdout.write(json.dumps({"number": made.number, "report": made.refit.report}) + "\n")
        return
    say(f"heads {made.number} are in use")
    for question, found in made.refit.report.items():
        seen = f"{found['labels_before']} → {found['labels_after']}"
        held = f"{found['held_out_before']} → {found['held_out_after']}"
        say(f"{question}: {found['labels']} labels; right on them {seen}, on ours {held}")


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
                understood.keep_up(application.hub, uow)
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
