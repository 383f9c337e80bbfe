"""Rows as JSON lines: read in one snapshot while the service goes on, written into an empty database."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, Table, delete, insert, inspect, literal, select, text, true

from store.database import UtcDateTime
from store.schema import metadata, models, pictures, workers

BATCH = 500


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A connection that sees the database as it is now, however long it reads; writers are not kept waiting."""
    level = "AUTOCOMMIT" if engine.dialect.name == "sqlite" else "REPEATABLE READ"
    with engine.connect().execution_options(isolation_level=level) as connection:
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN")  # deferred: takes no lock, and in WAL mode keeps its snapshot
        else:
            connection.execute(text("SET LOCAL statement_timeout = 0"))
        yield connection


def revision(connection: Connection) -> str:
    """The migration that the database is at."""
    return str(connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one())


def lines(connection: Connection, table: Table) -> Iterator[bytes]:
    """The rows of a table, a JSON object a line; a database of an older revision has fewer columns, or none."""
    inspector = inspect(connection)
    if not inspector.has_table(table.name):
        return
    there = {column["name"] for column in inspector.get_columns(table.name)}
    query = select(*(column for column in table.columns if column.name in there))
    for row in connection.execute(query, execution_options={"yield_per": BATCH}).mappings():
        yield json.dumps(dict(row), default=_plain).encode() + b"\n"


def is_empty(connection: Connection) -> bool:
    """Whether nobody has worked here yet. The shipped models are no work: the start of a gateway enters them."""
    there = inspect(connection).get_table_names()
    one = literal(1)  # no column: the database may be of an older revision
    rows = [select(one).select_from(table).where(_is_work(table)).limit(1) for table in tables() if table.name in there]
    return not any(connection.execute(query).first() for query in rows)


def clear_shipped(connection: Connection) -> None:
    """Drop what a gateway's start enters by itself, so that the rows of a backup take its place."""
    connection.execute(delete(models).where(~_is_work(models)))


def load(connection: Connection, table: Table, rows: Iterable[bytes]) -> int:
    """Insert rows written by `lines`; how many."""
    count = 0
    batch: list[dict[str, Any]] = []
    for line in rows:
        batch.append(_typed(table, json.loads(line)))
        if len(batch) == BATCH:
            count += _insert(connection, table, batch)
            batch = []
    return count + _insert(connection, table, batch)


def tables() -> list[Table]:
    """All tables of a backup, those that others refer to first: without who is there now, and what is drawn again."""
    return [table for table in metadata.sorted_tables if table not in (workers, pictures)]


def _is_work(table: Table) -> ColumnElement[bool]:
    return models.c.tenant.is_not(None) if table is models else true()


def _insert(connection: Connection, table: Table, batch: list[dict[str, Any]]) -> int:
    if batch:
        connection.execute(insert(table), batch)
    return len(batch)


def _typed(table: Table, row: dict[str, Any]) -> dict[str, Any]:
    times = {column.name for column in table.columns if isinstance(column.type, UtcDateTime)}
    return {
        name: datetime.fromisoformat(value) if name in times and value is not None else value
        for name, value in row.items()
    }


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"a column holds {type(value).__name__}, which a backup cannot")
