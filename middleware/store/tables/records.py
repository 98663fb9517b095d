"""Copies of what the remote systems hold, and the indexes to find them by."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlmodel import Field, SQLModel

from middleware.store.tables.columns import GIVEN, Number, json, moment


class RecordRow(SQLModel, table=True):
    """A canonical record as last read from its remote, with the columns that reads go by."""

    __tablename__ = "record"
    __table_args__ = (
        sa.Index("ix_record_account", "connection", "account_id", "kind", "sorted_at"),
        sa.Index("ix_record_contact", "connection", "contact_id", "kind", "sorted_at"),
        sa.Index("ix_record_order", "connection", "order_id", "kind"),
        sa.Index("ix_record_number", "number", "kind"),
    )

    connection: str = Field(primary_key=True)
    kind: str = Field(primary_key=True)
    id: str = Field(primary_key=True)
    number: str | None = None
    account_id: str | None = None
    contact_id: str | None = None
    order_id: str | None = None
    sorted_at: datetime | None = moment(null=True)
    """What lists sort by, newest first: when an order was placed, a case opened."""
    body: dict[str, Any] = json()
    content_hash: str
    as_of: datetime = moment()
    deleted_at: datetime | None = moment(null=True)
    seen_by: str | None = None
    """The full run that last saw it; what the latest one did not see is gone."""


class RecordChangeRow(SQLModel, table=True):
    """A note that a customer's record is new, changed or gone, for who follows; see `followed`."""

    __tablename__ = "record_change"

    number: int | None = Field(default=None, primary_key=True, sa_type=Number)
    connection: str
    kind: str
    id: str


class RecordFollowerRow(SQLModel, table=True):
    """Who is to be told of changed customers' records."""

    __tablename__ = "record_follower"

    name: str = Field(primary_key=True)
    token: str
    """What the follower last read under; it has it, too."""
    since: datetime = moment()
    """When that was."""


class RecordIdentifierRow(SQLModel, table=True):
    """An exact, normalised identifier that a record bears: e-mail, phone, handle, number."""

    __tablename__ = "record_identifier"
    __table_args__ = (sa.Index("ix_record_identifier_record", "connection", "kind", "id"),)

    scheme: str = Field(primary_key=True)
    """email, phone, handle:<network>, native:<network>, external:<system>, number."""
    value: str = Field(primary_key=True)
    connection: str = Field(primary_key=True)
    kind: str = Field(primary_key=True)
    id: str = Field(primary_key=True)


class ArticleRow(SQLModel, table=True):
    """An article as a product, or a line of an order, last named it."""

    __tablename__ = "article"

    connection: str = Field(primary_key=True)
    sku: str = Field(primary_key=True)
    name: str
    """Empty where nothing has said it."""


class ArticleKeyRow(SQLModel, table=True):
    """What an article is found by in a text: `s:` and its number, `n:` and words of its name."""

    __tablename__ = "article_key"

    key: str = Field(primary_key=True)
    connection: str = Field(primary_key=True)
    sku: str = Field(primary_key=True)


class LikenessRow(SQLModel, table=True):
    """What a contact or account looks like, as far as it is compared with somebody who writes."""

    __tablename__ = "likeness"
    __table_args__ = (sa.UniqueConstraint("connection", "kind", "id"),)

    nid: int | None = Field(default=None, primary_key=True, sa_type=Number)
    """The record's short name in the index."""
    connection: str
    kind: str
    id: str
    profile: str
    """JSON of `middleware.resolution.profiles`."""
    keys: bytes
    """The keys that lead here, packed; what is taken away when the record changes."""
    names: bytes
    """The words of the name that are counted, packed."""


class BlockingKeyRow(SQLModel, table=True):
    """One of the hashed keys that lead to a record."""

    __tablename__ = "blocking_key"
    __table_args__ = ({"sqlite_with_rowid": False},)

    key: int = Field(primary_key=True, sa_type=sa.BigInteger, sa_column_kwargs=GIVEN)
    nid: int = Field(primary_key=True, sa_type=sa.BigInteger, sa_column_kwargs=GIVEN)


class NameCountRow(SQLModel, table=True):
    """How many records have a word in their name: how rare it is here."""

    __tablename__ = "name_count"

    key: int = Field(primary_key=True, sa_type=sa.BigInteger, sa_column_kwargs=GIVEN)
    n: int = Field(sa_type=sa.BigInteger)
