"""Real servers, started once a session where they are asked for (Redis, PostgreSQL, S3), and stores on them."""

from __future__ import annotations

import ctypes
import gc
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from launch.redis_server import redis_server
from store.database import connect
from store.migrate import upgrade
from store.schema import metadata
from store.settings import Settings
from tests.harness import tiers
from tests.harness.reaper import outlive_the_run
from tests.harness.servers import BUCKET, postgres_server, s3_server
from tests.harness.stores import Store, open_store


def pytest_configure(config: pytest.Config) -> None:
    """The run gets a process that outlives it and ends what it leaves.

    A shell's background job ignores Ctrl-C, and so would every process that a test starts and interrupts.
    """
    if not config.option.collectonly and not hasattr(config, "workerinput"):  # workers of pytest-xdist are below it
        outlive_the_run()
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        tiers.mark(item)


@pytest.fixture(scope="module", autouse=True)
def freed_memory() -> Iterator[None]:
    """What a module's tests let go of goes back to the system: the processes of a run share one memory."""
    yield
    gc.collect()
    if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Redis of this session's own."""
    with redis_server(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A PostgreSQL of this session's own."""
    with postgres_server() as url:
        yield url


@pytest.fixture(scope="session")
def s3_environment() -> Iterator[dict[str, str]]:
    """An S3 server over HTTP with one bucket: the variables that lead a client to it."""
    with s3_server() as environment:
        yield environment


@pytest.fixture
def s3_url(s3_environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """URL of an empty blob store on S3."""
    for name, value in s3_environment.items():
        monkeypatch.setenv(name, value)
    return f"s3://{BUCKET}/{tmp_path.name}"


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
    yield open_store(settings, engine)
    engine.dispose()


def _cluster(fixture: Callable[[str], Any], tmp_path: Path) -> Iterator[Store]:
    engine = fixture("postgres_engine")
    with engine.begin() as connection:
        connection.execute(text(f"TRUNCATE {', '.join(metadata.tables)}"))
    settings = Settings(data_dir=tmp_path, database_url=fixture("postgres_url"), blob_url=fixture("s3_url"))
    yield open_store(settings, engine)
