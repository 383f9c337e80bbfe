"""Migrations: they make the schema that the code expects, once, whoever runs them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, text

from store.database import connect
from store.migrate import upgrade
from store.schema import metadata
from tests.stores import Store


def test_the_migrated_schema_is_the_schema_of_the_code(store: Store) -> None:
    assert _differences(store.engine) == []
    upgrade(store.engine)
    assert _differences(store.engine) == []


def test_several_processes_may_migrate_at_once(tmp_path: Path, postgres_url: str) -> None:
    root = connect(postgres_url)
    with root.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("CREATE DATABASE together"))
    root.dispose()
    for url in (f"sqlite:///{tmp_path / 'together.sqlite3'}", postgres_url.replace("/postgres?", "/together?")):
        engines = [connect(url.replace("postgresql://", "postgresql+psycopg://")) for _ in range(4)]
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(upgrade, engines))
        assert _differences(engines[0]) == []
        for engine in engines:
            engine.dispose()


def _differences(engine: Engine) -> list[Any]:
    with engine.connect() as connection:
        differences: list[Any] = compare_metadata(MigrationContext.configure(connection), metadata)
    return differences
