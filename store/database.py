"""Engines for SQLite and PostgreSQL, and the one clock: the database's."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, DateTime, Dialect, Engine, Float, String, bindparam, create_engine, event, make_url
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import FunctionElement
from sqlalchemy.types import TypeDecorator

from store.errors import SettingsError

BUSY_SECONDS = 15.0
"""How long a writer waits for another one (SQLite), or a connection for its server (PostgreSQL)."""

_NOTICE_A_LOST_MACHINE = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}
"""libpq's options (seconds, milliseconds): without them a query to a machine that lost power hangs for two hours."""


def connect(url: str) -> Engine:
    """An engine for `url`; opens nothing yet.

    SQLite runs in WAL mode, so that readers never wait for a writer.

    Raises:
        SettingsError: the URL names a database that this product does not speak.
    """
    backend = make_url(url).get_backend_name()
    if backend == "sqlite":
        return _sqlite(url)
    if backend == "postgresql":
        options = {"connect_timeout": 5, "options": "-c statement_timeout=30s -c lock_timeout=15s"}
        options |= _NOTICE_A_LOST_MACHINE
        return create_engine(url, pool_size=8, max_overflow=24, pool_pre_ping=True, connect_args=options)
    raise SettingsError(f"B2S_DATABASE_URL speaks {backend!r}; use sqlite:/// or postgresql://.")


def _sqlite(url: str) -> Engine:
    if sqlite3.sqlite_version_info < (3, 35):  # RETURNING
        raise SettingsError(
            f"SQLite {sqlite3.sqlite_version} is too old (need 3.35); set B2S_DATABASE_URL to PostgreSQL."
        )
    engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False})

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _record: Any) -> None:
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A transaction that reads before it writes would fail on a busy database without waiting; this one waits.
        if connection.get_execution_options().get("isolation_level") != "AUTOCOMMIT":
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


@contextmanager
def single(engine: Engine) -> Iterator[Connection]:
    """A connection on which every statement is a transaction of its own: one round trip, no lock kept."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        yield connection


class UtcDateTime(TypeDecorator[datetime]):
    """A time with zone UTC in Python on every database (SQLite keeps none)."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class from_now(FunctionElement[datetime]):  # noqa: N801 - reads as the SQL function it is
    """The database's clock plus `seconds`. Machines disagree on the time, leases must not: no other clock is asked."""

    type = UtcDateTime()
    inherit_cache = True

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__(bindparam(None, round(seconds, 3), type_=Float()))


@compiles(from_now, "sqlite")
def _from_now_sqlite(element: from_now, compiler: SQLCompiler, **options: Any) -> str:
    seconds = compiler.process(element.clauses, **options)
    return f"strftime('%Y-%m-%d %H:%M:%f000', 'now', ({seconds}) || ' seconds')"


@compiles(from_now, "postgresql")
def _from_now_postgresql(element: from_now, compiler: SQLCompiler, **options: Any) -> str:
    return f"(clock_timestamp() + make_interval(secs => {compiler.process(element.clauses, **options)}))"


class today(FunctionElement[str]):  # noqa: N801 - reads as the SQL function it is
    """The day (UTC) by the database's clock, YYYY-MM-DD."""

    type = String()
    inherit_cache = True


@compiles(today, "sqlite")
def _today_sqlite(element: today, compiler: SQLCompiler, **options: Any) -> str:
    return "strftime('%Y-%m-%d', 'now')"


@compiles(today, "postgresql")
def _today_postgresql(element: today, compiler: SQLCompiler, **options: Any) -> str:
    return "to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD')"
