"""The sentences that the default model learns from: our own, and sets that are read from a folder.

A file of sentences has headings `[intent sentiment reason]`, `-` for none, and one sentence a line;
` => remedy` at the end of a line says what is asked for. `{p}` stands for a product, `{d}` for a
duration, `{o}` for an order's number, `{c}` for a carrier, `{m}` for an amount, `{b}` for a brand.
"""

from __future__ import annotations

import csv
import random
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from middleware.domain.understanding import Intent, Remedy, Sentiment
from middleware.understanding.questions import CLASSES, NO_REMEDY

HERE = Path(__file__).parent
SENTENCES = HERE / "sentences"
CALIBRATION = HERE / "calibration"
HELD_OUT = HERE / "held_out"
WISHES = HERE / "wishes.txt"
CONTEXT = HERE / "context.txt"
WORLD = HERE / "world"


class MalformedSentencesError(ValueError):
    """A file of sentences, or of labels, is not as it should be; the message has the place."""


@dataclass(frozen=True)
class Row:
    """A text with the answers that are known; None where a question has no known answer."""

    text: str
    intent: str | None = None
    sentiment: str | None = None
    reason: str | None = None
    remedy: str | None = None
    group: str = ""
    """What it was made from: rows of one group are never split between training and testing."""

    def answer(self, question: str) -> str | None:
        value: str | None = getattr(self, question)
        return value


def read_sentences(path: Path) -> list[Row]:
    """The sentences of a file as they stand there. Raises MalformedSentencesError."""
    rows: list[Row] = []
    heading: Row | None = None
    for number, raw in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        line = raw.strip()
        where = f"{path.name}, line {number}"
        if not line or line.startswith("# "):
            continue
        if found := re.fullmatch(r"\[(\S+) (\S+) (\S+)\]", line):
            intent, sentiment, reason = (None if w == "-" else w for w in found.groups())
            heading = Row("", intent=intent, sentiment=sentiment, reason=reason)
            _check(heading, where)
            continue
        if heading is None:
            raise MalformedSentencesError(f"{where}: a heading comes before the sentences")
        text, _, remedy = line.partition(" => ")
        row = replace(heading, text=text, remedy=remedy or NO_REMEDY, group=f"{path.stem}:{text}")
        _check(row, where)
        rows.append(row)
    return rows


def _check(row: Row, where: str) -> None:
    for question, classes in CLASSES.items():
        answer = row.answer(question)
        if answer is not None and answer not in classes:
            raise MalformedSentencesError(
                f"{where}: {answer!r} is no {question}; it is one of {', '.join(classes)}"
            )


def own_sentences() -> list[Row]:
    """The sentences that the encoder and the heads learn from."""
    return [row for path in sorted(SENTENCES.glob("*.txt")) for row in read_sentences(path)]


def calibration_sentences() -> list[Row]:
    """The sentences that the encoder never learns from: temperatures and bands are found on them,
    and the heads learn from them at last."""
    return [row for path in sorted(CALIBRATION.glob("*.txt")) for row in read_sentences(path)]


def held_out_sentences() -> list[Row]:
    return [
        replace(row, text=fill(row.text, random.Random(row.text)))  # noqa: S311
        for path in sorted(HELD_OUT.glob("*.txt"))
        for row in read_sentences(path)
    ]


def world_sentences(purpose: str) -> list[Row]:
    """Sentences in other languages; `purpose` is `sentences`, `calibration` or `held_out`."""
    return [row for path in sorted((WORLD / purpose).glob("*.txt")) for row in read_sentences(path)]


def wishes(path: Path = WISHES) -> dict[str, list[str]]:
    """How people say what they want, by remedy."""
    said: dict[str, list[str]] = {}
    current: list[str] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            current = said.setdefault(str(Remedy(line.strip("[]"))), [])
        elif line and not line.startswith("# "):
            current.append(line)
    return said


def contexts(path: Path = CONTEXT) -> list[str]:
    """What people tell before they come to it, without any trouble, question or tone."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("# ")]


_FILLS = {
    "p": (
        "blender|phone|jacket|desk|headphones|drill|coffee machine|lamp|shoes|pump|book|tablet|"
        "mattress|perfume|bike|printer|filter|toaster|kettle|dress|laptop|sofa|tv|camera|watch|"
        "backpack|vacuum|monitor|jeans|chair|speaker|keyboard|rug|boiler|trainers|game|console"
    ),
    "d": (
        "3 days|two weeks|10 days|a month|an hour|5 days|a week|six weeks|ages|48 hours|2 weeks|"
        "four days|over a month|a fortnight|three months|9 days"
    ),
    "o": (
        "#48213|4500017733|SO-10294|112-993-81|W2291034|0031877|PO 77120|AB-55102|#1029|"
        "204-8834021-7712|no. 90021345|CN4418822"
    ),
    "c": (
        "DHL|UPS|the courier|Hermes|the driver|FedEx|DPD|the postman|your driver|Royal Mail|USPS|"
        "Evri|the delivery guy|GLS|Yodel|the carrier"
    ),
    "m": "£25|$49.99|80 euros|€120|$310|15 pounds|£7.50|1,200 USD|60 quid|€9,99|$5|£340",
    "b": "acmehelp|brand|shopsupport|northwind|helloshop|BrandCare|mystore|Contoso|zento|bestgoods",
}
_CHOICES = {key: words.split("|") for key, words in _FILLS.items()}
_BEFORE = [
    "@acmehelp ",
    "@brand ",
    "@helloshop ",
    "hey ",
    "Hi, ",
    "so ",
    "ugh ",
    "Seriously? ",
    "Dear team, ",
    "@northwind hi, ",
    "Hello, ",
    "omg ",
    "Well done @brand. ",
    "FFS ",
    "hi there ",
    "Good morning, ",
    "UPDATE: ",
    "Not again. ",
    "um ",
    "@brandcare @brand ",
]
_AFTER = [
    " Please help.",
    " #fail",
    " what now?",
    " Not happy.",
    " Can you look into this?",
    " asap please",
    " 😡",
    " This is unacceptable.",
    " !!!",
    " Regards, J. Miller",
    " sort it out",
    " 🙄",
    " smh",
    " Disappointed.",
    " #customerservice",
    " any ideas?",
    " Thank you, Anna",
    " DM me",
    " pls help",
    ". Really annoyed now.",
    " Order {o}.",
    " My order number is {o}.",
]
_AFTER_GLAD = [" 😀", "!", "!!", " 👍", " ❤️", " Thanks again", " #happy", " :)"]
_AFTER_CALM = [
    " thanks",
    " Thanks in advance.",
    " please",
    " cheers",
    " Kind regards, Tom",
    " thx",
    "?",
]
_NEIGHBOURS = {"a": "s", "e": "r", "i": "o", "o": "i", "n": "m", "t": "r", "r": "t", "s": "a"}


_TOLD: Mapping[str, float] = {Intent.COMPLAINT: 0.2, Intent.QUESTION: 0.35, Intent.PRAISE: 0.35}
"""How many of the texts of an intent are given once more with a story before them."""


def fill(text: str, chance: random.Random) -> str:
    """The text with its places filled."""
    return re.sub(r"\{([pdocmb])\}", lambda m: chance.choice(_CHOICES[m.group(1)]), text)


def _typo(text: str, chance: random.Random) -> str:
    at = chance.randrange(1, max(len(text) - 2, 2))
    if not text[at - 1 : at + 2].isalpha():
        return text
    return chance.choice(
        (
            text[:at] + text[at + 1 :],
            text[:at] + text[at + 1 : at + 2] + text[at] + text[at + 2 :],
            text[:at] + _NEIGHBOURS.get(text[at], text[at]) + text[at + 1 :],
        )
    )


def _written(text: str, row: Row, chance: random.Random) -> str:
    """One of the many ways in which people write the same."""
    if chance.random() < 0.45:
        before = chance.choice(_BEFORE)
        if row.intent == Intent.COMPLAINT or before.startswith(("@", "h", "H", "Good", "Dear")):
            text = before + text
    if chance.random() < 0.4:
        after = {
            Intent.COMPLAINT: _AFTER,
            Intent.PRAISE: _AFTER_GLAD,
            Intent.QUESTION: _AFTER_CALM,
        }.get(Intent(row.intent) if row.intent else Intent.NOISE, [""])
        text += chance.choice(after)
    return _keyed(fill(text, chance), chance)


def _keyed(text: str, chance: random.Random) -> str:
    """The text as a thumb types it."""
    if chance.random() < 0.3:
        text = text.lower()
    if chance.random() < 0.06:
        text = text.upper()
    if chance.random() < 0.25:
        text = _typo(text, chance)
    if chance.random() < 0.15:
        text = text.rstrip(".!?")
    return text


def varied(rows: Sequence[Row], *, times: int, seed: int) -> Iterator[Row]:
    """Each row several times, as different people write it; once with a wish added to it, and some
    once more after a story, so that a long text is not taken for a complaint, nor its beginning for
    what it is about.

    Plain chance with a fixed seed, so that a training can be repeated.
    """
    chance = random.Random(seed)  # noqa: S311
    said = wishes()
    remedies = sorted(said)
    stories = contexts()
    for row in rows:
        yield replace(row, text=fill(row.text, chance))
        for _ in range(times - 1):
            yield replace(row, text=_written(row.text, row, chance))
        if row.intent == Intent.COMPLAINT and row.remedy == NO_REMEDY and row.reason is not None:
            remedy = chance.choice(remedies)
            wish = chance.choice(said[remedy])
            parts = [row.text, wish] if chance.random() < 0.75 else [wish, row.text]
            joined = chance.choice((". ", " ", ", ", "... ", " - ")).join(parts)
            yield replace(row, text=_written(joined, row, chance), remedy=remedy)
        share = _TOLD.get(row.intent or "")
        if share is not None and chance.random() < share:
            told = " ".join(chance.sample(stories, chance.choice((1, 1, 2))))
            yield replace(row, text=_keyed(fill(f"{told} {row.text}", chance), chance))
    for remedy in remedies:
        for wish in said[remedy]:
            yield Row(fill(wish, chance), remedy=remedy, group=f"wish:{wish}")


# --- sets of others ---------------------------------------------------------------------------

_BITEXT = {
    "get_refund": Remedy.REFUND,
    "track_refund": Remedy.REFUND,
    "track_order": Remedy.INFORMATION,
    "delivery_period": Remedy.INFORMATION,
    "cancel_order": Remedy.CANCELLATION,
    "contact_human_agent": Remedy.CALL_BACK,
    "change_shipping_address": None,
    "payment_issue": None,
    "complaint": None,
    "check_payment_methods": None,
    "edit_account": None,
    "place_order": None,
}
MOST_OF_AN_INTENT = 60


def fetched(folder: Path) -> tuple[list[Row], list[Row]]:
    """Rows of the sets in a folder, to learn from and to measure with.

    `uci-sentences/` (CC BY 4.0): Amazon and Yelp to learn tone from, IMDb to measure.
    `bitext/` (CDLA-Sharing-1.0): wishes; its test part to measure. A folder that lacks one of them
    is told by MalformedSentencesError.
    """
    learn: list[Row] = []
    measure: list[Row] = []
    for name in ("amazon_cells", "yelp", "imdb"):
        path = folder / "uci-sentences" / f"{name}_labelled.txt"
        for line in _lines(path)[1:]:
            text, _, label = line.rpartition("\t")
            tone = Sentiment.POSITIVE if label.strip() == "1" else Sentiment.NEGATIVE
            intent = Intent.PRAISE if tone is Sentiment.POSITIVE else Intent.COMPLAINT
            row = Row(
                text.strip(),
                intent=None if name == "imdb" else intent,
                sentiment=tone,
                group=f"{name}:{text}",
            )
            (measure if name == "imdb" else learn).append(row)
    for part, rows in (("train", learn), ("test", measure)):
        lines = _lines(folder / "bitext" / f"{part}.csv")
        counted: dict[str, int] = {}
        for one in csv.DictReader(lines):
            intent_name = one["intent"]
            counted[intent_name] = counted.get(intent_name, 0) + 1
            if intent_name not in _BITEXT or counted[intent_name] > MOST_OF_AN_INTENT:
                continue
            remedy = _BITEXT[intent_name]
            rows.append(
                Row(one["utterance"], remedy=remedy or NO_REMEDY, group=f"bitext:{intent_name}")
            )
    return learn, measure


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise MalformedSentencesError(f"{path} can't be read: {error.strerror}") from None


def labelled(rows: Iterable[Row], question: str) -> list[Row]:
    """The rows with a known answer to a question."""
    return [row for row in rows if row.answer(question) is not None]
