"""Arrivals: what somebody wrote to the company, and who they are as far as the source says."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from middleware.contract.canonical import Frozen, Instant, Text


class ArrivalEvent(StrEnum):
    """What happened to a message at its source."""

    CREATED = "created"
    EDITED = "edited"
    DELETED = "deleted"
    STATUS = "status"
    """The conversation or message changed its state; nothing new was said."""


class Author(Frozen):
    """Who wrote it, as the source knows them; every part is a claim of that source, not of ours.

    `network` names whose identity this is: `x`, `instagram`, `facebook`, `whatsapp`, `email`,
    or the helpdesk itself (`zendesk`) for people it knows only by its own id. `native_id` is that
    network's unchangeable id; `handle` and `display_name` may change any day.
    """

    network: Text
    native_id: str | None = None
    handle: str | None = None
    """Without a leading `@`, otherwise as the source writes it."""
    display_name: str | None = None
    emails: tuple[str, ...] = ()
    phones: tuple[str, ...] = ()
    """As the source writes them; WhatsApp ids are given in E.164."""
    external_ids: dict[str, str] = Field(default_factory=dict)
    """Ids of the same person elsewhere, by system, as the source has them on file."""
    location: str | None = None
    bio: str | None = None
    url: str | None = None
    followers: Annotated[int, Field(ge=0)] | None = None
    verified: bool | None = None
    """The network's own verification mark."""


class Reach(Frozen):
    """How far a message has gone, as its source counts it at the time of the event."""

    views: Annotated[int, Field(ge=0)] | None = None
    likes: Annotated[int, Field(ge=0)] | None = None
    shares: Annotated[int, Field(ge=0)] | None = None
    replies: Annotated[int, Field(ge=0)] | None = None

    @property
    def engagement(self) -> int | None:
        """Reactions together, of those that were told; None where none was."""
        given = [n for n in (self.likes, self.shares, self.replies) if n is not None]
        return sum(given) if given else None

    @property
    def told(self) -> bool:
        return self.views is not None or self.engagement is not None


class Arrival(Frozen):
    """One message, edit, deletion or state change, in the words of the hub.

    `source_id` is the message's own id, unique within a connection and the same for its edits and
    its deletion, so `(connection, source_id)` finds what is changed. `conversation` groups the
    arrivals of one issue: a ticket, a thread, a chat. `outgoing` messages were written by our own
    staff or bots: they are stored with the conversation and are never a complaint.
    """

    source_id: Text
    event: ArrivalEvent = ArrivalEvent.CREATED
    conversation: Text
    author: Author
    text: str = ""
    """Plain text; markup of the source is removed. Empty for deletions and most states."""
    language: str | None = None
    """ISO 639-1, where the source says so."""
    posted_at: Instant | None = None
    changed_at: Instant | None = None
    """The source's own time of this event; an older one never overwrites a newer one."""
    url: str | None = None
    brand_account: str | None = None
    """Which account of the company was addressed, by the network's own id."""
    direct: bool | None = False
    """True when only the company can read it: a direct message, a ticket, an e-mail. None where
    the source does not say."""
    order_numbers: tuple[str, ...] = ()
    """Order numbers from structured fields of the source, not from the text."""
    outgoing: bool = False
    internal: bool = False
    """A note that only our own people read. It answers nobody; it is outgoing, too."""
    automatic: bool = False
    """A machine wrote it: a greeting, a notice that it came in. The customer reads it and has no
    answer yet; it is outgoing, too."""
    written_by: tuple[str, ...] = ()
    """Ids and names of who wrote it for us, where the author does not say: an agent of a ticket
    that its source tells of by its customer, the app that an echo went through."""
    status: str | None = None
    """The source's word for the state of the conversation or message, where it gave one."""
    in_reply_to: str | None = None
    """`source_id` of the message that this one answers."""
    reach: Reach | None = None
    """Where the source counts it. The same message again, as edited, brings newer counts."""
