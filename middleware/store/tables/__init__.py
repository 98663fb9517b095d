"""The hub's tables. One class a table; columns say what a name cannot.

Times are aware and in UTC, on SQLite too. JSON columns hold what pydantic dumped in mode "json".
"""

from __future__ import annotations

from sqlmodel import SQLModel

from middleware.store.tables.access import (
    ApiKeyRow,
    IdempotencyRow,
    NodeRow,
)
from middleware.store.tables.actions import (
    ActionRow,
    ActionStepRow,
    InvitationRow,
    LineHoldRow,
    SigningKeyRow,
)
from middleware.store.tables.columns import Json, Moment, Number
from middleware.store.tables.complaints import (
    ArrivalRow,
    ClaimRow,
    ComplaintMergeRow,
    ComplaintMoveRow,
    ComplaintRow,
    GatheringKeyRow,
    HandoffRow,
    UnderstandingHeadsRow,
    UnderstandingLabelRow,
    UnderstandingTrainingRow,
)
from middleware.store.tables.connections import (
    ConnectionRemoteRow,
    ConnectionRow,
    ConnectionStateRow,
    InboxRow,
    QuarantineRow,
)
from middleware.store.tables.events import (
    AuditRow,
    DeliveryRow,
    EndpointRow,
    EventRow,
)
from middleware.store.tables.incidents import (
    AffectedRow,
    IncidentKeyRow,
    IncidentMemberRow,
    IncidentRow,
    SignalCountRow,
    SignalPastRow,
    SignalRow,
    SketchRow,
    VectorRow,
)
from middleware.store.tables.jobs import (
    AlarmRow,
    CursorRow,
    JobRow,
    ReceiptRow,
    RunRow,
)
from middleware.store.tables.people import (
    CannotLinkRow,
    HandleRow,
    IdentityIdentifierRow,
    IdentityRow,
    LabelRow,
    LinkRow,
    PersonChangeRow,
    PersonRow,
    ResolutionVersionRow,
    ReviewRow,
)
from middleware.store.tables.priority import (
    EscalationRow,
    ReachRow,
    SlaClockRow,
)
from middleware.store.tables.records import (
    ArticleKeyRow,
    ArticleRow,
    BlockingKeyRow,
    LikenessRow,
    NameCountRow,
    RecordChangeRow,
    RecordFollowerRow,
    RecordIdentifierRow,
    RecordRow,
)
from middleware.store.tables.versions import PolicyRow, RulebookRow, VersionRow

TABLES = SQLModel.metadata

__all__ = [
    "TABLES",
    "ActionRow",
    "ActionStepRow",
    "AffectedRow",
    "AlarmRow",
    "ApiKeyRow",
    "ArrivalRow",
    "ArticleKeyRow",
    "ArticleRow",
    "AuditRow",
    "BlockingKeyRow",
    "CannotLinkRow",
    "ClaimRow",
    "ComplaintMergeRow",
    "ComplaintMoveRow",
    "ComplaintRow",
    "ConnectionRemoteRow",
    "ConnectionRow",
    "ConnectionStateRow",
    "CursorRow",
    "DeliveryRow",
    "EndpointRow",
    "EscalationRow",
    "EventRow",
    "GatheringKeyRow",
    "HandleRow",
    "HandoffRow",
    "IdempotencyRow",
    "IdentityIdentifierRow",
    "IdentityRow",
    "InboxRow",
    "IncidentKeyRow",
    "IncidentMemberRow",
    "IncidentRow",
    "InvitationRow",
    "JobRow",
    "Json",
    "LabelRow",
    "LikenessRow",
    "LineHoldRow",
    "LinkRow",
    "Moment",
    "NameCountRow",
    "NodeRow",
    "Number",
    "PersonChangeRow",
    "PersonRow",
    "PolicyRow",
    "QuarantineRow",
    "ReachRow",
    "ReceiptRow",
    "RecordChangeRow",
    "RecordFollowerRow",
    "RecordIdentifierRow",
    "RecordRow",
    "ResolutionVersionRow",
    "ReviewRow",
    "RulebookRow",
    "RunRow",
    "SignalCountRow",
    "SignalPastRow",
    "SignalRow",
    "SigningKeyRow",
    "SketchRow",
    "SlaClockRow",
    "UnderstandingHeadsRow",
    "UnderstandingLabelRow",
    "UnderstandingTrainingRow",
    "VectorRow",
    "VersionRow",
]
