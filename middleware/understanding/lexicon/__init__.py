"""The words of each language that the rules speak, as data."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from middleware.understanding.lexicon import de, en, es, fr
from middleware.understanding.lexicon.words import Lexicon

LEXICONS: Mapping[str, Lexicon] = MappingProxyType(
    {lexicon.language: lexicon for lexicon in (en.LEXICON, de.LEXICON, es.LEXICON, fr.LEXICON)}
)

__all__ = ["LEXICONS", "Lexicon"]
