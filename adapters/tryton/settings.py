"""What a connection to Tryton is configured with."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints, field_validator

from middleware.contract.http import Limits
from middleware.contract.paths import ConfigPath


class TrytonSettings(BaseModel):
    """`[connections.<name>]` of an adapter `tryton`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: Annotated[str, StringConstraints(pattern=r"^https?://[^/?#@\s]+(/[^?#\s]*)?$")]
    """Where Tryton's server is, such as `https://erp.example.com`."""
    database: Annotated[str, StringConstraints(pattern=r"^[^/?#\s]+$")]
    """The database's name, as the login window lists it."""
    user: Annotated[str, StringConstraints(min_length=1, pattern=r"^[^:]+$")]
    """The login of the hub's own user in Tryton."""
    ca_file: ConfigPath | None = None
    connect_s: Annotated[float, Field(gt=0, le=60)] = 5
    total_s: Annotated[float, Field(gt=0, le=300)] = 30

    settle_s: Annotated[float, Field(ge=0, le=86_400)] = 120
    """How long Tryton may still commit a write whose answer we gave up on.

    Tryton ends reads after a minute (`[request] timeout`) and writes never: a create waits for the
    rows that others hold, repeats itself up to five times when the database refuses
    (`[database] retry`), and then commits, whether or not anybody still listens. Two minutes are
    four times what we wait ourselves. Where a proxy queues requests, or a nightly job holds the
    tables longer, raise it to what that takes.
    """
    confirm: bool = True
    """Quote and confirm replacement orders, so that the warehouse gets them. Without it they stay
    drafts that a person confirms in Tryton."""
    approve: bool = True
    """Submit and approve complaints that return or credit. The user needs Sales Administrator.
    Without it they wait for a person's approval in Tryton."""
    submit_cases: bool = False
    """Submit cases for approval rather than leave them as drafts."""
    accept_warnings: tuple[str, ...] = ("*",)
    """Which of Tryton's warnings are answered with *yes*: patterns of their names, such as
    `complaint_similar`. Any other one refuses the write. A person has approved the action in the
    hub by then, which is what Tryton asks for."""

    person_category: str | None = None
    """The party category that persons bear. Tryton does not tell persons from organisations, so
    without this every party is a contact; with it, only those of the category are. Every party is
    an account: anybody can be billed."""
    employer_relation: str | None = None
    """The relation type from a person to who they buy for, such as `Employed by` (module
    party_relationship). It makes the contact's account; without it that is the person's own."""

    overlap_s: Annotated[float, Field(ge=2, le=86_400)] = 600
    """How far back the next sync looks again. Tryton stamps a change with the time at which its
    transaction began, so a change becomes visible late, behind newer ones; the longest transaction
    of the ERP must be shorter than this."""
    lag_s: Annotated[float, Field(ge=0, le=3600)] = 2
    """How far from the present a sync stays: what is younger is left to the next one."""

    @field_validator("url")
    @classmethod
    def _without_slash(cls, url: str) -> str:
        return url.rstrip("/")

    @property
    def limits(self) -> Limits:
        return Limits(connect_s=self.connect_s, total_s=self.total_s)

    @property
    def settle(self) -> timedelta:
        return timedelta(seconds=self.settle_s)

    @property
    def overlap(self) -> timedelta:
        return timedelta(seconds=self.overlap_s)

    @property
    def lag(self) -> timedelta:
        return timedelta(seconds=self.lag_s)


class Secrets(BaseModel):
    """The connection's secrets: `password`, of the hub's user in Tryton."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    password: SecretStr

    @field_validator("password")
    @classmethod
    def _not_empty(cls, password: SecretStr) -> SecretStr:
        if not password.get_secret_value():
            raise ValueError("the password is empty")
        return password
