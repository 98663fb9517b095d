"""Approvals: a chain of stages, each decided by somebody else."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Self

from middleware.contract.canonical import Frozen, Instant
from middleware.domain.policy import Stage
from middleware.domain.problems import ConflictError, ForbiddenError


class Signature(Frozen):
    """One stage: who may decide until when, and who did."""

    role: str | None = None
    """None means anyone who may approve."""
    delegates: tuple[str, ...] = ()
    within_s: int | None = None
    opened_at: Instant | None = None
    """When its turn came."""
    ends_at: Instant | None = None
    delegated_at: Instant | None = None
    """When its time was over and the delegates' began."""
    by: str | None = None
    at: Instant | None = None
    granted: bool | None = None
    reason: str | None = None

    def may(self, role: str | None) -> bool:
        """Whether somebody of this role may decide it now."""
        allowed = {self.role, *(self.delegates if self.delegated_at is not None else ())}
        return self.role is None or role in allowed


class Approval(Frozen):
    """An approval that is wanted, and what became of it."""

    rule: str | None = None
    """The rules that ask for it, in words."""
    stages: tuple[Signature, ...] = (Signature(),)
    by: str | None = None
    """Who had the last word: the last to grant it, or whoever denied it."""
    at: Instant | None = None
    granted: bool | None = None
    reason: str | None = None

    @classmethod
    def begun(
        cls, stages: tuple[Stage, ...], *, rule: str, at: datetime, lifetime: timedelta
    ) -> Self:
        """The approval that a verdict asks for; its first stage is open."""
        signatures = tuple(
            Signature(
                role=stage.role,
                delegates=stage.delegates,
                within_s=int(stage.within.total_seconds()) if stage.within else None,
            )
            for stage in stages
        )
        return cls(rule=rule, stages=signatures)._opened(0, at, lifetime)

    @classmethod
    def read(cls, kept: dict[str, Any] | None) -> Self:
        """An approval as it was kept."""
        return cls.model_validate(kept or {})

    def kept(self) -> dict[str, Any]:
        return self.model_dump(mode="json")

    @property
    def open(self) -> int | None:
        """Which stage is to be decided; None once all are, or one was denied."""
        if self.granted is not None:
            return None
        return next((i for i, stage in enumerate(self.stages) if stage.granted is None), None)

    @property
    def ends_at(self) -> datetime | None:
        """Until when the open stage may be decided."""
        return None if self.open is None else self.stages[self.open].ends_at

    def decided(
        self,
        *,
        by: str,
        role: str | None,
        grant: bool,
        reason: str | None,
        at: datetime,
        lifetime: timedelta,
    ) -> Self:
        """The approval after somebody's yes or no to its open stage.

        Raises ForbiddenError for somebody of another role, or who has approved a stage already,
        and ConflictError when the time is over.
        """
        number = self.open
        if number is None:
            raise ConflictError("the approval is decided already")
        approval = self
        if (ends := self.stages[number].ends_at) is not None and at >= ends:
            after = self.lapsed(at)
            if after is None:
                raise ConflictError("the time in which it could be approved is over")
            approval = after
        stage = approval.stages[number]
        if any(earlier.by == by for earlier in approval.stages[:number]):
            raise ForbiddenError("whoever approved one stage cannot approve another one")
        if not stage.may(role):
            wanted = ", ".join(filter(None, [stage.role, *_delegates(stage)]))
            raise ForbiddenError(
                f"this stage is approved by the role {wanted}; your key has"
                f" {'the role ' + role if role else 'no role'}",
                errors=[{"pointer": "", "code": "role", "detail": f"needs the role {wanted}"}],
            )
        signed = stage.model_copy(update={"by": by, "at": at, "granted": grant, "reason": reason})
        approval = approval._with(number, signed)
        if grant and number + 1 < len(self.stages):
            return approval._opened(number + 1, at, lifetime)
        return approval.model_copy(update={"by": by, "at": at, "granted": grant, "reason": reason})

    def lapsed(self, at: datetime) -> Self | None:
        """The approval after its open stage's time: with its delegates, or None when it is over."""
        number = self.open
        if number is None:
            return None
        stage = self.stages[number]
        if not stage.delegates or stage.delegated_at is not None or stage.within_s is None:
            return None
        assert stage.ends_at is not None
        ends = stage.ends_at + timedelta(seconds=stage.within_s)
        if at >= ends:
            return None
        return self._with(
            number, stage.model_copy(update={"delegated_at": stage.ends_at, "ends_at": ends})
        )

    def _opened(self, number: int, at: datetime, lifetime: timedelta) -> Self:
        stage = self.stages[number]
        within = timedelta(seconds=stage.within_s) if stage.within_s is not None else lifetime
        return self._with(
            number, stage.model_copy(update={"opened_at": at, "ends_at": at + within})
        )

    def _with(self, number: int, stage: Signature) -> Self:
        stages = (*self.stages[:number], stage, *self.stages[number + 1 :])
        return self.model_copy(update={"stages": stages})


def _delegates(stage: Signature) -> tuple[str, ...]:
    return stage.delegates if stage.delegated_at is not None else ()
