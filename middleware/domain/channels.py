"""What networks allow of a reply: how long it may be, and for how long it may come.

Windows as the issue's sources have them: Meta lets a business answer a comment in private once,
within 7 days of it (developers.facebook.com/docs/messenger-platform/discovery/private-replies); a
direct message may be answered for 24 hours, by a person with the HUMAN_AGENT tag for 7 days
(…/docs/messenger-platform/policy/policy-overview); WhatsApp for 24 hours, afterwards only with a
template (developers.facebook.com/docs/whatsapp/conversation-types). Lengths are those of the
networks' own pages: X counts links as 23 and wide characters as two
(docs.x.com/resources/fundamentals/counting-characters).
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from enum import StrEnum

from middleware.contract.canonical import Frozen


class Counted(StrEnum):
    CHARACTERS = "characters"
    BYTES = "bytes"
    WEIGHTED = "weighted"
    """As X counts: a link is 23, most letters are one, others such as emojis are two."""


class Window(Frozen):
    """For how long after the customer last wrote a reply may be sent this way."""

    lasts: timedelta
    way: str
    once: bool = False
    """Whether only one such reply is allowed."""


class Channel(Frozen):
    """One way to answer on one network."""

    longest: int
    counted: Counted = Counted.CHARACTERS
    windows: tuple[Window, ...] = ()
    """The earliest to end first; None at all means that it stays open."""

    def length(self, text: str) -> int:
        match self.counted:
            case Counted.BYTES:
                return len(text.encode())
            case Counted.WEIGHTED:
                return weighted(text)
            case Counted.CHARACTERS:
                return len(text)


_DAY, _WEEK = timedelta(hours=24), timedelta(days=7)
_MESSAGE = (
    Window(lasts=_DAY, way="an ordinary message"),
    Window(lasts=_WEEK, way="a message by a person (HUMAN_AGENT)"),
)
_PRIVATE_REPLY = Window(lasts=_WEEK, way="the one private reply to a comment", once=True)

PUBLIC: dict[str, Channel] = {
    "x": Channel(longest=280, counted=Counted.WEIGHTED),
    "facebook": Channel(longest=8000),
    "instagram": Channel(longest=2200),
}
"""Answers that everybody reads. Networks that are not listed have none."""

MESSAGES: dict[str, Channel] = {
    "x": Channel(longest=10_000),
    "facebook": Channel(longest=2000, windows=_MESSAGE),
    "instagram": Channel(longest=1000, counted=Counted.BYTES, windows=_MESSAGE),
    "whatsapp": Channel(longest=4096, windows=(Window(lasts=_DAY, way="an ordinary message"),)),
}
"""Answers to somebody who wrote in private."""

AFTER_COMMENT: dict[str, Channel] = {
    "x": MESSAGES["x"],
    "facebook": Channel(longest=2000, windows=(_PRIVATE_REPLY,)),
    "instagram": Channel(longest=1000, counted=Counted.BYTES, windows=(_PRIVATE_REPLY,)),
}
"""Private answers to somebody who wrote in public."""

ANYWHERE_ELSE = Channel(longest=20_000)
"""E-mail, tickets and what is not known: no limit of a network's."""


def channel_of(network: str, *, public: bool, wrote_in_public: bool) -> Channel | None:
    """The way to answer; None where the network has no such way."""
    if public:
        return PUBLIC.get(network)
    if wrote_in_public and network in AFTER_COMMENT:
        return AFTER_COMMENT[network]
    return MESSAGES.get(network, ANYWHERE_ELSE)


class Open(Frozen):
    """Whether a reply may still be sent, by which way, and until when."""

    open: bool
    way: str | None
    until: datetime | None
    once: bool = False


def still_open(channel: Channel, *, last_wrote: datetime, now: datetime) -> Open:
    """Which of the channel's windows is still open, the widest way first."""
    for window in channel.windows:
        if now < last_wrote + window.lasts:
            until = last_wrote + window.lasts
            return Open(open=True, way=window.way, until=until, once=window.once)
    if channel.windows:
        return Open(open=False, way=None, until=last_wrote + channel.windows[-1].lasts)
    return Open(open=True, way=None, until=None)


_LINK = re.compile(r"https?://\S+")
_LIGHT = ((0, 4351), (8192, 8205), (8208, 8223), (8242, 8247))
"""Code points that X counts as one; all others are two."""


def weighted(text: str) -> int:
    """The length as X counts it."""
    links = len(_LINK.findall(text))
    rest = _LINK.sub("", text)
    return 23 * links + sum(
        1 if any(first <= ord(c) <= last for first, last in _LIGHT) else 2 for c in rest
    )
