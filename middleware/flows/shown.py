"""What somebody was shown before they asked for it: the token that ties a create to its preview.

The token holds what the preview went by, in words and figures. When the action is asked for with
it, the same is worked out again; if it came out otherwise, nothing is done and the difference is
told.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from middleware.domain.actions import Wanted
from middleware.domain.problems import InvalidError, OutdatedPreviewError
from middleware.flows.hub import Hub
from middleware.flows.plan import Plan, PreviewedStep
from middleware.flows.seal import BrokenSealError

PURPOSE = "preview"

Facts = dict[str, Any]


def token(hub: Hub, made: Plan, previews: Sequence[PreviewedStep]) -> tuple[str, datetime]:
    """A token for what is shown, and until when it is good."""
    until = hub.clock() + hub.options.preview_lifetime
    body = {
        "wanted": _fingerprint(made.wanted),
        "until": until.isoformat(),
        "facts": facts_of(made),
        "effects": effects_of(previews),
    }
    return hub.seal.write(PURPOSE, body), until


def facts_of(made: Plan) -> Facts:
    """What a plan goes by: the order, the budget, the policy's verdict, the steps."""
    facts: Facts = {
        "steps": [f"{step.operation} in {step.connection}" for step in made.steps],
        "worth": str(made.value) if made.value else None,
        "needs approval": made.approval,
        "stays": list(made.stays),
    }
    if made.judged is not None:
        facts["policy"] = made.judged.verdict.outcome.value
    if made.order is not None:
        facts["order's status"] = made.order.status.value
        facts["order's lines"] = [
            f"{line.id}: {line.quantity.normalize():f} × {line.sku} at {line.unit_price}"
            for line in made.order.lines
        ]
        facts["sent to"] = _digest(made.order.ship_to)
    if made.budget is not None:
        for line in dict.fromkeys(take.line for take in made.takes):
            for what in ("pieces", "returned", "money"):
                left = made.budget.left(line, what)
                if left is not None:
                    name = f"line {line}" if line else "the order"
                    facts[f"{what} left of {name}"] = f"{left.normalize():f}"
    return facts


def effects_of(previews: Sequence[PreviewedStep]) -> Facts:
    """What the remotes themselves said they would do; what was worked out here is in the facts."""
    said: dict[str, list[str]] = {}
    for previewed in previews:
        if previewed.preview.exact:
            said.setdefault(
                f"{previewed.step.operation} in {previewed.step.connection}", []
            ).extend(
                [
                    *(
                        f"{effect.what} {effect.amount or ''}".strip()
                        for effect in previewed.preview.effects
                    ),
                    *previewed.preview.warnings,
                ]
            )
    return dict(said)


class Shown:
    """A token that came back, to be held against the world as it is now."""

    def __init__(self, hub: Hub, text: str, wanted: Wanted) -> None:
        """Raises InvalidError for a token that is not ours or was made for another request."""
        try:
            body = hub.seal.read(PURPOSE, text)
        except BrokenSealError:
            raise _wrong("not_ours", "must be the token of a preview by this hub") from None
        if body["wanted"] != _fingerprint(wanted):
            raise _wrong("other_request", "was made for another request than this one")
        self._too_old = hub.clock() > datetime.fromisoformat(body["until"])
        self._facts: Facts = body["facts"]
        self._effects: Facts = body["effects"]

    def hold_age(self) -> None:
        """Raise OutdatedPreviewError if the preview is too old to go by."""
        if self._too_old:
            raise OutdatedPreviewError("the preview is too old; look at a new one", changes=[])

    @property
    def has_effects(self) -> bool:
        return bool(self._effects)

    def hold_facts(self, made: Plan) -> None:
        """Raise OutdatedPreviewError if the plan now goes by other facts."""
        _hold(self._facts, facts_of(made))

    def hold_effects(self, previews: Sequence[PreviewedStep]) -> None:
        """Raise OutdatedPreviewError if a remote now says otherwise. One that says nothing now
        leaves what it said: it is asked again when the action is carried out."""
        now = effects_of(previews)
        _hold({name: said for name, said in self._effects.items() if name in now}, now)


def _hold(then: Facts, now: Facts) -> None:
    changes = [
        {"what": name, "then": then.get(name), "now": now.get(name)}
        for name in dict.fromkeys([*then, *now])
        if then.get(name) != now.get(name)
    ]
    if changes:
        told = ", ".join(str(change["what"]) for change in changes)
        raise OutdatedPreviewError(
            f"what the preview showed has changed: {told}; look at a new one", changes=changes
        )


def _fingerprint(wanted: Wanted) -> str:
    return hashlib.sha256(wanted.model_dump_json(exclude={"override"}).encode()).hexdigest()


def _digest(part: Any) -> str | None:
    """Personal data in a token would be readable: only whether it changed is kept."""
    if part is None:
        return None
    return hashlib.sha256(part.model_dump_json().encode()).hexdigest()[:12]


def _wrong(code: str, detail: str) -> InvalidError:
    return InvalidError(
        "The preview token does not fit.",
        errors=[{"pointer": "/preview_token", "code": code, "detail": detail}],
    )
