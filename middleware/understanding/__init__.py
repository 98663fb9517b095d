"""What a text says: rules here, models behind the same protocol."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from middleware.domain.understanding import Understanding


@runtime_checkable
class Understands(Protocol):
    """Judges one text. Pure and bounded: time grows with the text's length, up to a limit.

    `language` is what the source says of the text (ISO 639-1). `products` are the articles that
    may be meant, name by SKU: those of the person's orders, not the whole catalogue.
    `order_patterns` describe the order numbers of the connections that the person buys through;
    see `middleware.understanding.patterns`.
    """

    @abstractmethod
    def understand(
        self,
        text: str,
        *,
        language: str | None = None,
        products: Mapping[str, str] | None = None,
        order_patterns: Sequence[str] = (),
    ) -> Understanding: ...


from middleware.understanding.rules import Rules  # noqa: E402 - it implements the protocol above

__all__ = ["Rules", "Understands"]
