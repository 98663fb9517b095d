"""What articles are found by in a text: their numbers, and their names word by word."""

from __future__ import annotations

import re
from collections.abc import Iterator

_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_NUMBER = re.compile(r"(?<![A-Za-z0-9])[A-Za-z0-9](?:[A-Za-z0-9]|[-_./](?=[A-Za-z0-9])){1,39}")
GENERIC = re.compile(
    "with|black|white|blue|green|grey|large|small|medium|size|mini|maxi|plus|pack|piece|pieces"
    "|schwarz|weiß|blau|grün|groß|klein|para|negro|blanco|azul|rojo|verde|avec|pour|noir|blanc"
    "|bleu|rouge|vert|petit|grand"
)
"""Words of article names that say nothing of the article."""
_EVERYDAY = re.compile(
    "about|after|again|been|best|call|card|come|could|day|days|deliver|delivered|delivery|done"
    "|each|ever|every|first|free|from|full|gift|give|good|great|happy|have|help|here|home|just"
    "|last|like|little|long|love|made|make|more|much|name|need|never|next|nice|once|only|order"
    "|other|over|page|parcel|perfect|please|real|refund|return|right|same|send|sent|service|some"
    "|super|thank|that|their|them|there|they|thing|this|time|today|very|want|week|well|what|when"
    "|will|working|your|aber|auch|dein|eine|einen|heute|mein|meine|nicht|noch|sehr|vielen|danke"
    "|bitte|avec|dans|merci|mon|pour|vous|gracias|muchas|para|todo|questo|grazie|molto|obrigado"
    "|muito"
)
"""Words that people use whatever they write about: two of them are no article's name."""

MOST_WORDS = 300
"""Words of a text whose neighbours are tried as names: the first ones."""
LONGEST_NAME = 6
"""Words of a name, from its first on, that it is found by."""
FEWEST_LETTERS = 4
"""Of the only word of a name, and of each word that speaks for an article."""


def stem(word: str) -> str:
    lowered = word.casefold().replace("’", "'")
    lowered = lowered.removesuffix("'s")
    return lowered[:-1] if len(lowered) > 4 and lowered.endswith("s") else lowered


def words_of(text: str) -> list[tuple[str, int, int]]:
    """The stems of a text's words with their places."""
    return [(stem(m.group()), m.start(), m.end()) for m in _WORD.finditer(text)]


def numbers_in(text: str) -> Iterator[tuple[str, int]]:
    """Tokens that may be an article's number, and where each begins."""
    for match in _NUMBER.finditer(text):
        yield match.group().rstrip("-_./"), match.start()


def sku_key(sku: str) -> str:
    """An article's number for comparing: letters and digits, upper case."""
    return re.sub(r"[\W_]+", "", sku).upper()


def speaks(word: str) -> bool:
    """Whether a word, as a stem, says something of an article."""
    return (
        len(word) >= FEWEST_LETTERS
        and not word.isdigit()
        and not GENERIC.fullmatch(word)
        and not _EVERYDAY.fullmatch(word)
    )


def names_something(words: tuple[str, ...]) -> bool:
    """Whether these words, one after the other, may be taken for an article's name."""
    return _enough(sum(map(speaks, words)), len(words))


def _enough(speaking: int, words: int) -> bool:
    return speaking >= (2 if words > 1 else 1)


def keys_of(sku: str, name: str | None) -> list[str]:
    """What an article is found by: its number, and its name's first words, one more each time."""
    number = sku_key(sku)
    keys = [f"s:{number}"] if len(number) >= 3 else []
    words = tuple(word for word, _, _ in words_of(name or ""))
    beginnings = range(2, min(len(words), LONGEST_NAME) + 1) if len(words) > 1 else (1,)
    keys += [f"n:{' '.join(words[:n])}" for n in beginnings if names_something(words[:n])]
    return keys


def keys_in(text: str) -> list[str]:
    """What articles that a text may name are found by; at most some thousands, each once."""
    stems = [word for word, _, _ in words_of(text)[:MOST_WORDS]]
    speaking = [speaks(word) for word in stems]
    keys = [f"s:{sku_key(token)}" for token, _ in numbers_in(text[: MOST_WORDS * 20])]
    keys += [
        f"n:{' '.join(stems[at:end])}"
        for at in range(len(stems))
        for end in range(at + 1, min(at + LONGEST_NAME, len(stems)) + 1)
        if _enough(sum(speaking[at:end]), end - at)
    ]
    return list(dict.fromkeys(key for key in keys if len(key) >= 5))
