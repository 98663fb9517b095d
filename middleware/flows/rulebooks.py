"""The rule book in force. A new version has every open complaint scored anew."""

from __future__ import annotations

from middleware.domain.rulebook import RuleBook
from middleware.domain.rulebook_file import body_of, rulebook_of
from middleware.flows import versions
from middleware.flows.hub import Hub
from middleware.store.database import UnitOfWork

InForce = versions.InForce[RuleBook]


def _score_anew(hub: Hub, uow: UnitOfWork, version: int) -> None:
    name = f"prioritise.all:{version}"
    hub.engine.enqueue(uow, "prioritise.all", str(version), name=name)


RULEBOOK = versions.Document(
    "rulebook",
    "rule book",
    rows=lambda uow: uow.queue.rulebooks,
    configured=lambda hub: hub.options.rulebook,
    body_of=body_of,
    read=rulebook_of,
    shipped={},
    then=_score_anew,
)

in_force = RULEBOOK.in_force
version = RULEBOOK.version
declare = RULEBOOK.declare
put = RULEBOOK.put
put_back = RULEBOOK.put_back
