"""What a SOAP connection is told in the configuration."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit, urlunsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    ValidationInfo,
    create_model,
    model_validator,
)

from middleware.contract.http import Limits
from middleware.contract.paths import ConfigPath, in_folder

QName = Annotated[str, StringConstraints(pattern=r"^\{[^{}]+\}[^{}:\s]+$")]
"""A name with its namespace: `{urn:example}SessionHeader`."""

Host = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.-]+(:\d{1,5})?$", to_lower=True)]


def _is_address(wsdl: str) -> bool:
    return wsdl.partition(":")[0].lower() in ("http", "https")


def _file_or_address(wsdl: str, info: ValidationInfo) -> str:
    return wsdl if _is_address(wsdl) else str(in_folder(Path(wsdl), info))


class HeaderSettings(BaseModel):
    """A SOAP header that goes with every call, such as a session or an API key."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    element: QName
    values: dict[str, str] = Field(default_factory=dict)
    """Its elements and attributes by path; `secret:NAME` stands for a secret of the connection."""


class SoapSettings(BaseModel):
    """The connection's address, credentials and limits; secrets come separately."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    wsdl: Annotated[str, AfterValidator(_file_or_address)]
    """A file, or the address that the WSDL is fetched from."""
    bindings: ConfigPath | None = None
    """The bindings file; without it `bindings.yaml` beside the connection's mapping files."""
    endpoint: str | None = None
    """Where calls go. Without it the WSDL's own address, less its query."""
    use_wsdl_address: bool = False
    """Call the address that stands in the WSDL. Whoever writes the WSDL then chooses it."""
    on_premise: bool = False
    """Allow private and loopback addresses; an admin says so, not a document."""
    allowed_import_hosts: tuple[Host, ...] = ()
    """Further hosts (`host` or `host:port`) that the WSDL may import from."""
    wsdl_root: ConfigPath | None = None
    """The folder that a WSDL file's imports must lie in; without it the file's own folder."""
    cache_dir: ConfigPath | None = None
    """Where fetched WSDLs are kept; without it one is fetched by each process."""
    ca_file: ConfigPath | None = None
    soap_version: Literal["1.1", "1.2"] | None = None
    """Which of the WSDL's bindings to use; without it the first."""

    auth: Literal["none", "basic", "usernametoken", "header"] = "none"
    username: str | None = None
    """For basic and usernametoken; the secret `password` goes with it."""
    digest: bool = False
    """With usernametoken: send a digest of the password instead of the password."""
    header: HeaderSettings | None = None

    connect_s: Annotated[float, Field(gt=0, le=60)] = 5
    total_s: Annotated[float, Field(gt=0, le=600)] = 30
    max_bytes: Annotated[int, Field(gt=0, le=256 * 1024**2)] = 16 * 1024**2

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.auth in ("basic", "usernametoken") and not self.username:
            raise ValueError(f"auth {self.auth} needs a username")
        if self.auth == "header" and self.header is None:
            raise ValueError("auth header needs header.element and header.values")
        if self.digest and self.auth != "usernametoken":
            raise ValueError("digest goes with auth usernametoken")
        if not self.wsdl_is_remote and self.endpoint is None and not self.use_wsdl_address:
            raise ValueError("a WSDL file needs an endpoint, the address that calls go to")
        for name in ("wsdl", "endpoint"):
            parts = urlsplit(getattr(self, name) or "")
            if parts.username is not None or parts.password is not None:
                raise ValueError(f"{name} holds credentials; move them to the secrets")
        return self

    @property
    def wsdl_is_remote(self) -> bool:
        return _is_address(self.wsdl)

    @property
    def own_address(self) -> str:
        """Where calls go unless the WSDL's address is used."""
        if self.endpoint is not None:
            return self.endpoint
        parts = urlsplit(self.wsdl)
        return urlunsplit((parts.scheme, parts.netloc, parts.path, "", ""))

    @property
    def limits(self) -> Limits:
        return Limits(connect_s=self.connect_s, total_s=self.total_s, max_bytes=self.max_bytes)


class Secrets:
    """The connection's secrets: `password`, and those that the header's values name."""

    def __init__(self, settings: SoapSettings, given: Mapping[str, SecretStr]) -> None:
        needed: list[str] = []
        if settings.auth in ("basic", "usernametoken"):
            needed.append("password")
        if settings.auth == "header" and settings.header is not None:
            needed += [
                value.removeprefix("secret:")
                for value in settings.header.values.values()
                if value.startswith("secret:")
            ]
        kept: dict[str, Any] = {
            name: given[name].get_secret_value() if name in given else None for name in needed
        }
        model = create_model(
            "Secrets", **{name: (Annotated[str, Field(min_length=1)], ...) for name in kept}
        )  # type: ignore[call-overload]
        model.model_validate({name: value for name, value in kept.items() if value is not None})
        self._kept: dict[str, str] = kept

    def of(self, name: str) -> str:
        return self._kept[name]

    def values(self) -> tuple[str, ...]:
        return tuple(self._kept.values())

    def __repr__(self) -> str:
        return "Secrets(…)"
