"""The same suite against both stores: SQLite with a folder, and PostgreSQL with S3."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from store.blobs import Blobs
from store.database import connect
from store.ids import new_id
from store.job import Job, JobKind, NewJob
from store.jobs import Jobs
from store.migrate import upgrade
from store.models import Models
from store.settings import Settings


@dataclass
class Store:
    """One store under test."""

    settings: Settings
    engine: Engine
    jobs: Jobs
    blobs: Blobs
    models: Models

    def with_settings(self, **changed: Any) -> Jobs:
        """The same rows under other settings."""
        return Jobs(self.engine, self.settings.model_copy(update=changed))

    def queued(self, **values: Any) -> Job:
        """A job as the gateway makes it."""
        return self.jobs.create(new_job(**values)).job

    def running(self, owner: str = "worker:1", **values: Any) -> Job:
        """A job that a worker has claimed."""
        self.queued(**values)
        job = self.jobs.claim(JobKind.DENOISE, owner)
        assert job is not None
        return job


def new_job(**values: Any) -> NewJob:
    """A denoise job with little in it."""
    defaults: dict[str, Any] = {
        "id": new_id("job"),
        "kind": JobKind.DENOISE,
        "options": {"strength": 1.0},
        "input": {"width": 4, "height": 3},
        "input_key": "jobs/x/input",
        "pixels": 12,
    }
    return NewJob(**(defaults | values))


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file to copy: a test then starts in milliseconds."""
    path = tmp_path_factory.mktemp("template") / "b2s.sqlite3"
    engine = connect(f"sqlite:///{path}")
    upgrade(engine)
    engine.dispose()
    return path


@pytest.fixture(scope="session")
def postgres_engine(postgres_url: str) -> Iterator[Engine]:
    engine = connect(Settings(database_url=postgres_url).database)
    upgrade(engine)
    yield engine
    engine.dispose()


@pytest.fixture(params=["sqlite-folder", "postgresql-s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """An empty store of each kind."""
    make = _embedded if request.param == "sqlite-folder" else _cluster
    yield from make(request.getfixturevalue, tmp_path)


def _embedded(fixture: Callable[[str], Any], tmp_path: Path) -> Iterator[Store]:
    shutil.copy(fixture("sqlite_template"), tmp_path / "b2s.sqlite3")
    settings = Settings(data_dir=tmp_path)
    engine = connect(settings.database)
    yield _store(settings, engine)
    engine.dispose()


def _cluster(fixture: Callable[[str], Any], tmp_path: Path) -> Iterator[Store]:
    engine = fixture("postgres_engine")
    with engine.begin() as connection:
        connection.execute(text("TRUNCATE jobs, job_events, models"))
    settings = Settings(data_dir=tmp_path, database_url=fixture("postgres_url"), blob_url=fixture("s3_url"))
    yield _store(settings, engine)


def _store(settings: Settings, engine: Engine) -> Store:
    return Store(settings, engine, Jobs(engine, settings), Blobs(settings.blobs), Models(engine))
