"""What a connection to Salesforce is configured with."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    field_validator,
    model_validator,
)

from middleware.contract.http import Limits
from middleware.contract.paths import ConfigPath

Login = Literal["client_credentials", "jwt", "password", "token"]

_NEEDS: dict[Login, tuple[str, ...]] = {
    "client_credentials": ("consumer_key", "consumer_secret"),
    "jwt": ("consumer_key", "private_key"),
    "password": ("password", "security_token"),
    "token": ("access_token",),
}
_SHARED_HOSTS = ("https://login.salesforce.com", "https://test.salesforce.com")


class SalesforceSettings(BaseModel):
    """`[connections.<name>]` of an adapter `salesforce`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: Annotated[str, StringConstraints(pattern=r"^https://[^/?#@\s]+/?$")] = _SHARED_HOSTS[0]
    """The org's My Domain, such as `https://example.my.salesforce.com`: where the hub logs in."""
    login: Login = "client_credentials"
    """How the hub logs in; the connected app must allow that flow.

    `client_credentials` wants the secrets consumer_key and consumer_secret; `jwt` consumer_key and
    private_key (PEM); `password` password and security_token, over SOAP, which Salesforce retires
    in summer 2027; `token` an access_token that somebody else keeps fresh.
    """
    username: str | None = None
    """Whom the hub is there; for `jwt` and `password`."""
    audience: str | None = None
    """The `aud` of a JWT; None means login.salesforce.com, or test.salesforce.com for sandboxes."""
    api_version: Annotated[str, StringConstraints(pattern=r"^\d\d\.0$")] = "60.0"
    ca_file: ConfigPath | None = None
    connect_s: Annotated[float, Field(gt=0, le=60)] = 5
    total_s: Annotated[float, Field(gt=0, le=600)] = 30
    max_mb: Annotated[int, Field(gt=0, le=256)] = 16
    lag_s: Annotated[float, Field(ge=0, le=3600)] = 5
    """How far behind the org's clock a sync stops: what is younger belongs to the next run."""
    overlap_s: Annotated[float, Field(ge=0, le=86_400)] = 600
    """How far back a sync starts before the end of the last one.

    A row is stamped when it is saved and seen when its transaction commits. Salesforce ends a
    transaction after 10 minutes.
    """
    settle_s: Annotated[float, Field(ge=0, le=86_400)] = 600
    """How long Salesforce may still store a comment whose answer we gave up on; see overlap_s."""
    bulk_over: Annotated[int, Field(ge=0)] | None = 20_000
    """A first load of more rows than these goes through query jobs of Bulk API 2.0; None: never.
    """
    allow_duplicates: bool = False
    """Save a case or an order although a duplicate rule of the org advises against it."""

    @field_validator("url")
    @classmethod
    def _without_slash(cls, url: str) -> str:
        return url.rstrip("/")

    @field_validator("api_version")
    @classmethod
    def _new_enough(cls, version: str) -> str:
        if float(version) < 46:
            raise ValueError("46.0 is the oldest version whose answers this adapter reads")
        return version

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.login in ("jwt", "password") and not self.username:
            raise ValueError(f"login {self.login!r} needs a username")
        if self.login in ("client_credentials", "token") and self.url in _SHARED_HOSTS:
            raise ValueError(
                f"login {self.login!r} needs the org's own url, such as "
                "https://example.my.salesforce.com"
            )
        return self

    @property
    def limits(self) -> Limits:
        return Limits(
            connect_s=self.connect_s, total_s=self.total_s, max_bytes=self.max_mb * 1024**2
        )

    @property
    def lag(self) -> timedelta:
        return timedelta(seconds=self.lag_s)

    @property
    def overlap(self) -> timedelta:
        return timedelta(seconds=self.overlap_s)

    @property
    def settle(self) -> timedelta:
        return timedelta(seconds=self.settle_s)


class Secrets(BaseModel):
    """The connection's secrets; which of them are needed, `login` says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    consumer_key: SecretStr | None = None
    consumer_secret: SecretStr | None = None
    private_key: SecretStr | None = None
    password: SecretStr | None = None
    security_token: SecretStr | None = None
    access_token: SecretStr | None = None

    def of(self, name: str) -> str:
        """The secret's text, or nothing."""
        secret: SecretStr | None = getattr(self, name)
        return secret.get_secret_value() if secret else ""


class Configured(BaseModel):
    """Settings and secrets that fit together."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    settings: SalesforceSettings
    secrets: Secrets

    @model_validator(mode="after")
    def _can_log_in(self) -> Self:
        missing = [name for name in _NEEDS[self.settings.login] if not self.secrets.of(name)]
        # An org that trusts our address wants no security token.
        missing = [name for name in missing if name != "security_token"]
        if missing:
            raise ValueError(
                f"login {self.settings.login!r} needs the secrets {', '.join(missing)}"
            )
        return self
