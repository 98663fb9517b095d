"""Which language a text is in, by its small words, its accents and its script.

Small on purpose: it must tell the languages that the rules speak from each other and from their
neighbours, and say nothing where it cannot. `pt`, `it`, `nl` and others are known only so that they
are not taken for one of ours.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict

from middleware.domain.understanding import Judgement, Span
from middleware.understanding.lexicon import LEXICONS

MAX_WORDS = 400
"""The first words decide; more of them change nothing but the time it takes."""

_WORDS = {
    "en": (
        "the and you your is are was were to of in it its my i me we our us they them this that "
        "these those not have has had do does did don't doesn't didn't can can't could would "
        "should will won't i'm i've it's you're be been being for with from at on by an as but or "
        "if so what when where why how which who there here just still never ever again please "
        "thanks thank want need get got gets arrived ordered received order delivery refund broken "
        "any some no too very now about out up off all more than then only because after before "
        "hi hello hey help send sent any anyone someone nobody still worst great love awful"
    ),
    "de": (
        "der die das und ist sind war waren ich du er sie es wir ihr mich mir dich dir uns euch "
        "nicht kein keine keinen ein eine einen einem einer mit von zu zum zur auf in im am an aus "
        "bei nach für über unter vor bis um wie was wer wo wann warum weil dass ob aber oder auch "
        "noch nur schon sehr mehr immer wieder hat habe haben hatte wurde wurden wird werden kann "
        "könnt können muss bitte danke mein meine meinen meiner meinem dein ihre ihren euer eure "
        "bestellung bestellt paket lieferung geliefert seit heute gestern tage wochen hallo leider "
        "angekommen kaputt geld zurück rechnung sofort endlich falsch falsche falschen"
    ),
    "es": (
        "el la los las un una unos unas y o pero que de del al a en con por para sin sobre es son "
        "era está están estoy fue ha han he hemos no sí me te se nos le les lo mi mis su sus tu "
        "tus este esta esto ese esa eso muy más ya todavía aún cuando cuándo donde dónde cómo qué "
        "quién porque hace desde hasta quiero quiere necesito tengo tiene gracias hola buenos por "
        "favor pedido paquete llegó llegado llega recibido recibí enviado envío dinero días "
        "semanas roto rota nunca nada nadie ustedes vosotros devolución reembolso factura otra otro"
    ),
    "fr": (
        "le la les un une des du de et ou mais que qui quoi est sont était étais suis es ai as a "
        "avons avez ont je j'ai tu il elle nous vous ils elles me te se mon ma mes votre vos notre "
        "nos son sa ses ce cet cette ces c'est n'est n'ai n'a ne pas plus jamais rien très trop "
        "encore toujours déjà avec sans pour par dans sur sous chez depuis quand où comment "
        "pourquoi parce merci bonjour svp commande commandé colis livraison livré reçu arrivé "
        "arrivée jours semaines remboursement rembourser argent cassé cassée facture veux voudrais "
        "aucune aucun toujours au aux l'ai d'un d'une qu'il s'il été"
    ),
    "pt": (
        "o a os as um uma e ou mas que de do da dos das em no na nos nas com por para sem não sim "
        "meu minha meus minhas seu sua seus suas eu você vocês ele ela nós me te se lhe é são foi "
        "está estão estou tem tenho muito mais já ainda quando onde como porque obrigado obrigada "
        "olá pedido encomenda chegou entrega dinheiro dias semanas nunca nada isto isso quero "
        "preciso recebi veio quebrado meu até também"
    ),
    "it": (
        "il lo la i gli le un uno una e o ma che di del della dei delle a al alla in nel nella con "
        "per su da non sì mi ti ci vi si mio mia miei mie tuo sua suo io tu lui lei noi voi loro è "
        "sono era ho hai ha abbiamo avete hanno molto più già ancora quando dove come perché "
        "grazie ciao ordine pacco arrivato consegna soldi giorni settimane mai niente questo "
        "questa voglio vorrei ricevuto rotto rimborso"
    ),
    "nl": (
        "de het een en of maar dat die van in op te aan met voor door bij naar niet geen ik jij je "
        "hij zij wij we jullie mij mijn jouw zijn haar ons onze is was waren ben heb hebt heeft "
        "hebben had wordt worden kan kunnen wil moet nog al ook zo zeer meer weer nooit altijd "
        "waar wanneer waarom hoe wat wie hallo bedankt bestelling pakket geleverd levering "
        "ontvangen dagen weken geld terug kapot graag alstublieft"
    ),
    "pl": (
        "i w na z do nie to jest się że jak ale czy od po za mi mój moja moje mnie ja ty wy nas "
        "nam jeszcze już kiedy gdzie dlaczego proszę dziękuję zamówienie paczka dostałem dotarła "
        "przesyłka pieniądze dni tygodnie zwrot"
    ),
    "sv": (
        "och att det som en ett på är av för med den till inte har jag om var men ni du vi min "
        "mitt mina er era från så när här där varför tack hej beställning paket leverans fått "
        "dagar veckor pengar tillbaka trasig"
    ),
    "tr": (
        "ve bir bu da de için ile ama çok değil var yok ben sen biz siz benim sipariş kargo ürün "
        "iade para gün hafta neden nasıl ne zaman hala lütfen teşekkürler geldi gelmedi"
    ),
}
_ACCENTS = {
    "de": "ßäöü",
    "es": "ñ¿¡áíóú",
    "fr": "çœèêëîïûùâ",
    "pt": "ãõçêâ",
    "it": "èìòù",
    "pl": "ąęłńśźż",
    "sv": "å",
    "tr": "ğışç",
}
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
_NOISE = re.compile(
    r"https?://\S{1,2000}|[@#][\w.]{1,80}|[\w.+-]{1,64}@[\w.-]{1,253}"
    r"|(?<![^\W_])[A-Za-z]{1,5}[-_/]?[0-9][\w-]{0,30}"
)
"""Addresses, handles, tags, and numbers with letters before them: no words of a language."""

_WEIGHT: dict[str, dict[str, float]] = defaultdict(dict)
for _language, _lexicon in LEXICONS.items():
    for _word in _lexicon.vocabulary():
        if _word.isalpha() and len(_word) > 2:
            _WEIGHT[_word][_language] = 0.8
for _language, _words in _WORDS.items():
    for _word in _words.split():
        _WEIGHT[_word][_language] = 1.0
for _word, _by_language in _WEIGHT.items():
    _share = 1.0 / len(_by_language)
    for _language in _by_language:
        _by_language[_language] *= _share * (1.2 if len(_word) > 3 else 1.0)

MIN_SCORE = 1.0
MIN_LEAD = 1.35
MIN_SHARE = 0.12
"""So much of the words must be known; a text of names and numbers is in no language."""


def identify(text: str, hint: str | None = None) -> Judgement[str]:
    """The language of a text, ISO 639-1; unknown where the evidence is thin or divided.

    `hint` is what the source says. It settles doubt, and it is not believed against the text:
    helpdesks know the language of the account, not of the message.
    """
    words = [m for _, m in zip(range(MAX_WORDS), _WORD.finditer(_blanked(text)), strict=False)]
    scores: dict[str, float] = defaultdict(float)
    first: dict[str, re.Match[str]] = {}
    known = 0
    for match in words:
        word = match.group().casefold().replace("’", "'")
        weights = _WEIGHT.get(word)
        if weights:
            known += 1
            for language, weight in weights.items():
                scores[language] += weight
                first.setdefault(language, match)
        for language, accents in _ACCENTS.items():
            if any(char in accents for char in word):
                scores[language] += 0.3
    if "¿" in text or "¡" in text:
        scores["es"] += 1.0
    hint = hint.lower()[:2] if hint else None
    if words and not _is_latin(words):
        return Judgement[str]()
    ranked = sorted(scores.items(), key=lambda item: -item[1])[:2]
    if not ranked:
        return _by_hint(hint, 0.5)
    (best, top), second = ranked[0], ranked[1][1] if len(ranked) > 1 else 0.0
    clear = top >= MIN_SCORE and top >= MIN_LEAD * second and known >= MIN_SHARE * len(words)
    if hint in scores and not (clear and hint != best):
        return _by_hint(hint, 0.9 if hint == best else 0.6)
    if not clear:
        return _by_hint(hint, 0.5) if hint else Judgement[str]()
    confidence = min(0.99, (top / (top + second)) * (1 - 0.5 ** (top + 0.5)))
    seen = first.get(best)
    evidence = (
        (Span(start=seen.start(), end=seen.end(), cue=f"{top:.1f} points for {best}"),)
        if seen
        else ()
    )
    return Judgement[str](value=best, confidence=round(confidence, 3), evidence=evidence)


def _by_hint(hint: str | None, confidence: float) -> Judgement[str]:
    if hint is None or not re.fullmatch(r"[a-z]{2}", hint):
        return Judgement[str]()
    return Judgement[str](value=hint, confidence=confidence)


def _blanked(text: str) -> str:
    """The text with addresses, handles and tags blanked out, offsets unchanged."""
    return _NOISE.sub(lambda m: " " * len(m.group()), text)


def is_latin(text: str) -> bool:
    """Whether at least half of the letters of a text's words are Latin ones; True without words."""
    return _is_latin([m for _, m in zip(range(60), _WORD.finditer(_blanked(text)), strict=False)])


def _is_latin(words: list[re.Match[str]]) -> bool:
    letters = [char for match in words[:60] for char in match.group()]
    latin = sum(char.isascii() or "LATIN" in unicodedata.name(char, "") for char in letters)
    return latin * 2 >= len(letters)
