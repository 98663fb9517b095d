"""Reply drafts: sentences that each rest on facts, and what speaks against sending a text.

Nothing is made up: a sentence whose fact is missing is left out, and an action says no more than
its state does. What is personal never stands in a public draft.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Literal

from middleware.contract.canonical import Frozen
from middleware.domain.channels import Channel, Open, still_open
from middleware.domain.draft_texts import PARTS, PROMISES, REASONS, TEXTS, Template
from middleware.domain.understanding import Entity, EntityType

LANGUAGES = tuple(TEXTS)
CLOSING_SOON_H = 2
"""Hours before a window ends from which on it is warned of."""


class Fact(Frozen):
    """Something that a system said, and where it stands."""

    name: str
    value: str
    source: str
    """The record, action or configuration that it was read from."""
    personal: bool = True
    """Whether only the customer may read it."""


class Sentence(Frozen):
    text: str
    facts: tuple[str, ...]
    """Names of the facts that it rests on."""


class Caution(Frozen):
    """What speaks against sending a text: `code` for programs, `detail` for people."""

    code: str
    detail: str
    blocks: bool = True
    """Whether it should not be sent like this."""


class Draft(Frozen):
    channel: Literal["public", "private"]
    language: str
    text: str
    sentences: tuple[Sentence, ...]
    facts: tuple[Fact, ...]
    """Those that the text rests on."""
    length: int
    limit: int
    window: Open
    warnings: tuple[Caution, ...] = ()


class Advice(Frozen):
    """Where to answer, and why."""

    channel: Literal["public", "private"]
    why: str


def advise(*, wrote_in_public: bool, public: bool, private: Open, personal: bool) -> Advice:
    """Public or private. `public` says whether the network has such answers, `personal` whether
    there is anything to say that is nobody else's business."""
    if not wrote_in_public:
        return Advice(channel="private", why="the customer wrote in private")
    if not public:
        return Advice(channel="private", why="the network has no public answers")
    if personal and private.open:
        return Advice(channel="private", why="what there is to say is about the customer's order")
    if personal:
        return Advice(
            channel="public", why="no private answer may be sent any more; ask for a message"
        )
    return Advice(channel="public", why="nothing personal is to be said, and others read along")


# --- composing ------------------------------------------------------------------------------------


def compose(
    facts: Iterable[Fact],
    *,
    public: bool,
    language: str,
    channel: Channel,
    last_wrote: datetime,
    now: datetime,
) -> Draft:
    """A draft of all the sentences whose facts are there.

    A language that has no templates gets English ones, and a warning. A draft that is too long
    loses sentences from the end of those that can be missed, and says so.
    """
    known = {fact.name: fact for fact in facts}
    spoken = language if language in TEXTS else "en"
    warnings = []
    if spoken != language:
        warnings.append(
            Caution(
                code="language",
                detail=f"there are no sentences in {language!r}; this is English",
                blocks=False,
            )
        )
    chosen = [
        template
        for part in PARTS
        if (template := _first(part, known, spoken, public=public)) is not None
    ]
    dropped: list[str] = []
    while True:
        sentences = [_written(template, known, spoken) for template in chosen]
        text = " ".join(sentence.text for sentence in sentences)
        if channel.length(text) <= channel.longest or len(chosen) <= 1:
            break
        missed = next((t for t in reversed(chosen) if t.name in _CAN_BE_MISSED), chosen[-1])
        chosen.remove(missed)
        dropped.append(missed.name)
    if dropped:
        detail = f"left out, for want of room: {', '.join(dropped)}"
        warnings.append(Caution(code="shortened", detail=detail, blocks=False))
    window = still_open(channel, last_wrote=last_wrote, now=now)
    used = {name for sentence in sentences for name in sentence.facts}
    warnings += limits(text, channel, window, now)
    if public:
        warnings += personal_in(text, known.values(), ())
    return Draft(
        channel="public" if public else "private",
        language=spoken,
        text=text,
        sentences=tuple(sentences),
        facts=tuple(fact for name, fact in known.items() if name in used),
        length=channel.length(text),
        limit=channel.longest,
        window=window,
        warnings=tuple(warnings),
    )


_CAN_BE_MISSED = ("slots", "asked_for_by", "leaves_on", "about_item", "about", "tracking")


def _first(
    part: Sequence[Template], known: Mapping[str, Fact], language: str, *, public: bool
) -> Template | None:
    for template in part:
        if public and (
            not template.public or any(known[n].personal for n in template.needs if n in known)
        ):
            continue
        if template.name == "write_privately" and not public:
            continue
        if all(name in known for name in template.needs) and (
            "reason" not in template.needs or known["reason"].value in REASONS[language]
        ):
            return template
    return None


def _written(template: Template, known: Mapping[str, Fact], language: str) -> Sentence:
    values = {name: known[name].value for name in template.needs}
    if "reason" in values:
        values["reason"] = REASONS[language][values["reason"]]
    text = TEXTS[language][template.name].format(**values)
    return Sentence(text=text, facts=template.needs)


# --- checking -------------------------------------------------------------------------------------


def limits(text: str, channel: Channel, window: Open, now: datetime) -> list[Caution]:
    """What the network would refuse: a text that is too long, or that comes too late."""
    found = []
    length = channel.length(text)
    if length > channel.longest:
        detail = f"it has {length} {channel.counted}, and {channel.longest} are allowed"
        found.append(Caution(code="too_long", detail=detail))
    if not window.open:
        assert window.until is not None
        detail = f"since {window.until:%Y-%m-%d %H:%M} UTC the network takes no such answer"
        found.append(Caution(code="window_closed", detail=detail))
    elif window.until is not None:
        hours = (window.until - now).total_seconds() / 3600
        if hours < CLOSING_SOON_H:
            detail = f"the network takes it until {window.until:%Y-%m-%d %H:%M} UTC"
            found.append(Caution(code="window_closing", detail=detail, blocks=False))
        if window.once:
            detail = f"this is {window.way}: there is no second one"
            found.append(Caution(code="only_one", detail=detail, blocks=False))
    return found


PERSONAL = frozenset(
    {
        EntityType.EMAIL,
        EntityType.PHONE,
        EntityType.POSTCODE,
        EntityType.ORDER_NUMBER,
        EntityType.TRACKING_NUMBER,
    }
)


def personal_in(text: str, facts: Iterable[Fact], entities: Iterable[Entity]) -> list[Caution]:
    """What a public text must not hold: facts about the customer, addresses, numbers."""
    plain = _plain(text)
    found = [
        Caution(code="personal_data", detail=f"it tells everybody the customer's {fact.name}")
        for fact in facts
        if fact.personal and len(fact.value) >= 3 and _stands_in(_plain(fact.value), plain)
    ]
    found += [
        Caution(
            code="personal_data",
            detail=f"it holds what looks like a {entity.type.replace('_', ' ')}",
        )
        for entity in entities
        if entity.type in PERSONAL
    ]
    return list({warning.detail: warning for warning in found}.values())


def _plain(text: str) -> str:
    return re.sub(r"[\W_]+", " ", text.casefold()).strip()


def _stands_in(value: str, text: str) -> bool:
    return bool(value) and f" {value} " in f" {text} "


_BETWEEN_SENTENCES = re.compile(r"(?<=[.!?])\s+|\n+")
_FIGURE = re.compile(r"\d+(?:[.,:/-]\d+)*")


def promises_in(text: str, facts: Iterable[Fact], *, language: str) -> list[Caution]:
    """Sentences that promise something no fact stands behind.

    A promise is known by its words, in the text's language. It is backed by an action that is done,
    and every figure in it must be one of a fact.
    """
    pattern = re.compile(PROMISES.get(language, PROMISES["en"]), re.IGNORECASE)
    known = list(facts)
    done = any(fact.name.startswith("done_") for fact in known)
    figures = {figure for fact in known for figure in _FIGURE.findall(fact.value)}
    found = []
    for sentence in _BETWEEN_SENTENCES.split(text):
        promise = pattern.search(sentence)
        if promise is None:
            continue
        made_up = [figure for figure in _FIGURE.findall(sentence) if figure not in figures]
        if not done:
            why = "no action is done that stands behind it"
        elif made_up:
            why = f"no system said {', '.join(made_up)}"
        else:
            continue
        detail = f"“{promise.group()}” promises something, and {why}"
        found.append(Caution(code="promise", detail=detail))
    return found
