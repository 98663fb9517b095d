"""Drafts, checks of texts and hand-offs, as requests ask for them and answers show them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from middleware.api.schemas.base import Asked, HubId, Moment, Short, Shown

Language = Annotated[str, StringConstraints(pattern=r"^[a-z]{2}$")]
Where = Literal["public", "private"]


class DraftAsked(Asked):
    """What a draft is to be; all parts may be left out."""

    channel: Where | None = None
    """By default a draft for each channel that the network has, the advised one first."""
    action_id: HubId | None = None
    """The action that it tells of; by default the complaint's latest."""
    language: Language | None = None
    """By default the complaint's own."""
    call_back: bool = False
    """Whether a private draft offers times for a call."""


class IncidentDraftAsked(Asked):
    """Where the reply to an incident is to be posted."""

    network: Annotated[str, StringConstraints(pattern=r"^[a-z0-9_-]{1,40}$")] = "x"
    language: Language = "en"


class DraftChecked(Asked):
    """A text that somebody wrote, and where it is to be sent."""

    text: Annotated[str, StringConstraints(min_length=1, max_length=20_000)]
    channel: Where
    complaint_id: HubId | None = None
    action_id: HubId | None = None
    network: Annotated[str, StringConstraints(pattern=r"^[a-z0-9_-]{1,40}$")] | None = None
    """Without a complaint it must be named."""
    language: Language | None = None


class FactShown(Shown):
    """Something that a system said, and where it stands."""

    name: str
    value: str
    source: str
    personal: bool
    """Whether only the customer may read it."""


class SentenceShown(Shown):
    text: str
    facts: list[str]
    """The names of the facts that it rests on."""


class CautionShown(Shown):
    """What speaks against sending a text."""

    code: str
    """too_long, window_closed, window_closing, only_one, personal_data, promise, shortened,
    language, written_in_private."""
    detail: str
    blocks: bool
    """Whether it should not be sent like this."""


class WindowShown(Shown):
    """Whether the network still takes such an answer, by which way and until when."""

    open: bool
    way: str | None
    until: Moment | None
    once: bool


class DraftShown(Shown):
    """A text made of facts, and what speaks against sending it. Sending stays in the helpdesk."""

    channel: Where
    language: str
    text: str
    sentences: list[SentenceShown]
    facts: list[FactShown]
    length: int
    """As the network counts."""
    limit: int
    window: WindowShown
    warnings: list[CautionShown]


class AdviceShown(Shown):
    """Where to answer, and why."""

    channel: Where
    why: str


class DraftsShown(Shown):
    """The drafts of a complaint."""

    advice: AdviceShown
    drafts: list[DraftShown]
    """The advised one first."""


class DraftCheckShown(Shown):
    """What speaks against sending a text."""

    may_be_sent: bool
    length: int
    limit: int
    window: WindowShown
    warnings: list[CautionShown]


class SlotShown(Shown):
    """A time for a call."""

    slot_from: Moment
    slot_to: Moment


class SlotsShown(Shown):
    """The next times that are free for a call, by the hours that are configured."""

    data: list[SlotShown]
    timezone: str


class HandoffAsked(Asked):
    """To whom a complaint is handed over, and why."""

    to: Short
    reason: Short
    valid_hours: Annotated[int, Field(ge=1, le=24 * 30)] = 72


class HandoffMadeShown(Shown):
    """A hand-off, to be opened by its id."""

    id: Annotated[str, Field(examples=["hnd_019c9d6f3a5e7c41b1d0a2f4c6e88b02"])]
    complaint_id: str
    to: str
    reason: str
    made_by: str
    made_at: Moment
    expires_at: Moment


class HandoffShown(HandoffMadeShown):
    """A complaint as it stood when it was handed over, and what has changed since."""

    packet: dict[str, Any]
    """complaint, thread, identity with why, orders, promises, actions, windows and claims."""
    changed: dict[str, Any]
    """Those blocks of the packet that are different now, as they are now."""
