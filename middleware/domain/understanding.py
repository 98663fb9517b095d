"""Understanding: what a text says, each judgement with its evidence and an honest `unknown`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Generic, Self, TypeVar

from pydantic import Field, model_validator

from middleware.contract.actions import Reason
from middleware.contract.canonical import Frozen, Text


class Intent(StrEnum):
    """Why somebody wrote."""

    COMPLAINT = "complaint"
    QUESTION = "question"
    PRAISE = "praise"
    NOISE = "noise"
    """Greetings, giveaways, spam: nobody is waiting for anything."""


class Sentiment(StrEnum):
    POSITIVE = "positive"
    NEUTRAL = "neutral"
    NEGATIVE = "negative"


class Severity(StrEnum):
    """How bad it is for the customer or the company, by cues in the text alone."""

    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"
    CRITICAL = "critical"
    """Somebody may be hurt."""


class Remedy(StrEnum):
    """What the customer asks for."""

    REPLACEMENT = "replacement"
    REFUND = "refund"
    RETURN = "return"
    REPAIR = "repair"
    CANCELLATION = "cancellation"
    CALL_BACK = "call_back"
    INFORMATION = "information"
    APOLOGY = "apology"


class TrainingState(StrEnum):
    """How a training of the model stands."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    REFUSED = "refused"
    """It can't be done, or would do harm; nothing changed."""
    FAILED = "failed"


class Band(StrEnum):
    """How far a judgement may be relied on."""

    AUTO = "auto"
    """So sure that it was right 97 times of 100 where that was measured."""
    SUGGEST = "suggest"
    """Likely enough to be shown first, for a person to confirm."""
    UNSURE = "unsure"
    """Nothing is said; the likeliest answers are in the alternatives."""


class CueKind(StrEnum):
    """What a cue in a text warns of, whatever the complaint is about."""

    SAFETY = "safety"
    LEGAL = "legal"
    """A lawyer, a court, the police, an authority, a chargeback."""
    CHURN = "churn"
    REPEAT = "repeat"
    """It is not the first time that they have the trouble, or write about it."""
    DEADLINE = "deadline"
    URGENCY = "urgency"
    PUBLICITY = "publicity"
    """The press, a review, a call to others."""


class EntityType(StrEnum):
    ORDER_NUMBER = "order_number"
    TRACKING_NUMBER = "tracking_number"
    SKU = "sku"
    PRODUCT = "product"
    EMAIL = "email"
    PHONE = "phone"
    POSTCODE = "postcode"
    AMOUNT = "amount"
    DATE = "date"


Confidence = Annotated[float, Field(ge=0, le=1)]


class _Spanned(Frozen):
    start: Annotated[int, Field(ge=0)]
    end: Annotated[int, Field(ge=0)]

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.end < self.start:
            raise ValueError("a span ends before it starts")
        return self


class Span(_Spanned):
    """Where in the text the evidence stands, in code points, and which cue it is."""

    cue: Text


class CueFound(Span):
    """A cue that warns, with its place in the text."""

    kind: CueKind


class Alternative(Frozen):
    """One of the likeliest answers and its probability."""

    value: Text
    probability: Confidence


T = TypeVar("T")


class Judgement(Frozen, Generic[T]):
    """One thing that was judged. `value` None is `unknown`: there was no evidence, or too much."""

    value: T | None = None
    confidence: Confidence = 0.0
    evidence: tuple[Span, ...] = ()
    band: Band | None = None
    """None where rules judged, which have no probabilities."""
    alternatives: tuple[Alternative, ...] = ()
    """The two likeliest answers of a model, the likelier first."""

    @property
    def known(self) -> bool:
        return self.value is not None

    @property
    def word(self) -> str:
        """The value for people and for JSON, `unknown` where there is none."""
        return "unknown" if self.value is None else str(self.value)


class Entity(_Spanned):
    """Something with a name or a number in the text.

    `value` is its normal form: an upper-case number without blanks, an E.164 phone, a lower-case
    e-mail, `12.50 EUR`, an ISO date, the SKU of a product. `why` names the rule that saw it.
    """

    type: EntityType
    value: Text
    confidence: Confidence
    why: Text


class Shadowed(Frozen):
    """What a model that decides nothing yet would have said."""

    question: Text
    value: Text
    probability: Confidence
    agrees: bool
    """Whether the model that decides found the same the likeliest."""


class Vector(Frozen):
    """Where an encoder puts a text: near those that say the same in other words.

    `values` are as `middleware.understanding.nearness` packs them. Vectors of different encoders
    can't be compared.
    """

    encoder: Text
    values: bytes


class Understanding(Frozen):
    """All that was understood of one text.

    `by` names what judged: `rules/1`, or a model's name with its version and the start of its hash.
    """

    intent: Judgement[Intent] = Judgement[Intent]()
    sentiment: Judgement[Sentiment] = Judgement[Sentiment]()
    reason: Judgement[Reason] = Judgement[Reason]()
    severity: Judgement[Severity] = Judgement[Severity]()
    remedy: Judgement[Remedy] = Judgement[Remedy]()
    language: Judgement[str] = Judgement[str]()
    """ISO 639-1."""
    entities: tuple[Entity, ...] = ()
    cues: tuple[CueFound, ...] = ()
    shadow: tuple[Shadowed, ...] = ()
    by: Text
    degraded: bool = False
    """Whether the rules judged alone because the model could not be asked."""
    vector: Annotated[Vector | None, Field(exclude=True, repr=False)] = None
    """None where the rules judged alone. Never part of what is stored or shown of a judgement."""

    def values(self, type_: EntityType) -> tuple[str, ...]:
        """The distinct values of one type of entity, surest first."""
        found = sorted(
            (e for e in self.entities if e.type is type_), key=lambda e: (-e.confidence, e.start)
        )
        return tuple(dict.fromkeys(e.value for e in found))
