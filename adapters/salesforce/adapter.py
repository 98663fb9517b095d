"""Salesforce: contacts, accounts, orders and cases to read; what it writes can be taken back.

A call-back is an Event, which has a start and an end, while a Task has a day only (Object
Reference: Event.StartDateTime and EndDateTime; Task.ActivityDate, whose time means nothing).
Custom fields of events belong to Activity and may be Unique external ids there.
"""

from __future__ import annotations

from typing import ClassVar, Self

from pydantic import BaseModel

from adapters.salesforce import soql
from adapters.salesforce.checking import Checking
from adapters.salesforce.client import SYSTEM
from adapters.salesforce.org import id_of
from adapters.salesforce.reading import Reads
from adapters.salesforce.settings import Configured, SalesforceSettings, Secrets
from adapters.salesforce.writing import Writes
from middleware.contract.capabilities import (
    CheckReport,
    Connection,
    Description,
    NamesItsRemote,
)
from middleware.contract.errors import Forbidden, NotOffered


class SalesforceAdapter(Reads, Writes, NamesItsRemote):
    """Speaks Salesforce's REST API as one user of one org."""

    system: ClassVar[str] = SYSTEM
    Settings: ClassVar[type[BaseModel]] = SalesforceSettings

    @classmethod
    def open(cls, connection: Connection) -> Self:
        settings = connection.settings_as(SalesforceSettings)
        secrets = Secrets.model_validate(dict(connection.secrets))
        return cls(connection, Configured(settings=settings, secrets=secrets))

    def check(self) -> CheckReport:
        """Logs in, and compares the org's objects, fields and permissions with the mappings."""
        return self._looking().check()

    def describe(self) -> Description:
        """The objects that the mappings use. Fields behind lookups and of children, as far as a
        mapping names them, are listed under their whole path."""
        return self._looking().describe()

    def remote_identity(self) -> str | None:
        """The org's id: every org has one of its own, every sandbox too, also one that is made anew
        under its old name. None where the user may not see the object Organization."""
        query = soql.select(("Id",), "Organization", limit=1)
        try:
            rows = self._client.query(query, operation="remote_identity")
        except (NotOffered, Forbidden):
            return None
        return id_of(rows[0]) if rows else None

    def _looking(self) -> Checking:
        mappings = self._connection.mappings.mappings
        return Checking(self._client, mappings, self._settings.api_version)
