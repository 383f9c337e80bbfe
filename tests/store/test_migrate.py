"""Migrations: they make the schema that the code expects, once, whoever runs them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, MetaData, Table, insert, text

from store import migrate
from store.database import connect
from store.job import JobKind, JobState, Outcome
from store.jobs import Jobs
from store.migrate import upgrade
from store.schema import metadata
from store.settings import Settings
from store.usage import Usage
from tests.harness.stores import OLD_JOB, Store, new_job

SCRIPTS = ScriptDirectory(str(Path(migrate.__file__).parent / "migrations"))
REVISIONS = [script.revision for script in SCRIPTS.walk_revisions()]


"""As every revision since 0001 can hold it. A revision that asks for more has to say here what older rows get."""


def test_the_migrated_schema_is_the_schema_of_the_code(store: Store) -> None:
    assert _differences(store.engine) == []
    upgrade(store.engine)
    assert _differences(store.engine) == []


def test_several_processes_may_migrate_at_once(tmp_path: Path, postgres_url: str) -> None:
    for url in (f"sqlite:///{tmp_path / 'together.sqlite3'}", _database(postgres_url, "together")):
        engines = [connect(url) for _ in range(4)]
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(upgrade, engines))
        assert _differences(engines[0]) == []
        for engine in engines:
            engine.dispose()


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
@pytest.mark.parametrize("revision", REVISIONS)
def test_a_job_of_every_revision_runs_after_the_upgrade(
    tmp_path: Path, postgres_url: str, backend: str, revision: str
) -> None:
    url = f"sqlite:///{tmp_path / 'old.sqlite3'}" if backend == "sqlite" else _database(postgres_url, f"r{revision}")
    engine = connect(url)
    upgrade(engine, revision)
    jobs_then = Table("jobs", MetaData(), autoload_with=engine)
    with engine.begin() as connection:
        connection.execute(insert(jobs_then).values(OLD_JOB | {"created_at": datetime.now(UTC)}))
    upgrade(engine)
    jobs = Jobs(engine, Settings(data_dir=tmp_path))
    job = jobs.claim(JobKind.DENOISE, "w")
    assert job is not None and (job.id, job.options) == ("job_old", {"strength": 0.5})
    done = jobs.finish(job, Outcome("jobs/job_old/1/result.png", {}, {}))
    assert done is not None and done.state is JobState.SUCCEEDED
    engine.dispose()


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
def test_a_day_counted_before_gpu_seconds_is_added_to_by_old_code_and_new(
    tmp_path: Path, postgres_url: str, backend: str
) -> None:
    url = f"sqlite:///{tmp_path / 'old.sqlite3'}" if backend == "sqlite" else _database(postgres_url, "before_gpus")
    engine = connect(url)
    upgrade(engine, "0005")
    then = _reflected(engine).tables["usage"]
    counts = dict.fromkeys(column.name for column in then.columns if not column.primary_key)
    day = datetime.now(UTC).date()

    def old_code(tenant: str) -> None:
        row = {"tenant": tenant, "day": day.isoformat(), "kind": "denoise", **counts, "worker_seconds": 3.0}
        with engine.begin() as connection:
            connection.execute(insert(then).values({name: value or 0 for name, value in row.items()}))

    old_code("before")
    upgrade(engine)
    old_code("beside")
    jobs = Jobs(engine, Settings(data_dir=tmp_path))
    jobs.create(new_job(tenant="before"))
    job = jobs.claim(JobKind.DENOISE, "w")
    assert job is not None
    jobs.finish(job, Outcome("key", {}, {"compute": 2.0}), "cuda")
    for tenant, expected in (("before", (5.0, 2.0)), ("beside", (3.0, 0.0))):
        used = Usage(engine).days(tenant, day, day + timedelta(days=1))  # midnight may come in between
        assert (sum(one.worker_seconds for one in used), sum(one.gpu_seconds for one in used)) == expected
    engine.dispose()


@pytest.mark.parametrize("revision", REVISIONS)
def test_code_of_every_revision_goes_on_beside_the_newest_schema(tmp_path: Path, revision: str) -> None:
    """A rolling update: what old code reads is still there, and what it does not write may be left out."""
    engine = connect(f"sqlite:///{tmp_path / 'rolling.sqlite3'}")
    upgrade(engine, revision)
    then = _reflected(engine)
    upgrade(engine)
    now = _reflected(engine)
    for table in then.tables.values():
        columns = now.tables[table.name].columns
        for old in table.columns:
            assert (str(columns[old.name].type), columns[old.name].nullable) == (str(old.type), old.nullable), old
        for new in columns:
            assert new.name in table.columns or new.nullable or new.server_default is not None, new
    engine.dispose()


def _reflected(engine: Engine) -> MetaData:
    found = MetaData()
    found.reflect(engine)
    return found


def _database(server_url: str, name: str) -> str:
    """URL of a new database on a PostgreSQL server."""
    server_url = server_url.replace("postgresql://", "postgresql+psycopg://")
    root = connect(server_url)
    with root.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    root.dispose()
    return server_url.replace("/postgres?", f"/{name}?")


def _differences(engine: Engine) -> list[Any]:
    with engine.connect() as connection:
        differences: list[Any] = compare_metadata(MigrationContext.configure(connection), metadata)
    return differences
