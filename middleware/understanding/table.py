"""A table of texts, labelled: what `amends understand --csv` reads and writes."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from middleware.domain.understanding import Band, EntityType, Judgement, Understanding
from middleware.understanding.questions import NO_REMEDY

MOST_IN_A_TEXT = 1_000_000
QUESTIONS = ("intent", "sentiment", "reason", "remedy")
COLUMNS = (
    "text",
    "lang",
    *(
        f"{question}{part}"
        for question in QUESTIONS
        for part in ("", "_probability", "_band", "_second", "_second_probability")
    ),
    "severity",
    "cues",
    "order_numbers",
    "degraded",
    "by",
)


class TableUnreadableError(Exception):
    """A file is no table of texts; the message says where and what to do."""


@dataclass(frozen=True)
class Line:
    text: str
    language: str | None


def read_table(path: Path) -> list[Line]:
    """The texts of a CSV with a column `text`, and `lang` where there is one.

    Raises TableUnreadableError.
    """
    csv.field_size_limit(MOST_IN_A_TEXT)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            if "text" not in (reader.fieldnames or ()):
                named = ", ".join(reader.fieldnames or ()) or "none"
                raise TableUnreadableError(f"{path} has no column `text`; its columns: {named}")
            rows = []
            for row in reader:
                if row["text"] is None:
                    raise TableUnreadableError(f"{path}, line {reader.line_num}: the text is cut")
                rows.append(Line(row["text"], (row.get("lang") or "").strip().lower() or None))
            return rows
    except OSError as error:
        raise TableUnreadableError(f"{path} can't be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise TableUnreadableError(f"{path} is not UTF-8; save it as UTF-8") from None
    except csv.Error as error:
        raise TableUnreadableError(f"{path} is no CSV: {error}") from None


def labelled_rows(
    lines: Sequence[Line], understood: Sequence[Understanding]
) -> Iterator[dict[str, Any]]:
    """One flat row per text, with the columns of COLUMNS.

    The label is the likeliest answer even where its band is `unsure`, so that its use can be
    measured; the hub itself takes nothing from such an answer. In a language that nothing here
    reads the label is `unknown`.
    """
    for line, said in zip(lines, understood, strict=True):
        row: dict[str, Any] = {"text": line.text, "lang": said.language.word}
        for question in QUESTIONS:
            row.update(_columns(question, getattr(said, question)))
        row["severity"] = said.severity.word
        row["cues"] = " ".join(dict.fromkeys(cue.kind.value for cue in said.cues))
        row["order_numbers"] = " ".join(said.values(EntityType.ORDER_NUMBER))
        row["degraded"] = said.degraded
        row["by"] = said.by
        yield row


def _columns(question: str, judged: Judgement[Any]) -> dict[str, Any]:
    ranked = [(a.value, a.probability) for a in judged.alternatives]
    if not ranked:
        nothing = question == "remedy" and judged.band is not Band.UNSURE
        label = NO_REMEDY if nothing and not judged.known else judged.word
        ranked = [(label, judged.confidence)]
    ranked.append(("", 0.0))
    return {
        question: ranked[0][0],
        f"{question}_probability": ranked[0][1],
        f"{question}_band": judged.band.value if judged.band else "",
        f"{question}_second": ranked[1][0],
        f"{question}_second_probability": ranked[1][1],
    }
