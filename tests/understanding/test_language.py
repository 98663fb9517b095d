"""Which language a text is in, and when nobody can say."""

from __future__ import annotations

import time

import pytest

from middleware.understanding.language import identify

SAID = {
    "en": ["Where is my parcel? It was due last week", "refund me immediately", "Thanks, great!"],
    "de": ["Wo bleibt mein Paket?", "Die Lampe ist kaputt, ich will mein Geld zurück"],
    "es": [
        "¿Dónde está mi pedido?",
        "No me ha llegado nada todavía",
        "Quiero un reembolso ya",
        "¿?",
    ],
    "fr": ["Je n'ai toujours rien reçu", "Où est ma commande ?", "Le colis est arrivé cassé"],
    "pt": ["Onde está minha encomenda? Não recebi nada ainda"],
    "it": ["Il pacco non è ancora arrivato, voglio il rimborso"],
    "nl": ["Mijn pakket is nog niet geleverd, waar blijft het?"],
    None: [
        "",
        "   ",
        "12345 / 678",
        "SO-10001",
        "😡😡",
        "Мой заказ не пришёл",
        "私の注文はどこですか",
        "طلبي لم يصل",
        "xkcd qwrt zzzp",
        "@shop @kim #fail https://example.com/the/and/of",
    ],
}


@pytest.mark.parametrize(
    ("language", "text"), [(code, text) for code, texts in SAID.items() for text in texts]
)
def test_identified(language: str | None, text: str) -> None:
    judged = identify(text)
    assert judged.value == language
    assert (judged.confidence > 0) == (language is not None)
    for span in judged.evidence:
        assert text[span.start : span.end].strip()


def test_a_hint_settles_doubt() -> None:
    assert identify("SO-10001?").value is None
    assert identify("SO-10001?", "de").value == "de"
    assert identify("SO-10001?", "de-AT").value == "de"


def test_a_hint_is_not_believed_against_the_text() -> None:
    """Helpdesks tell the language of the account."""
    text = "Wo bleibt mein Paket? Ich warte seit drei Wochen auf die Lieferung"
    assert identify(text, "en").value == "de"


@pytest.mark.parametrize("hint", ["", "und", "x", "12", "..", "zz-ZZ"])
def test_hints_may_be_nonsense(hint: str) -> None:
    identify("hello", hint)
    identify("", hint)


def test_foreign_scripts_are_unknown_whatever_the_hint() -> None:
    assert identify("Мой заказ не пришёл", "en").value is None


def test_a_long_text_takes_no_longer() -> None:
    begin = time.process_time()
    identify("the der el le " * 30_000)
    assert time.process_time() - begin < 1
