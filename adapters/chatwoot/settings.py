"""What a connection to Chatwoot is configured with."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints, field_validator

from middleware.contract.http import Limits
from middleware.contract.paths import ConfigPath

MOST_CHARACTERS = 150_000
"""The longest message that Chatwoot stores (app/models/message.rb)."""


class ChatwootSettings(BaseModel):
    """`[connections.<name>]` of an adapter `chatwoot`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: Annotated[str, StringConstraints(pattern=r"^https?://[^/?#@\s]+(/[^?#\s]*)?$")]
    """Where Chatwoot's dashboard is, such as `https://helpdesk.example.com`."""
    account_id: Annotated[int, Field(gt=0)]
    """The number after `/accounts/` in the dashboard's address."""
    ca_file: ConfigPath | None = None
    connect_s: Annotated[float, Field(gt=0, le=60)] = 5
    total_s: Annotated[float, Field(gt=0, le=300)] = 30
    settle_s: Annotated[float, Field(ge=0, le=86_400)] = 60
    """How long Chatwoot may still store a message whose answer we gave up on.

    rack-timeout ends a request after 15 seconds of work (its default, which Chatwoot keeps;
    `RACK_TIMEOUT_SERVICE_TIMEOUT` changes it), and a request waits for a thread of Puma before
    that. A minute covers both on a server that is in trouble but alive; whoever raises the one
    must raise the other.
    """
    longest_note: Annotated[int, Field(ge=500, le=MOST_CHARACTERS)] = MOST_CHARACTERS
    """Characters of a note, marker included; a longer one is shortened, and says so."""

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


class Secrets(BaseModel):
    """The connection's secrets: `token`, the access token of a user of the account."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    token: SecretStr

    @field_validator("token")
    @classmethod
    def _fits_a_header(cls, token: SecretStr) -> SecretStr:
        value = token.get_secret_value()
        if not value or not value.isascii() or not value.isprintable() or " " in value:
            raise ValueError("the token is empty, or holds a character that no token has")
        return token
