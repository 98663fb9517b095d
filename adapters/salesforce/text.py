"""Text of comments: our key at its end, and no more bytes than Salesforce stores."""

from __future__ import annotations

_SHORTENED = " … (shortened)"


def marker(key: str) -> str:
    """What stands at the end of a comment that bears this key."""
    return f"[amends:{key}]"


def ends_with_marker(text: object, key: str) -> bool:
    """Whether a comment bears this key: at its very end, where nobody's words can stand.

    A note's own text may quote another comment, marker and all; it ends with the marker of its own.
    """
    return isinstance(text, str) and text.rstrip().endswith(marker(key))


def shortened(text: str, room: int) -> str:
    """The text in at most `room` bytes of UTF-8, and a word about it when some of it is missing."""
    if len(text.encode()) <= room:
        return text
    kept = text.encode()[: room - len(_SHORTENED.encode())].decode(errors="ignore")
    return kept.rstrip() + _SHORTENED
