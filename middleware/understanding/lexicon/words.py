"""What a lexicon holds, and the emojis that mean the same everywhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from middleware.contract.actions import Reason
from middleware.domain.understanding import Intent, Remedy, Severity
from middleware.understanding.cues import CueSet

_GLAD = "0.9 😀|😃|😄|😁|😊|😍|🥰|🤩|👍|👏|🎉|❤|💕|💖|🙌|😘|💯|⭐|🌟|🥳|:)|:-)|:d|:-d|<3"
_SAD = "1.3 😡|🤬|😠|👎|💔|😤|😢|😭|😞|😩|😫|🙄|🤮|💩|😒|😖|😣|☹|🤦|:(|:-(|:/|:-/"


@dataclass(frozen=True)
class Lexicon:
    """One language's cues; see `middleware.understanding.cues` for how a line is read."""

    language: str
    negators: frozenset[str]
    spellings: Mapping[str, str]
    """How people write what the cues write right."""
    positive: CueSet
    negative: CueSet
    boosters: frozenset[str]
    contrasts: frozenset[str]
    """Words such as `but`: what comes after counts more than what came before."""
    reasons: Mapping[Reason, CueSet]
    remedies: Mapping[Remedy, CueSet]
    severities: Mapping[Severity, CueSet]
    intents: Mapping[Intent, CueSet]
    """Cues for questions, praise and noise; complaints are seen by their reasons and tone."""
    openers: frozenset[str] = field(default_factory=frozenset)
    """Words that begin a question."""

    def vocabulary(self) -> Iterator[str]:
        """The words by which this language is recognised."""
        yield from self.negators
        for group in (self.reasons, self.remedies, self.severities, self.intents):
            for cues in group.values():
                yield from cues.vocabulary()
        for cues in (self.positive, self.negative):
            yield from cues.vocabulary()


def lexicon(
    language: str,
    *,
    negators: str,
    positive: str,
    negative: str,
    boosters: str,
    contrasts: str,
    openers: str,
    reasons: Mapping[Reason, str],
    remedies: Mapping[Remedy, str],
    severities: Mapping[Severity, str],
    intents: Mapping[Intent, str],
    spellings: Mapping[str, str] | None = None,
) -> Lexicon:
    """Read a language's blocks of lines; raises `MalformedCue`."""
    nots = frozenset(negators.split())

    def cues(lines: str) -> CueSet:
        return CueSet.read(lines, nots)

    return Lexicon(
        language=language,
        negators=nots,
        spellings=dict(spellings or {}),
        positive=cues(f"{positive}\n{_GLAD}"),
        negative=cues(f"{negative}\n{_SAD}"),
        boosters=frozenset(boosters.split()),
        contrasts=frozenset(contrasts.split()),
        reasons={key: cues(lines) for key, lines in reasons.items()},
        remedies={key: cues(lines) for key, lines in remedies.items()},
        severities={key: cues(lines) for key, lines in severities.items()},
        intents={key: cues(lines) for key, lines in intents.items()},
        openers=frozenset(openers.split()),
    )
