"""The model that says how likely two records are one customer: Fellegi and Sunter's (1969).

A comparison looks at one aspect of two records and finds the first of its levels that holds. A
level's weight is log2(m / u) bits: how much more often it holds for two records of one customer
(m) than for two of different ones (u). The weights and the prior add up to the pair's weight.

The model is a JSON file of our own, the same for every executor: levels are predicates over the
columns of normalised records, and neither SQL nor a library's names are in it. It holds no value
of any record; how frequent a value is belongs to the records it is used on (`Frame`).
"""

from __future__ import annotations

import hashlib
import json
import math
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, ValidationError, model_validator

from middleware.contract.canonical import Frozen

Column = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,30}$")]
Probability = Annotated[float, Field(gt=0, le=1)]


class ModelUnreadableError(Exception):
    """The model file is wrong; the message says where."""


class Alike(Frozen):
    """Two texts are at least this alike: a Jaro-Winkler similarity, 0 to 1."""

    column: Column
    at_least: Annotated[float, Field(gt=0, le=1)]


class Near(Frozen):
    """Two texts are at most so many edits apart, or two numbers at most so far."""

    column: Column
    at_most: Annotated[int, Field(ge=0)]


class Predicate(Frozen):
    """What holds of two records; exactly one of these is given. Without a value it never holds."""

    equal: tuple[Column, ...] = ()
    """All of these columns are equal."""
    swapped: tuple[Column, Column] | None = None
    """One's first column is the other's second, and the other way round."""
    share: Column | None = None
    """A column of lists: at least one value is in both."""
    jaro_winkler: Alike | None = None
    damerau_levenshtein: Near | None = None
    """Insertions, deletions, replacements, and exchanges of neighbours count one each."""
    levenshtein: Near | None = None
    within: Near | None = None
    """A column of whole numbers, such as days since 1970."""
    begins: Column | None = None
    """One text is the beginning of the other."""
    all: tuple[Predicate, ...] = ()
    any: tuple[Predicate, ...] = ()

    @model_validator(mode="after")
    def _one(self) -> Self:
        given = [name for name in type(self).model_fields if getattr(self, name)]
        if len(given) != 1:
            raise ValueError(f"a predicate is one thing, not {' and '.join(given) or 'nothing'}")
        return self

    def columns(self) -> Iterator[str]:
        """Which columns it looks at."""
        yield from self.equal
        yield from self.swapped or ()
        yield from (column for column in (self.share, self.begins) if column is not None)
        if self.jaro_winkler is not None:
            yield self.jaro_winkler.column
        for near in (self.damerau_levenshtein, self.levenshtein, self.within):
            if near is not None:
                yield near.column
        for part in (*self.all, *self.any):
            yield from part.columns()


class Level(Frozen):
    """One outcome of a comparison. The last one has no predicate: it holds when none did."""

    when: Predicate | None = None
    m: Probability | None = None
    u: Probability | None = None
    rare: Annotated[float, Field(ge=0, le=1)] = 0
    """How far the value's own frequency takes u's place: 0 not at all, 1 wholly (`equal` only)."""
    seen: Annotated[int, Field(ge=0)] = 0
    """So many records that u was seen of count with those at hand in a value's frequency: an
    address that two of twenty records share is no common one; a name may be."""
    fixed: bool = False
    """Whether training leaves m and u as they are."""

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.rare and (self.when is None or len(self.when.equal) != 1):
            raise ValueError("`rare` needs a predicate that is `equal` on one column")
        if self.seen and not self.rare:
            raise ValueError("`seen` goes with `rare`")
        if self.fixed and (self.m is None or self.u is None):
            raise ValueError("a level that training leaves alone needs m and u")
        return self

    @property
    def bits(self) -> float:
        """What the level is worth before its value's frequency. Needs m and u."""
        if self.m is None or self.u is None:
            raise ModelUnreadableError("a level has no m or no u: the model is not trained")
        return math.log2(self.m / self.u)


class Comparison(Frozen):
    """One aspect of two records, and its levels from the strongest to the weakest."""

    name: Column
    needs: Annotated[tuple[Column, ...], Field(min_length=1)]
    """Where one of the records lacks one of these, the comparison says nothing."""
    levels: Annotated[tuple[Level, ...], Field(min_length=2)]

    @model_validator(mode="after")
    def _ends(self) -> Self:
        if [level.when is None for level in self.levels].index(True) != len(self.levels) - 1:
            raise ValueError(f"{self.name}: the last level, and only it, has no predicate")
        return self


class Key(Frozen):
    """A part of a block: a column, its first letters, or each value of a column of lists."""

    column: Column
    letters: Annotated[int, Field(ge=1)] | None = None
    each: bool = False

    @model_validator(mode="after")
    def _one(self) -> Self:
        if self.each and self.letters:
            raise ValueError("`each` and `letters` do not go together")
        return self


Block = Annotated[tuple[Key, ...], Field(min_length=1)]
"""Records are compared when all of these are equal."""


class Training(Frozen):
    """How the model is trained: see `executor.train`."""

    sure: Annotated[tuple[Block, ...], Field(min_length=1)]
    """Blocks whose pairs are nearly all one customer; they estimate the prior."""
    sure_share: Annotated[float, Field(gt=0, le=1)] = 0.8
    """Which share of all true pairs these find."""
    hold: Annotated[tuple[Block, ...], Field(min_length=1)]
    """One round of expectation maximisation for each; what it holds equal, it does not train."""


class Point(Frozen):
    """At this weight, pairs were right so often."""

    weight: float
    probability: Annotated[float, Field(ge=0, le=1)]


class Model(Frozen):
    """The whole of it. `prior` is the odds that two random records are one customer, times N."""

    name: str
    format: Annotated[int, Field(ge=1, le=1)] = 1
    comparisons: Annotated[tuple[Comparison, ...], Field(min_length=1)]
    blocks: Annotated[tuple[Block, ...], Field(min_length=1)]
    training: Training
    joins: Predicate | None = None
    """What must hold of a pair for it to join two records, whatever it weighs: a household shares
    its address, its number and its family name, and is several customers all the same."""
    prior: Annotated[float, Field(gt=0)] | None = None
    """Of N records each has about so many others; the odds of a pair fall as N grows."""
    trained_on: int | None = None
    """N of the records that it was trained on."""
    calibration: tuple[Point, ...] = ()
    """Measured on labelled pairs, by rising weight; without it the odds are believed."""

    @model_validator(mode="after")
    def _rises(self) -> Self:
        pairs = zip(self.calibration, self.calibration[1:], strict=False)
        if any(a.weight >= b.weight or a.probability > b.probability for a, b in pairs):
            raise ValueError("calibration: weights rise, and probabilities never fall")
        names = [comparison.name for comparison in self.comparisons]
        if len(set(names)) != len(names):
            raise ValueError("comparisons: each name is given once")
        return self

    @property
    def trained(self) -> bool:
        levels = (level for comparison in self.comparisons for level in comparison.levels)
        return self.prior is not None and all(one.m and one.u for one in levels)

    @property
    def columns(self) -> tuple[str, ...]:
        """All the columns that it looks at or blocks by, in order of first use."""
        blocks = (*self.blocks, *self.training.sure, *self.training.hold)
        keys = (key.column for block in blocks for key in block)
        return tuple(dict.fromkeys([*self.compared_columns, *keys]))

    @property
    def compared_columns(self) -> tuple[str, ...]:
        """Those that a pair is weighed by, and joined by, in order of first use."""
        found = [
            column
            for comparison in self.comparisons
            for level in comparison.levels
            for column in (*comparison.needs, *(level.when.columns() if level.when else ()))
        ]
        return tuple(dict.fromkeys([*found, *(self.joins.columns() if self.joins else ())]))

    @property
    def rare_columns(self) -> dict[str, Level]:
        """Those of which the frequency of values counts, and the first level that says so."""
        found: dict[str, Level] = {}
        for comparison in self.comparisons:
            for level in comparison.levels:
                if level.rare and level.when:
                    found.setdefault(level.when.equal[0], level)
        return found

    def prior_bits(self, records: int) -> float:
        """What a pair weighs before anything is compared, among so many records.

        Probabilities do not travel: among five times as many records a random pair is a fifth as
        likely to be one customer. The number of true partners of a record does.
        """
        if self.prior is None:
            raise ModelUnreadableError("the model has no prior: it is not trained")
        return math.log2(self.prior / max(records, 2))

    def probability(self, weight: float) -> float:
        """How likely a pair of this weight is one customer: calibrated where that was measured."""
        points = self.calibration
        if not points:
            return 1 / (1 + 2**-weight) if weight > -1000 else 0.0
        at = bisect_right([point.weight for point in points], weight)
        if at in (0, len(points)):
            return points[min(at, len(points) - 1)].probability
        low, high = points[at - 1], points[at]
        share = (weight - low.weight) / (high.weight - low.weight)
        return low.probability + share * (high.probability - low.probability)

    def weight_of(self, probability: float) -> float:
        """The least weight whose probability is this, infinite where none is measured to be."""
        if not self.calibration:
            return math.log2(probability / (1 - probability))
        for low, high in zip(self.calibration, self.calibration[1:], strict=False):
            if high.probability >= probability:
                if low.probability >= probability:
                    return low.weight
                rise = (probability - low.probability) / (high.probability - low.probability)
                return low.weight + rise * (high.weight - low.weight)
        return math.inf

    @property
    def fingerprint(self) -> str:
        """The same for models that say the same, in 16 hexadecimal digits."""
        return hashlib.sha256(written(self).encode()).hexdigest()[:16]


def written(model: Model) -> str:
    """The model as its file has it."""
    body = model.model_dump(mode="json", exclude_defaults=True)
    return json.dumps({"name": model.name, "format": model.format, **body}, indent=1) + "\n"


def read(text: str, place: str) -> Model:
    """Read a model file. Raises ModelUnreadableError with the place of every mistake."""
    try:
        return Model.model_validate_json(text)
    except ValidationError as error:
        mistakes = [
            f"{place}: {'.'.join(str(part) for part in one['loc']) or 'model'}: {one['msg']}"
            for one in error.errors(include_url=False, include_input=False)
        ]
        raise ModelUnreadableError("\n".join(mistakes)) from None


def load(path: Path) -> Model:
    """Read a model file. Raises ModelUnreadableError."""
    try:
        return read(path.read_text(), str(path))
    except OSError as error:
        raise ModelUnreadableError(f"{path}: {error.strerror}") from None


def shipped() -> Model:
    """The model of contacts and accounts that comes with the hub."""
    return load(Path(__file__).with_name("records.json"))
