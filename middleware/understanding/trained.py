"""Understanding by a trained model, with the rules beside it.

The model judges intent, sentiment, reason and remedy where it is sure enough to say something. The
rules find entities, language, cues and severity, and give the evidence in the text. A text in a
language that the model does not know is judged by a second one, if there is one that does; else by
the rules alone, where they know it; else nothing is judged.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from middleware.contract.actions import Reason
from middleware.domain.understanding import (
    Alternative,
    Band,
    Intent,
    Judgement,
    Remedy,
    Sentiment,
    Shadowed,
    Understanding,
)
from middleware.understanding.language import identify, is_latin
from middleware.understanding.lexicon import LEXICONS
from middleware.understanding.model import Answer, Model, ModelRefusedError, Read
from middleware.understanding.own import OwnModel, OwnModelError
from middleware.understanding.reading import readable
from middleware.understanding.rules import MAX_TEXT, VERSION, Rules

E = TypeVar("E", bound=StrEnum)

FEWEST_WORDS = 3
"""A text of fewer words is never judged by itself."""
KNOWN_SHARE = 0.6
"""The part of a text's words that the model must know to read a text of no clear language."""
CONTRADICTED = 0.6
"""How sure the rules must be to hold a sure model back when they say something else."""
MOST_REMEMBERED = 512


@dataclass(frozen=True)
class Asked:
    """One text that is to be understood, with what is known around it."""

    text: str
    language: str | None = None
    products: Mapping[str, str] | None = None
    order_patterns: tuple[str, ...] = ()


def judged_by_rules(rules: Rules, asked: Asked, *, degraded: bool) -> Understanding:
    """What the rules alone say."""
    said = rules.understand(
        asked.text,
        language=asked.language,
        products=asked.products,
        order_patterns=asked.order_patterns,
    )
    return said.model_copy(update={"degraded": degraded})


class Trained:
    """An `Understands` by a model and rules. Answers are remembered by text for a while."""

    def __init__(
        self,
        model: Model,
        rules: Rules,
        *,
        own: Mapping[str, OwnModel] | None = None,
        world: Model | None = None,
    ) -> None:
        """`own` are a customer's models by question; each is loaded. Raises ModelRefusedError.

        `world` judges texts in its languages that `model` does not know.
        """
        self.model = model
        self.shipped = model.heads
        """The heads that the model came with, whichever are in use."""
        self.world = world
        self.rules = rules
        self.own = dict(own or {})
        for question, one in self.own.items():
            try:
                one.load()
            except OwnModelError as error:
                raise ModelRefusedError(f"understanding.own.{question}.{error}") from None
        self._remembered: OrderedDict[tuple[str, str], Read] = OrderedDict()
        self._lock = threading.Lock()

    def understand(
        self,
        text: str,
        *,
        language: str | None = None,
        products: Mapping[str, str] | None = None,
        order_patterns: Sequence[str] = (),
    ) -> Understanding:
        return self.understand_all([Asked(text, language, products, tuple(order_patterns))])[0]

    def understand_all(
        self, asked: Sequence[Asked], *, between: Callable[[], None] | None = None
    ) -> list[Understanding]:
        """Judge texts together, which is faster than one by one.

        `between` is called before each text is judged, so that a thread can give way.
        """
        spoken = [identify(a.text[:MAX_TEXT], a.language).value for a in asked]
        readers = [self._reader(a.text[:MAX_TEXT], s) for a, s in zip(asked, spoken, strict=True)]
        found: dict[int, Read] = {}
        for reader in (self.model, self.world):
            which = [i for i, one in enumerate(readers) if one is not None and one is reader]
            if reader is not None and which:
                texts = [asked[i].text[:MAX_TEXT] for i in which]
                found |= dict(zip(which, self._read(reader, texts), strict=True))
        made: list[Understanding] = []
        for i, (a, reader, said) in enumerate(zip(asked, readers, spoken, strict=True)):
            if between is not None:
                between()
            made.append(
                self._judged(a, reader, found[i], said)
                if reader is not None
                else self._in_another_language(a, said)
            )
        return made

    def _reader(self, text: str, spoken: str | None) -> Model | None:
        """Which model knows the language of a text."""
        if self.reads(text, spoken):
            return self.model
        return self.world if self.world is not None and spoken in self.world.languages else None

    def _read(self, model: Model, texts: Sequence[str]) -> list[Read]:
        model_id = model.id
        found: dict[str, Read] = {}
        with self._lock:
            for text in texts:
                if (kept := self._remembered.get((model_id, text))) is not None:
                    found[text] = kept
        missing = [text for text in dict.fromkeys(texts) if text not in found]
        if missing:
            made = dict(zip(missing, model.read(missing), strict=True))
            for question, one in self._own(model).items():
                place = _shadow(question) if one.shadow else question
                for text, answer in zip(missing, one.answers(missing), strict=True):
                    made[text].answers[place] = answer
            found.update(made)
            with self._lock:
                for text, read in made.items():
                    self._remembered[model_id, text] = read
                while len(self._remembered) > MOST_REMEMBERED:
                    self._remembered.popitem(last=False)
        return [found[text] for text in texts]

    def reads(self, text: str, spoken: str | None) -> bool:
        """Whether the model knows the language; where that is not clear, whether its words."""
        if spoken is not None:
            return spoken in self.model.languages
        read = readable(text)
        return is_latin(read) and self.model.heads.vocabulary.known_share(read) >= KNOWN_SHARE

    def _own(self, model: Model) -> dict[str, OwnModel]:
        """The customer's models that judge beside a model: they know its languages."""
        return self.own if model is self.model else {}

    def _judged(
        self, asked: Asked, model: Model, encoded: Read, spoken: str | None
    ) -> Understanding:
        answers = encoded.answers
        own = self._own(model)
        deciding = [f"own:{q}" for q, one in sorted(own.items()) if not one.shadow]
        short = len(readable(asked.text).split()) < FEWEST_WORDS
        intent = _judgement(Intent, answers["intent"], short=short)
        read = self.rules.read(
            asked.text,
            language=asked.language,
            products=asked.products,
            order_patterns=asked.order_patterns,
            supposed=spoken or model.languages[0],
        )
        said = read.judged(told=intent)
        intent = _beside(intent, read.intent)
        trouble = intent.value not in (Intent.PRAISE, Intent.NOISE)
        reason = _judgement(Reason, answers["reason"], short=short)
        remedy = _judgement(Remedy, answers["remedy"], short=short)
        if trouble:
            reason, remedy = _beside(reason, said.reason), _beside(remedy, said.remedy)
            if intent.value is Intent.QUESTION and reason.value is Reason.OTHER:
                reason = reason.model_copy(update={"value": None, "band": Band.UNSURE})
            if intent.value is not Intent.COMPLAINT and reason.band is Band.AUTO:
                reason = reason.model_copy(update={"band": Band.SUGGEST})
        else:
            # Nothing is wrong and nothing is asked for; what it would be stays to be seen.
            reason = reason.model_copy(update={"value": None, "band": Band.UNSURE})
            remedy = remedy.model_copy(update={"value": None, "band": Band.UNSURE})
        return said.model_copy(
            update={
                "intent": intent,
                "sentiment": _beside(
                    _judgement(Sentiment, answers["sentiment"], short=short), said.sentiment
                ),
                "reason": reason,
                "remedy": remedy,
                "shadow": tuple(
                    Shadowed(
                        question=question,
                        value=beside.value,
                        probability=beside.probability,
                        agrees=beside.value == answers[question].value,
                    )
                    for question, one in own.items()
                    if one.shadow and (beside := answers[_shadow(question)])
                ),
                "by": ", ".join((model.id, *deciding, VERSION)),
                "vector": encoded.vector,
            }
        )

    def _in_another_language(self, asked: Asked, spoken: str | None) -> Understanding:
        said = judged_by_rules(self.rules, asked, degraded=False)
        if spoken not in LEXICONS:
            unsure = {"band": Band.UNSURE}
            return said.model_copy(
                update={
                    "intent": Judgement[Intent](**unsure),
                    "sentiment": Judgement[Sentiment](**unsure),
                    "reason": Judgement[Reason](**unsure),
                    "remedy": Judgement[Remedy](**unsure),
                    "by": VERSION,
                }
            )
        return said


def _shadow(question: str) -> str:
    return f"shadow {question}"


def _judgement(kind: type[E], answer: Answer, *, short: bool) -> Judgement[E]:
    """A judgement of what a head answered; nothing is said where it is unsure."""
    band = Band.SUGGEST if short and answer.band is Band.AUTO else answer.band
    known = {str(member) for member in kind}
    value = kind(answer.value) if band is not Band.UNSURE and answer.value in known else None
    return Judgement[kind](  # type: ignore[valid-type]
        value=value,
        confidence=answer.probability,
        band=band,
        alternatives=tuple(Alternative(value=v, probability=p) for v, p in answer.ranked),
    )


def _beside(judged: Judgement[E], rules: Judgement[E]) -> Judgement[E]:
    """The model's judgement with the rules' evidence; held back where they surely differ."""
    if judged.value is not None and judged.value == rules.value:
        return judged.model_copy(update={"evidence": rules.evidence})
    if rules.value is Reason.OTHER:
        return judged  # the rules have no word for the website or the stock
    if judged.band is Band.AUTO and rules.known and rules.confidence >= CONTRADICTED:
        return judged.model_copy(update={"band": Band.SUGGEST})
    return judged
