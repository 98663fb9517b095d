"""Reply drafts for a complaint or an incident: the facts are gathered, the sentences put together.

Nothing is sent from here; that is the helpdesk's. Nothing is asked of a remote either: a draft says
what the store holds.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from middleware.contract.actions import Operation, Receipt
from middleware.contract.canonical import Kind, Money, Order, Ref, Shipment
from middleware.domain import drafts
from middleware.domain.actions import ActionState, StepState
from middleware.domain.channels import Channel, Open, channel_of, still_open
from middleware.domain.drafts import Advice, Caution, Draft, Fact
from middleware.domain.incidents import IncidentState
from middleware.domain.problems import InvalidError, NotFoundError
from middleware.flows import calls, plan
from middleware.flows.hub import Hub
from middleware.store.database import UnitOfWork
from middleware.store.tables import ActionRow, ArrivalRow, ComplaintRow, IncidentRow

READ_BY_ALL = frozenset({"x", "facebook", "instagram"})
"""Networks on which somebody may have written in public."""
HAVE_MESSAGES = READ_BY_ALL | {"whatsapp"}
UNDER_WAY = frozenset(
    {
        ActionState.AWAITING_APPROVAL,
        ActionState.QUEUED,
        ActionState.RUNNING,
        ActionState.WAITING,
        ActionState.UNKNOWN,
        ActionState.PARTIAL,
    }
)
TOLD = frozenset(Operation) - {Operation.NOTE, Operation.UNDO, Operation.WITHDRAWAL}


@dataclass(frozen=True)
class Drafts:
    """What can be answered, and which of it is advised."""

    advice: Advice
    drafts: tuple[Draft, ...]
    """The advised one first."""


@dataclass(frozen=True)
class Checked:
    """What speaks against a text that somebody wrote."""

    length: int
    limit: int
    window: Open
    cautions: tuple[Caution, ...]

    @property
    def may_be_sent(self) -> bool:
        return not any(caution.blocks for caution in self.cautions)


@dataclass(frozen=True)
class _Case:
    """A complaint as far as a reply goes by it."""

    complaint: ComplaintRow
    last: ArrivalRow
    language: str
    in_public: bool
    wrote_at: datetime


def of_complaint(
    hub: Hub,
    complaint_id: str,
    *,
    action_id: str | None = None,
    public: bool | None = None,
    language: str | None = None,
    offer_calls: bool = False,
) -> Drafts:
    """Drafts for a complaint: of the channel asked for, else of each that its network has.

    `action_id` is what they tell of, by default the latest; `offer_calls` lets a private draft
    offer times for a call. Raises NotFoundError, and InvalidError for a channel that is not there.
    """
    now = hub.clock()
    with hub.database.read() as uow:
        case = _case(uow, complaint_id)
        facts = _facts(hub, uow, case, action_id, now, offer_calls=offer_calls)
    spoken = language or case.language
    made: list[Draft] = []
    for one in (True, False) if public is None else (public,):
        channel = _channel(case, public=one)
        if channel is None:
            if public is not None:
                raise _no_such(case.complaint.network)
            continue
        made.append(
            drafts.compose(
                facts,
                public=one,
                language=spoken,
                channel=channel,
                last_wrote=case.wrote_at,
                now=now,
            )
        )
    private = _channel(case, public=False)
    assert private is not None, "somebody can always be answered in private"
    advice = drafts.advise(
        wrote_in_public=case.in_public,
        public=_channel(case, public=True) is not None,
        private=still_open(private, last_wrote=case.wrote_at, now=now),
        personal=any(fact.personal and fact.name != "name" for fact in facts),
    )
    made.sort(key=lambda draft: draft.channel != advice.channel)
    return Drafts(advice, tuple(made))


def of_incident(hub: Hub, incident_id: str, *, network: str, language: str) -> Draft:
    """One public reply to all that an incident is told of in; nothing in it is one customer's.

    That several are concerned is said once somebody has confirmed it. Raises NotFoundError, and
    InvalidError for a network without public answers.
    """
    now = hub.clock()
    with hub.database.read() as uow:
        row = uow.incidents.get(incident_id)
    if row is None:
        raise NotFoundError(f"No incident has the id {incident_id}.")
    channel = channel_of(network, public=True, wrote_in_public=True)
    if channel is None:
        raise _no_such(network)
    return drafts.compose(
        [*_of_incident(row), *_of_network(network)],
        public=True,
        language=language,
        channel=channel,
        last_wrote=now,
        now=now,
    )


def check(
    hub: Hub,
    text: str,
    *,
    public: bool,
    complaint_id: str | None,
    network: str | None,
    language: str | None,
    action_id: str | None = None,
) -> Checked:
    """What speaks against sending a text: length, window, personal data, promises.

    Of a complaint its network, language and facts are known; without one the network is asked for.
    Raises NotFoundError and InvalidError.
    """
    now = hub.clock()
    facts: list[Fact] = []
    in_public, wrote_at = public, now
    spoken = language
    if complaint_id is not None:
        with hub.database.read() as uow:
            case = _case(uow, complaint_id)
            facts = _facts(hub, uow, case, action_id, now, offer_calls=True)
        network = network or case.complaint.network
        spoken = spoken or case.language
        in_public, wrote_at = case.in_public, case.wrote_at
    if network is None:
        raise InvalidError(
            "Name the network, or the complaint that is answered.",
            errors=[{"pointer": "/network", "code": "missing", "detail": "is needed"}],
        )
    channel = channel_of(network, public=public, wrote_in_public=in_public)
    if channel is None:
        raise _no_such(network)
    window = still_open(channel, last_wrote=wrote_at, now=now)
    understood = hub.understands.understand(text, language=spoken)
    found = drafts.limits(text, channel, window, now)
    if public and not in_public:
        found.append(
            Caution(code="written_in_private", detail="the customer wrote where nobody else reads")
        )
    if public:
        found += drafts.personal_in(text, facts, understood.entities)
    found += drafts.promises_in(text, facts, language=spoken or understood.language.value or "en")
    return Checked(channel.length(text), channel.longest, window, tuple(found))


# --- facts ----------------------------------------------------------------------------------------


def _case(uow: UnitOfWork, complaint_id: str) -> _Case:
    complaint = uow.complaints.get(complaint_id)
    if complaint is None:
        raise NotFoundError(f"No complaint has the id {complaint_id}.")
    incoming = [
        a
        for a in uow.complaints.arrivals_of(complaint_id)
        if not a.outgoing and a.deleted_at is None
    ]
    if not incoming:
        raise NotFoundError(f"The complaint {complaint_id} has no message that could be answered.")
    last = incoming[-1]
    understood = (complaint.understanding or {}).get("language") or {}
    return _Case(
        complaint=complaint,
        last=last,
        language=last.language or understood.get("value") or "en",
        in_public=written_in_public(complaint, last),
        wrote_at=last.posted_at or last.received_at,
    )


def written_in_public(complaint: ComplaintRow, arrival: ArrivalRow) -> bool:
    """Whether everybody could read a message: as its source says, else by its address."""
    if complaint.network not in READ_BY_ALL:
        return False
    return not arrival.direct if arrival.direct is not None else arrival.url is not None


def _channel(case: _Case, *, public: bool) -> Channel | None:
    if public and not case.in_public:
        return None
    return channel_of(case.complaint.network, public=public, wrote_in_public=case.in_public)


def _no_such(network: str) -> InvalidError:
    return InvalidError(
        f"Nobody can be answered so on {network!r}.",
        errors=[{"pointer": "/channel", "code": "channel", "detail": "choose private"}],
    )


def _facts(
    hub: Hub,
    uow: UnitOfWork,
    case: _Case,
    action_id: str | None,
    now: datetime,
    *,
    offer_calls: bool,
) -> list[Fact]:
    complaint = case.complaint
    found = [*_of_words(complaint), *_of_network(complaint.network)]
    name = (case.last.author or {}).get("display_name")
    if name:
        found.append(Fact(name="name", value=name, source=f"arrival {case.last.source_id}"))
    order = _order(uow, complaint)
    if order is not None:
        found += _of_order(order, complaint)
    action = _action(uow, complaint, action_id)
    if action is not None:
        found += _of_action(hub, uow, action)
    found += _of_invitation(hub, uow, complaint, now)
    if complaint.incident_id is not None:
        incident = uow.incidents.get(complaint.incident_id)
        if incident is not None:
            found += [fact for fact in _of_incident(incident) if fact.name == "incident"]
    if offer_calls:
        found += _of_calendar(hub, uow, now)
    return list({fact.name: fact for fact in found}.values())


def _of_words(complaint: ComplaintRow) -> list[Fact]:
    reason = ((complaint.understanding or {}).get("reason") or {}).get("value")
    if reason is None:
        return []
    return [Fact(name="reason", value=reason, source=f"complaint {complaint.id}", personal=False)]


def _of_network(network: str) -> list[Fact]:
    if network not in HAVE_MESSAGES:
        return []
    return [Fact(name="direct_messages", value=network, source="the network", personal=False)]


def _order(uow: UnitOfWork, complaint: ComplaintRow) -> Order | None:
    if complaint.order_ref is None:
        return None
    stored = uow.records.get(Ref.parse(complaint.order_ref))
    return stored.record if stored is not None and isinstance(stored.record, Order) else None


def _of_order(order: Order, complaint: ComplaintRow) -> Iterable[Fact]:
    source = str(order.ref)
    if order.number is not None:
        yield Fact(name="order_number", value=order.number, source=source)
    chosen = (complaint.order_match or {}).get("chosen_lines") or []
    names = [line.name for line in order.lines if line.id in chosen and line.name]
    if len(names) == 1:
        yield Fact(name="item", value=names[0], source=source)


def _action(uow: UnitOfWork, complaint: ComplaintRow, action_id: str | None) -> ActionRow | None:
    """The action that is told of: the one asked for, else the complaint's latest remedy."""
    if action_id is not None:
        action = uow.actions.get(action_id)
        if action is None or action.complaint_id != complaint.id:
            raise NotFoundError(f"The complaint has no action {action_id}.")
        return action
    rows = uow.actions.page(before=None, limit=50, complaint_id=complaint.id)
    remedies = [row for row in rows if Operation(row.kind) in TOLD - {Operation.INVITATION}]
    return next((row for row in remedies if not _came_to_nothing(row)), None)


def _came_to_nothing(action: ActionRow) -> bool:
    return ActionState(action.state).changed_nothing or action.undone_by is not None


def _of_action(hub: Hub, uow: UnitOfWork, action: ActionRow) -> Iterable[Fact]:
    """What a remote said of an action: only a done step with its receipt is told as done."""
    source = f"action {action.id}"
    if _came_to_nothing(action) or Operation(action.kind) not in TOLD:
        return
    state = ActionState(action.state)
    step = next(
        (
            s
            for s in uow.actions.steps_of(action.id)
            if s.operation == action.kind and s.state == StepState.DONE and s.receipt is not None
        ),
        None,
    )
    if step is None:
        if state in UNDER_WAY:
            yield Fact(name="under_way", value=action.kind, source=source)
        return
    receipt = Receipt.model_validate(step.receipt)
    if receipt.status == "pending":
        yield Fact(name="under_way", value=action.kind, source=source)
        return
    yield Fact(name=f"done_{action.kind}", value=receipt.status, source=source)
    if receipt.number is not None:
        yield Fact(name="action_number", value=receipt.number, source=str(receipt.ref))
    if action.value is not None and action.kind == Operation.CREDIT:
        amount = Money.model_validate(action.value)
        value = f"{amount.amount:.2f} {amount.currency}"
        yield Fact(name="action_amount", value=value, source=source)
    request = action.request["request"]
    if request.get("deliver_by"):
        yield Fact(name="deliver_by", value=request["deliver_by"], source=source)
    if action.kind == Operation.CALL_BACK:
        for name, key in (("call_from", "slot_from"), ("call_to", "slot_to")):
            at = datetime.fromisoformat(request[key])
            yield Fact(name=name, value=_local(hub, at), source=str(receipt.ref))
    if receipt.ref.kind is Kind.ORDER:
        yield from _of_shipments(uow, receipt.ref)


def _of_shipments(uow: UnitOfWork, order: Ref) -> Iterable[Fact]:
    """When the goods of a replacement leave, as its system says."""
    for stored in uow.records.of_orders(Kind.SHIPMENT, [order]):
        parcel, source = stored.record, str(stored.record.ref)
        if not isinstance(parcel, Shipment):
            continue
        if parcel.tracking_number is not None:
            yield Fact(name="tracking", value=parcel.tracking_number, source=source)
        if parcel.carrier is not None:
            yield Fact(name="carrier", value=parcel.carrier, source=source, personal=False)
        if parcel.planned_for is not None and parcel.shipped_at is None:
            planned = parcel.planned_for.isoformat()
            yield Fact(name="planned_for", value=planned, source=source)


def _of_invitation(
    hub: Hub, uow: UnitOfWork, complaint: ComplaintRow, now: datetime
) -> Iterable[Fact]:
    """The signed link of an invitation that is still good, where there is one."""
    if hub.options.public_url is None:
        return
    for action in uow.actions.page(before=None, limit=50, complaint_id=complaint.id):
        if action.kind != Operation.INVITATION or _came_to_nothing(action):
            continue
        invitation = uow.actions.invitation_of(action.id)
        if invitation is None or invitation.used_at is not None or invitation.expires_at <= now:
            continue
        if invitation.revoked_at is not None:
            continue
        link, source = plan.link_of(hub, invitation), f"invitation {invitation.id}"
        yield Fact(name="link", value=link, source=source)
        yield Fact(name="link_until", value=_local(hub, invitation.expires_at), source=source)
        return


def _of_calendar(hub: Hub, uow: UnitOfWork, now: datetime) -> Iterable[Fact]:
    free = calls.free(hub, uow, now, limit=hub.options.call_hours.offered)
    if free:
        told = "; ".join(f"{_local(hub, begin)}–{_local(hub, end)[-5:]}" for begin, end in free)
        yield Fact(name="slots", value=told, source="call_hours", personal=False)


def _of_incident(row: IncidentRow) -> list[Fact]:
    """What may be said of an incident to everybody: only once somebody confirmed it."""
    source = f"incident {row.id}"
    found = []
    if row.state == IncidentState.CONFIRMED:
        found.append(Fact(name="incident", value=row.title, source=source, personal=False))
    reason = (row.proposed or {}).get("reason")
    if reason is not None and reason != "other":
        found.append(Fact(name="reason", value=reason, source=source, personal=False))
    return found


def _local(hub: Hub, moment: datetime) -> str:
    """A time as customers of this company read it."""
    zone = ZoneInfo(hub.options.call_hours.timezone)
    return f"{moment.astimezone(zone):%Y-%m-%d %H:%M}"
