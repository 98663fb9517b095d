"""API keys, and the answers given under clients' idempotency keys."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, col, delete, select

from middleware.store.tables import ApiKeyRow, IdempotencyRow, SigningKeyRow

USE_IS_NOTED_EVERY = timedelta(minutes=5)


class Keys:
    def __init__(self, session: Session) -> None:
        self._session = session

    def add(self, row: ApiKeyRow) -> None:
        self._session.add(row)

    def add_signing_key(self, row: SigningKeyRow) -> None:
        """Keep a key of the hub's own, unless there is one under its name."""
        insert = (
            sqlite.insert
            if self._session.get_bind().dialect.name == "sqlite"
            else postgresql.insert
        )
        self._session.connection().execute(
            insert(SigningKeyRow).values(row.model_dump()).on_conflict_do_nothing()
        )

    def signing_key(self, name: str) -> str:
        found = self._session.get(SigningKeyRow, name)
        assert found is not None, "a signing key is made before it is read"
        return found.secret

    def get(self, key_id: str) -> ApiKeyRow | None:
        return self._session.get(ApiKeyRow, key_id)

    def all(self) -> list[ApiKeyRow]:
        return list(self._session.exec(select(ApiKeyRow).order_by(col(ApiKeyRow.id))))

    def use_is_due(self, row: ApiKeyRow, *, at: datetime) -> bool:
        """Whether `last_used_at` is old enough to be worth a write."""
        return row.last_used_at is None or at - row.last_used_at > USE_IS_NOTED_EVERY

    def answered(self, principal: str, route: str, key: str) -> IdempotencyRow | None:
        return self._session.get(IdempotencyRow, (principal, route, key))

    def take(
        self, *, principal: str, route: str, key: str, body_hash: str, at: datetime
    ) -> IdempotencyRow | None:
        """Take a key for a request that begins; answers the row of whoever was first, if any."""
        dialect = self._session.get_bind().dialect.name
        insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
        taken = self._session.connection().execute(
            insert(IdempotencyRow)
            .values(principal=principal, route=route, key=key, body_hash=body_hash, created_at=at)
            .on_conflict_do_nothing(index_elements=["principal", "route", "key"])
            .returning(col(IdempotencyRow.key))
        )
        return None if taken.first() is not None else self.answered(principal, route, key)

    def answer(
        self,
        *,
        principal: str,
        route: str,
        key: str,
        status: int,
        answer: dict[str, Any],
        location: str | None,
    ) -> None:
        """Keep the answer given under a key, in the transaction that made it true."""
        row = self.answered(principal, route, key)
        assert row is not None, "an answer is kept under a key that was taken"
        row.status, row.answer, row.location = status, answer, location
        self._session.add(row)

    def forget_answers(self, *, before: datetime) -> int:
        """Delete answers older than that; a key may be used anew afterwards."""
        result = self._session.exec(
            delete(IdempotencyRow).where(col(IdempotencyRow.created_at) < before)
        )
        return int(result.rowcount)
