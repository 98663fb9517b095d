"""What somebody says a complaint is really about."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, Strict

from middleware.api.schemas.base import Asked, ConnectionName, Moment, Page, Short, Shown
from middleware.contract.actions import Reason
from middleware.domain.understanding import Intent, Remedy, Sentiment, TrainingState


class UnderstandingCorrected(Asked):
    """At least one of the four; what is left out stays as it was judged."""

    intent: Annotated[Intent, Strict(False)] | None = None
    sentiment: Annotated[Sentiment, Strict(False)] | None = None
    reason: Annotated[Reason, Strict(False)] | None = None
    remedy: Annotated[Remedy, Strict(False)] | Literal["none"] | None = None
    """`none` says that they want nothing."""
    agent: Short | None = None
    """Who of those behind your key says it."""


class TextAsked(Asked):
    """A text that somebody wonders about."""

    text: Annotated[str, Field(min_length=1, max_length=20_000)]
    language: Annotated[str, Field(pattern="^[a-z]{2}$")] | None = None
    connection: ConnectionName | None = None
    """Whose order numbers it may name."""


class InUseShown(Shown):
    """What texts are judged with."""

    model: str | None
    """`null` where the rules judge alone."""
    heads: int
    """Which fit of its heads; 0 are those that it came with."""
    languages: list[str]
    """Those that a model judges; what the rules can't read either is `unsure`."""
    own: list[OwnShown]
    refused: str | None
    """Why a configured model is not in use: what is judged meanwhile is `degraded`."""


class OwnShown(Shown):
    """A question that a model of your own answers too."""

    question: str
    decides: bool
    """False for a model in shadow."""


class TrainingAsked(Asked):
    """An empty object fits the heads to all corrections and to your own sentences."""

    heads: Annotated[int, Field(ge=0, le=10**9)] | None = None
    """Use these heads again instead, by the number of an earlier training; 0 are those that the
    model came with."""


class LearnedShown(Shown):
    corrections: int
    """Complaints that people corrected."""
    sentences: int
    """Of `labels.yaml`."""
    left_out: int
    """Corrected complaints in a language that the model does not read."""


class FittedShown(Shown):
    """How right the former heads and the new ones are, as shares."""

    labels: int
    labels_before: float | None
    """On your labels, each judged by heads that did not see it; `null` below 20 of them."""
    labels_after: float | None
    held_out_before: float
    """On the hub's own held-out sentences."""
    held_out_after: float
    held_out_macro_f1_before: float
    held_out_macro_f1_after: float


class TrainingShown(Shown):
    """One training, and what came of it."""

    id: str
    state: TrainingState
    again: int | None
    """The heads that were to be used again."""
    heads: int | None
    """The number of the heads that came of it; they are in use until later ones are."""
    learned_from: LearnedShown | None
    report: dict[str, FittedShown]
    """By question; one without labels is left as it was."""
    why: str | None
    """Why nothing came of it."""
    asked_by: str
    asked_at: Moment
    started_at: Moment | None
    ended_at: Moment | None


class TrainingPage(Page[TrainingShown]):
    pass


class DifferingShown(Shown):
    decided: str
    shadow: str
    times: int


class AgreementShown(Shown):
    """How often a model in shadow found what was decided, and what people said."""

    question: str
    asked: int
    agreed: int
    corrected: int
    """Of those asked, how many people corrected."""
    right: int
    """Of these, how often the model in shadow had it right."""
    differences: list[DifferingShown]
    """The most frequent first, ten at most."""


class AgreementsShown(Shown):
    since: Moment
    until: Moment
    questions: list[AgreementShown]
    """Those that a model in shadow answered."""
