"""Record-linkage data sets that others publish, with models of their columns.

`AMENDS_ER_DATA` names the folder that holds them; what is not there is not measured. None of it is
part of this repository.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from middleware.resolution.batch.model import (
    Alike,
    Comparison,
    Key,
    Level,
    Model,
    Near,
    Predicate,
    Training,
)

ELSE = Level()


def folder() -> Path:
    return Path(os.environ.get("AMENDS_ER_DATA", Path(__file__).parents[3] / "shared/data/er"))


def says(**one: Any) -> Level:
    return Level(when=Predicate(**one))


def rare(column: str) -> Level:
    return Level(when=Predicate(equal=(column,)), rare=1)


def alike(column: str, at_least: float) -> Predicate:
    return Predicate(jaro_winkler=Alike(column=column, at_least=at_least))


def name(column: str) -> Comparison:
    levels = [Level(when=alike(column, least)) for least in (0.92, 0.88, 0.7)]
    return Comparison(name=column, needs=(column,), levels=(rare(column), *levels, ELSE))


def edits(column: str, *, most: int = 2, first: Level | None = None) -> Comparison:
    near = [
        says(damerau_levenshtein=Near(column=column, at_most=one)) for one in range(1, most + 1)
    ]
    begin = first or says(equal=(column,))
    return Comparison(name=column, needs=(column,), levels=(begin, *near, ELSE))


def block(*columns: str | tuple[str, int]) -> tuple[Key, ...]:
    return tuple(
        Key(column=one) if isinstance(one, str) else Key(column=one[0], letters=one[1])
        for one in columns
    )


FEBRL = Model(
    name="febrl",
    comparisons=(
        name("given_name"),
        name("surname"),
        edits("date_of_birth"),
        edits("soc_sec_id"),
        Comparison(
            name="street_number",
            needs=("street_number",),
            levels=(rare("street_number"), ELSE),
        ),
        edits("postcode", first=rare("postcode")),
    ),
    blocks=(
        block("given_name", "surname"),
        block("date_of_birth"),
        block("soc_sec_id"),
        block("state", "address_1"),
        block("street_number", "address_1"),
        block("postcode"),
    ),
    training=Training(
        sure=(block("soc_sec_id"), block("given_name", "surname", "date_of_birth")),
        hold=(block("date_of_birth"), block("postcode")),
    ),
)

HISTORICAL = Model(
    name="historical",
    comparisons=(
        Comparison(
            name="name",
            needs=("first_name", "surname"),
            levels=(
                rare("name_concat"),
                says(swapped=("first_name", "surname")),
                says(all=(alike("first_name", 0.92), alike("surname", 0.92))),
                says(all=(alike("first_name", 0.88), alike("surname", 0.88))),
                rare("surname"),
                rare("first_name"),
                ELSE,
            ),
        ),
        Comparison(
            name="dob",
            needs=("dob",),
            levels=(
                says(equal=("dob",)),
                says(damerau_levenshtein=Near(column="dob", at_most=1)),
                *(says(within=Near(column="day", at_most=days)) for days in (31, 366, 3652)),
                ELSE,
            ),
        ),
        Comparison(
            name="postcode",
            needs=("postcode_fake",),
            levels=(
                *(says(equal=(c,)) for c in ("postcode_fake", "sector", "district", "area")),
                ELSE,
            ),
        ),
        Comparison(name="birth_place", needs=("birth_place",), levels=(rare("birth_place"), ELSE)),
        Comparison(name="occupation", needs=("occupation",), levels=(rare("occupation"), ELSE)),
    ),
    blocks=(
        block(("first_name", 3), ("surname", 4)),
        block("surname", "dob"),
        block("first_name", "dob"),
        block("postcode_fake", "first_name"),
        block("postcode_fake", "surname"),
        block("dob", "birth_place"),
        block(("postcode_fake", 3), "dob"),
        block(("postcode_fake", 3), "first_name"),
        block(("postcode_fake", 3), "surname"),
        block(("first_name", 2), ("surname", 2), ("dob", 4)),
    ),
    training=Training(
        sure=(
            block("first_name", "surname", "dob"),
            block(("first_name", 2), "surname", ("postcode_fake", 2)),
            block("dob", "postcode_fake"),
        ),
        hold=(block("first_name", "surname"), block("dob")),
    ),
)

_CSV = "read_csv('{}', all_varchar=true, header=true, ignore_errors=true)"
_FEBRL = ", ".join(
    f"nullif(trim({column}), '') AS {column}"
    for column in (
        "given_name", "surname", "street_number", "address_1", "postcode", "state",
        "date_of_birth", "soc_sec_id",
    )
)  # fmt: skip
_POSTCODE = "^[A-Za-z]{1,2}"
_HISTORICAL = f"""
    nullif(first_name, '') AS first_name, nullif(surname, '') AS surname,
    first_name || ' ' || surname AS name_concat, dob, birth_place, occupation, postcode_fake,
    datediff('day', date '1500-01-01', try_cast(dob AS date)) AS day,
    nullif(regexp_extract(postcode_fake, '{_POSTCODE}[0-9][A-Za-z0-9]? [0-9]'), '') AS sector,
    nullif(regexp_extract(postcode_fake, '{_POSTCODE}[0-9][A-Za-z0-9]?'), '') AS district,
    nullif(regexp_extract(postcode_fake, '{_POSTCODE}'), '') AS area"""


@dataclass(frozen=True)
class Known:
    """A data set: its records in the table `input`, and which customer each is of."""

    name: str
    model: Model
    connection: Any
    truth: dict[str, str]
    sources: dict[str, str]
    """Where each record is from, of those that link two sources without duplicates."""

    @property
    def true_pairs(self) -> int:
        return sum(n * (n - 1) // 2 for n in Counter(self.truth.values()).values())


def read(what: str) -> Known | None:
    """`febrl3`, `febrl4` or `historical50k`, or None where its file is not there."""
    files = {
        "febrl3": ["dataset3.csv"],
        "febrl4": ["dataset4a.csv", "dataset4b.csv"],
        "historical50k": ["historical_figures_with_errors_50k.parquet"],
    }[what]
    paths = [folder() / file for file in files]
    if not all(path.exists() for path in paths):
        return None
    connection = duckdb.connect(config={"threads": 2})
    if what == "historical50k":
        source = f"SELECT 'h' AS source, cluster, {_HISTORICAL} FROM read_parquet('{paths[0]}')"
    else:
        source = " UNION ALL ".join(
            f"""SELECT '{path.stem}' AS source, regexp_extract(rec_id, '^rec-[0-9]+') AS cluster,
            {_FEBRL} FROM {_CSV.format(path)}"""
            for path in paths
        )
    connection.execute(
        f"CREATE TABLE all_of_it AS SELECT row_number() OVER () AS unique_id, * FROM ({source})"
    )
    connection.execute("CREATE TABLE input AS SELECT * EXCLUDE (cluster, source) FROM all_of_it")
    rows = connection.execute("SELECT unique_id, cluster, source FROM all_of_it").fetchall()
    linked = what == "febrl4"
    return Known(
        what,
        HISTORICAL if what == "historical50k" else FEBRL,
        connection,
        {str(row[0]): row[1] for row in rows},
        {str(row[0]): row[2] for row in rows} if linked else {},
    )


def judged(
    groups: Iterable[Sequence[str]], truth: dict[str, Any], true_pairs: int
) -> dict[str, float]:
    """Precision, recall and F1 over the pairs that groups make."""
    right = made = 0
    for group in groups:
        made += len(group) * (len(group) - 1) // 2
        right += sum(n * (n - 1) // 2 for n in Counter(truth[one] for one in group).values())
    precision = right / made if made else 0.0
    recall = right / true_pairs if true_pairs else 0.0
    both = precision + recall
    return {
        "precision": round(precision, 4),
        "recall": round(recall, 4),
        "f1": round(2 * precision * recall / both, 4) if both else 0.0,
    }
