"""Judgements of the rules, case by case."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from middleware.contract.actions import Reason
from middleware.domain.understanding import (
    EntityType,
    Intent,
    Judgement,
    Remedy,
    Sentiment,
    Severity,
    Understanding,
)
from middleware.understanding import Rules, Understands
from middleware.understanding.cues import CueSet, MalformedCue, words_of
from middleware.understanding.patterns import PatternRefused
from middleware.understanding.rules import MAX_TEXT

RULES = Rules()

C, Q, P, N = Intent.COMPLAINT, Intent.QUESTION, Intent.PRAISE, Intent.NOISE

CASES: dict[str, dict[str, object]] = {
    # English
    "My blender arrived smashed, please send a new one": {
        "intent": C,
        "reason": Reason.DAMAGED,
        "remedy": Remedy.REPLACEMENT,
        "sentiment": Sentiment.NEGATIVE,
        "severity": Severity.NORMAL,
    },
    "arrived in bits, thanks DHL": {"intent": C, "reason": Reason.DAMAGED},
    "I ordered black and you sent me white": {"intent": C, "reason": Reason.WRONG_ITEM},
    "Got someone else's order in my box": {"intent": C, "reason": Reason.WRONG_ITEM},
    "only received 3 of the 5 pieces": {"intent": C, "reason": Reason.MISSING_ITEM},
    "the box was empty!": {"intent": C, "reason": Reason.MISSING_ITEM},
    "my order still hasn't arrived": {"intent": C, "reason": Reason.LATE},
    "Where is my parcel? It was due two weeks ago": {"intent": C, "reason": Reason.LATE},
    "Tracking says delivered but I never got it": {"intent": C, "reason": Reason.LOST},
    "the courier lost my package": {"intent": C, "reason": Reason.LOST},
    "I was charged twice, I want my money back": {
        "intent": C,
        "reason": Reason.BILLING,
        "remedy": Remedy.REFUND,
    },
    "nobody answers my emails, worst service ever": {"intent": C, "reason": Reason.SERVICE},
    "the drill stopped working after 3 days": {"intent": C, "reason": Reason.DEFECTIVE},
    "your app keeps crashing": {"intent": C, "reason": Reason.OTHER},
    "My toaster caught fire and burned my hand": {
        "intent": C,
        "severity": Severity.CRITICAL,
        "reason": Reason.DEFECTIVE,
    },
    "Lamp broken again, third time, the wedding is tomorrow, urgent!": {
        "intent": C,
        "severity": Severity.HIGH,
    },
    "Do you ship to Norway?": {
        "intent": Q,
        "reason": None,
        "severity": Severity.LOW,
        "sentiment": Sentiment.NEUTRAL,
    },
    "Thank you so much, great service!": {
        "intent": P,
        "sentiment": Sentiment.POSITIVE,
        "reason": None,
        "severity": Severity.LOW,
    },
    "follow me for a giveaway, link in bio": {"intent": N, "reason": None, "remedy": None},
    "please cancel my order": {"remedy": Remedy.CANCELLATION},
    "call me back please": {"remedy": Remedy.CALL_BACK},
    # negation
    "It is not damaged, only a question about the warranty": {"reason": None},
    "nothing is broken, all good": {"reason": None},
    "not good": {"sentiment": Sentiment.NEGATIVE},
    "don't waste your money": {"sentiment": Sentiment.NEGATIVE},
    "no problems at all, works great": {"sentiment": Sentiment.POSITIVE},
    "I like the lamp but it is broken and useless": {"sentiment": Sentiment.NEGATIVE},
    "good lamp, nice colour but disappointing": {"sentiment": Sentiment.NEGATIVE},
    # German
    "Die Lampe kam zerbrochen an, ich will sofort Ersatz": {
        "intent": C,
        "reason": Reason.DAMAGED,
        "remedy": Remedy.REPLACEMENT,
        "severity": Severity.HIGH,
        "language": "de",
    },
    "Mein Paket ist laut Bote zugestellt, aber ich habe nichts bekommen": {
        "reason": Reason.LOST,
        "language": "de",
    },
    "Ihr habt mir die falsche Größe geschickt": {"reason": Reason.WRONG_ITEM},
    "Mir wurde doppelt abgebucht, ich möchte mein Geld zurück": {
        "reason": Reason.BILLING,
        "remedy": Remedy.REFUND,
    },
    "Vielen Dank für den super Service!": {"intent": P, "sentiment": Sentiment.POSITIVE},
    "Liefert ihr auch nach Österreich?": {"intent": Q, "reason": None},
    "Die Lampe ist nicht beschädigt, alles gut": {"reason": None},
    # Spanish
    "Mi pedido llegó roto, quiero un reembolso": {
        "intent": C,
        "reason": Reason.DAMAGED,
        "remedy": Remedy.REFUND,
        "language": "es",
    },
    "El paquete figura como entregado pero no lo he recibido": {"reason": Reason.LOST},
    "Me cobraron dos veces": {"reason": Reason.BILLING},
    "La batidora no funciona": {"reason": Reason.DEFECTIVE},
    "Muchas gracias, excelente servicio": {"intent": P},
    # French
    "Je n'ai toujours pas reçu ma commande": {"reason": Reason.LATE, "language": "fr"},
    "Le colis est arrivé cassé, je veux un échange": {
        "reason": Reason.DAMAGED,
        "remedy": Remedy.REPLACEMENT,
    },
    "J'ai été débité deux fois": {"reason": Reason.BILLING},
    "Merci beaucoup, super service": {"intent": P},
    # languages that the rules do not speak
    "Meu pedido chegou quebrado, quero meu dinheiro de volta": {
        "language": "pt",
        "intent": None,
        "sentiment": None,
        "reason": None,
        "severity": None,
        "remedy": None,
    },
    "Мой заказ не пришёл 😡": {"language": None, "intent": None, "sentiment": None},
    "😡😡😡": {"intent": None, "sentiment": None},
    "": {"language": None, "intent": None, "sentiment": None, "severity": None},
}


def judgements(judged: Understanding) -> dict[str, Judgement[object]]:
    names = ("intent", "sentiment", "reason", "severity", "remedy", "language")
    return {name: getattr(judged, name) for name in names}


@pytest.mark.parametrize("text", CASES)
def test_judged(text: str) -> None:
    judged = judgements(RULES.understand(text))
    assert {name: judged[name].value for name in CASES[text]} == CASES[text]


@pytest.mark.parametrize("text", CASES)
def test_evidence_stands_in_the_text(text: str) -> None:
    for name, judgement in judgements(RULES.understand(text)).items():
        assert judgement.known == (judgement.confidence > 0)
        if name in ("intent", "reason", "remedy") and judgement.known:
            assert judgement.evidence, f"{name} without evidence"
        for span in judgement.evidence:
            assert text[span.start : span.end].strip()


def test_evidence_names_the_cue() -> None:
    (span,) = RULES.understand("the box was empty!").reason.evidence
    assert "the box was empty!"[span.start : span.end] == "box was empty"
    assert "empty" in span.cue


def test_one_weak_word_is_not_enough() -> None:
    judged = RULES.understand("the customer service is on the second floor, next to the lamps")
    assert judged.reason.value is None
    assert judged.intent.value is not C


def test_two_troubles_of_a_kind_are_unknown() -> None:
    judged = RULES.understand(
        "the lamp is cracked and the cable is missing from the box, wrong size"
    )
    assert judged.reason.confidence < 0.6


def test_more_cues_make_surer() -> None:
    one = RULES.understand("my lamp is cracked").reason
    two = RULES.understand("my lamp is cracked, crushed and the glass is shattered").reason
    assert one.value is two.value is Reason.DAMAGED
    assert two.confidence > one.confidence


def test_entities_are_found_in_any_language() -> None:
    judged = RULES.understand("Мой заказ: order SO-10001, kim@example.com")
    assert judged.values(EntityType.ORDER_NUMBER) == ("SO-10001",)
    assert judged.values(EntityType.EMAIL) == ("kim@example.com",)


def test_numbers_and_addresses_are_no_words() -> None:
    """A handle or an address must not sound angry."""
    judged = RULES.understand("Please use broken.damaged@example.com for the invoice copy")
    assert judged.reason.value is not Reason.DAMAGED


def test_products_and_patterns_are_used() -> None:
    products = {"LMP-100": "Desk Lamp"}
    judged = RULES.understand(
        "my desk lamp from X9-77 broke", products=products, order_patterns=(r"X\d-\d{2}",)
    )
    assert judged.values(EntityType.PRODUCT) == ("LMP-100",)
    assert judged.values(EntityType.ORDER_NUMBER) == ("X9-77",)
    other = RULES.understand("my desk lamp", products={"Z": "Desk Lamp"})
    assert other.values(EntityType.PRODUCT) == ("Z",)


def test_a_bad_pattern_says_so() -> None:
    with pytest.raises(PatternRefused):
        RULES.understand("x", order_patterns=("(a+)+",))


def test_it_is_one_of_those_that_understand() -> None:
    assert isinstance(RULES, Understands)
    assert RULES.understand("hello").by == "rules/1"


def test_what_comes_late_in_a_long_text_is_not_seen() -> None:
    judged = RULES.understand("fine " * (MAX_TEXT // 5) + " order SO-10001")
    assert judged.values(EntityType.ORDER_NUMBER) == ()


@given(st.text(max_size=300))
def test_any_text(text: str) -> None:
    judged = RULES.understand(text, language="en")
    assert judged == RULES.understand(text, language="en")
    for judgement in judgements(judged).values():
        for span in judgement.evidence:
            assert 0 <= span.start < span.end <= len(text)
    judged.model_dump_json()


HOSTILE = {
    "letters": "a" * 100_000,
    "words": "not " * 25_000,
    "cues": "ordered but but but received wrong never delivered " * 2_000,
    "gaps": "says says says delivered never not nothing " * 2_500,
    "digits": "1" * 100_000,
    "spaced digits": "1 " * 50_000,
    "phones": "+49 30 " * 14_000,
    "brackets": "((((" * 25_000,
    "at signs": "a@" * 50_000,
    "mail-like": "a.b-c+d" * 14_000 + "@",
    "order words": "order number is the " * 5_000,
    "order numbers": "order 10001, 10002 and " * 4_500,
    "tracking words": "tracking number id: " * 5_000,
    "ups": "1Z " * 33_000,
    "amounts": "1.000.000.000" * 7_500,
    "currencies": "$ € £ eur " * 10_000,
    "dates": "1.1.2026 " * 11_000,
    "apostrophes": "a'" * 50_000,
    "dashes": "a-" * 50_000,
    "blanks": " " * 100_000,
    "newlines": "\n" * 100_000,
    "emojis": "😡" * 50_000,
    "combining": "e\u0301" * 50_000,
    "skus": "BL-" * 33_000,
    "hash": "#" * 100_000,
    "urls": "https://" * 12_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_texts_take_no_longer(name: str) -> None:
    products = {f"BL-{n}": f"Blender {n}" for n in range(500)}
    begin = time.process_time()
    RULES.understand(
        HOSTILE[name], products=products, order_patterns=(r"SO-\d+", r"\d{3}-\d{7}-\d{7}")
    )
    assert time.process_time() - begin < 3


# The cues' own language.


def hits(lines: str, text: str) -> list[tuple[str, bool]]:
    nots = frozenset(("not", "never"))
    return [(h.span.cue, h.negated) for h in CueSet.read(lines, nots).find(words_of(text), nots)]


@pytest.mark.parametrize(
    ("phrase", "text", "found"),
    [
        ("broken", "it is broken", True),
        ("broken", "unbroken", False),
        ("brok*", "it broke, brokenly", True),
        ("box|bag empty", "the bag empty", True),
        ("box ... empty", "box is really very empty", True),
        ("box ... empty", "box is really very much empty", False),
        ("box .... empty", "box a b c d e f g h empty", True),
        ("<n> days late", "3 days late", True),
        ("<n> days late", "three days late", True),
        ("<n> days late", "some days late", False),
        ("<neg> arrived", "never arrived", True),
        ("can't log in", "I can’t log in", True),
        ("log in", "log", False),
    ],
)
def test_phrases(phrase: str, text: str, found: bool) -> None:
    assert bool(hits(f"1 {phrase}", text)) is found


@pytest.mark.parametrize(
    ("text", "negated"),
    [
        ("broken", False),
        ("not broken", True),
        ("not at all broken", True),
        ("not at all very much broken", False),
        ("not now. broken", False),
        ("never, broken", False),
    ],
)
def test_negations_reach_a_few_words_in_the_same_clause(text: str, negated: bool) -> None:
    assert hits("1 broken", text) == [("broken", negated)]


def test_a_negation_inside_of_a_phrase_belongs_to_it() -> None:
    assert hits("1 not ... arrived", "never not yet arrived") == [("not ... arrived", False)]


def test_the_weightier_cue_takes_the_words() -> None:
    found = hits("1 broken\n3 broken glass", "broken glass, broken")
    assert found == [("broken glass", False), ("broken", False)]


@pytest.mark.parametrize(
    "line", ["broken", "x broken", "1", "1 ... broken", "1 broken ...", "1 ab*"]
)
def test_malformed_lines_are_named(line: str) -> None:
    with pytest.raises(MalformedCue):
        CueSet.read(line, frozenset())
