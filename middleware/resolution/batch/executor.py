"""The model run by Splink 5: trained by it, and every blocked pair of a table scored by it.

DuckDB does it in process by default; Spark, by configuration, with the same model and the same
pairs. What is theirs stays here: SQL is generated from the model's predicates for each dialect,
since a model that Splink saved for one of them cannot be read by another.

Tables have `unique_id` (a whole number) and the model's columns. Texts are ASCII: DuckDB compares
bytes, and the scorer in process must see the same.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from middleware.resolution.batch.model import Block, Comparison, Level, Model, Predicate

if TYPE_CHECKING:
    from splink import Linker
    from splink.internals.database_api import DatabaseAPISubClass
    from splink.internals.splink_dataframe import SplinkDataFrame

    from middleware.resolution.batch.workspace import Workspace

LEAST_M = 1e-3
"""What m is where training never met a level among pairs of one customer."""
LEAST_U = 1e-7
"""What u is where no two random records were at a level."""
SCRATCH = "scratch"
"""The database that a workspace has Splink make its own tables in."""
MOST_PAIRS = 1e6
"""Random pairs that u is estimated from."""

_FUNCTIONS = {
    "duckdb": {
        "jaro_winkler": "jaro_winkler_similarity",
        "damerau_levenshtein": "damerau_levenshtein",
        "levenshtein": "levenshtein",
        "share": "list_has_any",
        "begins": "starts_with",
    },
    "spark": {
        "jaro_winkler": "jaro_winkler",
        "damerau_levenshtein": "damerau_levenshtein",
        "levenshtein": "levenshtein",
        "share": "arrays_overlap",
        "begins": "startswith",
    },
}


class Sql:
    """Predicates and blocks in one database's words."""

    def __init__(self, dialect: str) -> None:
        self.dialect = dialect
        self._quote = "`" if dialect == "spark" else '"'
        self._functions = _FUNCTIONS[dialect]

    def column(self, name: str, side: str) -> str:
        return f"{self._quote}{name}_{side}{self._quote}"

    def condition(self, predicate: Predicate) -> str:
        """The predicate over a pair's columns, `x_l` and `x_r`."""

        def left(name: str) -> str:
            return self.column(name, "l")

        def right(name: str) -> str:
            return self.column(name, "r")

        match predicate:
            case Predicate(equal=columns) if columns:
                return " AND ".join(f"{left(c)} = {right(c)}" for c in columns)
            case Predicate(swapped=(str(first), str(second))):
                return f"{left(first)} = {right(second)} AND {left(second)} = {right(first)}"
            case Predicate(share=str(column)):
                return f"{self._functions['share']}({left(column)}, {right(column)})"
            case Predicate(jaro_winkler=alike) if alike:
                called = f"{left(alike.column)}, {right(alike.column)}"
                return f"{self._functions['jaro_winkler']}({called}) >= {alike.at_least}"
            case Predicate(damerau_levenshtein=near) if near:
                called = f"{left(near.column)}, {right(near.column)}"
                return f"{self._functions['damerau_levenshtein']}({called}) <= {near.at_most}"
            case Predicate(levenshtein=near) if near:
                called = f"{left(near.column)}, {right(near.column)}"
                return f"{self._functions['levenshtein']}({called}) <= {near.at_most}"
            case Predicate(within=near) if near:
                return f"abs({left(near.column)} - {right(near.column)}) <= {near.at_most}"
            case Predicate(begins=str(column)):
                begins, one, other = self._functions["begins"], left(column), right(column)
                return f"{begins}({one}, {other}) OR {begins}({other}, {one})"
            case Predicate(all=parts) if parts:
                return " AND ".join(f"({self.condition(part)})" for part in parts)
            case Predicate(any=parts):
                return " OR ".join(f"({self.condition(part)})" for part in parts)
        raise AssertionError(predicate)

    def lacking(self, comparison: Comparison) -> str:
        """Whether a pair has nothing to compare."""
        return " OR ".join(
            f"{self.column(name, side)} IS NULL" for name in comparison.needs for side in "lr"
        )

    def weight(self, model: Model, records: int) -> str:
        """What a pair weighs, in bits, as Splink adds it up: over a pair's columns and, for columns
        whose frequencies count, `tf_x`, the share of records that have the left record's value."""

        def number(value: float) -> str:
            return f"CAST({value!r} AS DOUBLE)"

        def bits(level: Level) -> str:
            if not (level.rare and level.when):
                return number(level.bits)
            share = f"{self._quote}tf_{level.when.equal[0]}{self._quote}"
            # A value that the frame has not seen has no adjustment.
            rarity = f"coalesce({number(math.log2(level.u or 1))} - log2({share}), 0)"
            return f"{number(level.bits)} + {number(level.rare)} * {rarity}"

        def case(comparison: Comparison) -> str:
            whens = [
                f"WHEN {self.condition(level.when)} THEN {bits(level)}"
                if level.when
                else f"ELSE {bits(level)}"
                for level in comparison.levels
            ]
            return f"CASE WHEN {self.lacking(comparison)} THEN 0 {' '.join(whens)} END"

        terms = [number(model.prior_bits(records)), *(case(one) for one in model.comparisons)]
        return " + ".join(terms)

    def block(self, block: Block) -> dict[str, Any]:
        """A blocking rule as Splink takes it."""
        q = self._quote

        def key(side: str, column: str, letters: int | None) -> str:
            named = f"{side}.{q}{column}{q}"
            return f"substr({named}, 1, {letters})" if letters else named

        rule: dict[str, Any] = {
            "blocking_rule": " AND ".join(
                f"{key('l', one.column, one.letters)} = {key('r', one.column, one.letters)}"
                for one in block
            ),
            "sql_dialect": self.dialect,
        }
        exploded = [one.column for one in block if one.each]
        return {**rule, "arrays_to_explode": exploded} if exploded else rule


def settings(model: Model, dialect: str, *, records: int, trained: bool) -> dict[str, Any]:
    """The model as Splink's settings; `trained` for scoring with its numbers, else to train it."""
    sql = Sql(dialect)
    probability = 1e-4
    if trained:
        probability = 1 / (1 + 2 ** -model.prior_bits(records))
    return {
        "link_type": "dedupe_only",
        "unique_id_column_name": "unique_id",
        "probability_two_random_records_match": probability,
        "comparisons": [
            {
                "output_column_name": comparison.name,
                "comparison_levels": [
                    {
                        "sql_condition": sql.lacking(comparison),
                        "label_for_charts": "missing",
                        "is_null_level": True,
                    },
                    *(
                        _level(level, f"level {number}", sql, trained=trained)
                        for number, level in enumerate(comparison.levels)
                    ),
                ],
            }
            for comparison in model.comparisons
        ],
        "blocking_rules_to_generate_predictions": [sql.block(block) for block in model.blocks],
        "retain_matching_columns": False,
        "retain_intermediate_calculation_columns": False,
    }


def _level(level: Level, label: str, sql: Sql, *, trained: bool) -> dict[str, Any]:
    said: dict[str, Any] = {
        "sql_condition": sql.condition(level.when) if level.when else "ELSE",
        "label_for_charts": label,
    }
    if trained or level.fixed:
        said |= {"m_probability": level.m, "u_probability": level.u}
    if level.fixed:
        said |= {"fix_m_probability": True, "fix_u_probability": True}
    if level.rare and level.when:
        said |= {"tf_adjustment_column": level.when.equal[0], "tf_adjustment_weight": level.rare}
    return said


@contextmanager
def quiet() -> Iterator[None]:
    """Splink tells its progress to everybody; ours is in the run."""
    logger = logging.getLogger("splink")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)


def linker(
    api: DatabaseAPISubClass, table: Any, model: Model, *, records: int, trained: bool = True
) -> Linker:
    """Splink's own view of a table and the model, for what is not wrapped here."""
    from splink import Linker, SettingsCreator

    said = settings(model, api.sql_dialect.sql_dialect_str, records=records, trained=trained)
    with quiet():
        return Linker(api.register(table), SettingsCreator(**said))


def train(
    api: DatabaseAPISubClass,
    table: Any,
    model: Model,
    *,
    records: int,
    exact_u: Mapping[str, float],
    seed: int = 1,
) -> Model:
    """The model with m, u and prior estimated from a table's records, without a label.

    The prior from blocks that are nearly sure, u from random pairs, m by expectation maximisation,
    in rounds that hold different columns equal (as Splink's documentation advises; Winkler 2000).
    `exact_u` is, for columns whose frequencies count, how often two records have the same value:
    known exactly, so the random sample's answer is not used. Levels that no pair was at get
    `LEAST_M` and `LEAST_U`, in the model itself, so that every executor uses the same.
    """
    made = linker(api, table, model, records=records, trained=False)
    estimate(made, model, api.sql_dialect.sql_dialect_str, seed=seed)
    saved = made.misc.save_model_to_json(None)
    probability = saved["probability_two_random_records_match"]
    comparisons = [
        _learned(comparison, said["comparison_levels"][1:], exact_u)
        for comparison, said in zip(model.comparisons, saved["comparisons"], strict=True)
    ]
    return model.model_copy(
        update={
            "comparisons": tuple(comparisons),
            "prior": probability / (1 - probability) * records,
            "trained_on": records,
            "calibration": (),
        }
    )


def estimate(made: Linker, model: Model, dialect: str, *, seed: int) -> None:
    """Have Splink estimate what the model's training says: the prior, u, and m."""
    from splink.internals.blocking_rule_library import CustomRule

    sql = Sql(dialect)

    def rule(block: Block) -> Any:
        said = sql.block(block)
        return CustomRule(said["blocking_rule"], said["sql_dialect"])

    with quiet():
        made.training.estimate_probability_two_random_records_match(
            [rule(block) for block in model.training.sure], recall=model.training.sure_share
        )
        made.training.estimate_u_using_random_sampling(max_pairs=MOST_PAIRS + 1, seed=seed)
        for block in model.training.hold:
            made.training.estimate_parameters_using_expectation_maximisation(
                rule(block), estimate_without_term_frequencies=True
            )


def _learned(
    comparison: Comparison, levels: Sequence[Mapping[str, Any]], exact_u: Mapping[str, float]
) -> Comparison:
    learned = []
    for number, (level, said) in enumerate(zip(comparison.levels, levels, strict=True)):
        if level.fixed:
            learned.append(level)
            continue
        m, u = said.get("m_probability"), said.get("u_probability")
        # Only the first level is exactly `equal`; a later one is `equal, but not an earlier one`.
        if number == 0 and level.rare and level.when:
            u = exact_u.get(level.when.equal[0]) or u
        learned.append(
            level.model_copy(
                update={"m": max(float(m or 0), LEAST_M), "u": max(float(u or 0), LEAST_U)}
            )
        )
    return comparison.model_copy(update={"levels": tuple(learned)})


def predict(
    api: DatabaseAPISubClass,
    table: Any,
    model: Model,
    *,
    records: int,
    frequencies: Mapping[str, Any],
    least: float,
) -> SplinkDataFrame:
    """Score every blocked pair; answers those of at least so many bits.

    `records` and `frequencies` (column to a table of `<column>` and `tf_<column>`) are the frame
    that the model is used in. The answer has `unique_id_l`, `unique_id_r` and `match_weight`.
    """
    made = linker(api, table, model, records=records)
    with quiet():
        for column, lookup in frequencies.items():
            made.table_management.register_term_frequency_lookup(api.register(lookup), column)
        # `>` in Splink: a weight that is the least counts too.
        above = math.nextafter(least, -math.inf)
        return made.inference.predict(threshold_match_weight=above, warning_mode="never")


def weigh(space: Workspace, *, least: float) -> None:
    """Have Splink weigh all blocked pairs of a workspace, on DuckDB, and take in what it finds."""
    with space.api() as api:
        found = predict(
            api,
            "compared",
            space.model,
            records=space.framed,
            frequencies=space.frequencies,
            least=least,
        )
        space.take_edges(f"{SCRATCH}.{found.physical_name}", f"{SCRATCH}.compared")


def learn(space: Workspace) -> Model:
    """The workspace's model, trained on the records of its frame."""
    with space.api() as api:
        return train(api, "compared", space.model, records=space.framed, exact_u=space.exact_u())
