"""A text made ready for a model: the same at training and at run time."""

from __future__ import annotations

import html
import re

LONGEST = 4_000
"""Characters that a model reads: the first ones and the last, half each."""

_URL = re.compile(r"(?:https?://|www\.)\S{1,2000}")
_MENTION = re.compile(r"(?<!\w)@\w{1,80}")
_TAG = re.compile(r"#(\w{1,80})")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_LONG = re.compile(r"(\w)\1{3,}", re.IGNORECASE)
_SPACE = re.compile(r"\s+")


def readable(text: str) -> str:
    """The text without addresses of pages, with handles made alike and tags taken apart."""
    if len(text) > LONGEST:
        text = f"{text[: LONGEST // 2]} {text[-LONGEST // 2 :]}"
    text = _URL.sub(" ", html.unescape(text))
    text = _MENTION.sub("@user", text)
    text = _TAG.sub(lambda m: _CAMEL.sub(" ", m.group(1)).replace("_", " "), text)
    text = _LONG.sub(r"\1\1\1", text)
    return _SPACE.sub(" ", text).strip()
