from collections.abc import Iterator
from secrets import token_hex

import httpx
import pytest
from sqlalchemy import text

from launch.redis_server import redis_server
from store.database import connect
from tests.e2e.clustered import clustered_service
from tests.harness.servers import BUCKET
from tests.harness.service_process import Service, running_service


@pytest.fixture(scope="session", params=["one-machine", "cluster"])
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One service for all tests of this folder, as each kind of installation; its workers load torch once."""
    if request.param == "one-machine":
        with running_service(tmp_path_factory.mktemp("service")) as running:
            yield running
        return
    postgres_url: str = request.getfixturevalue("postgres_url")
    s3_environment: dict[str, str] = request.getfixturevalue("s3_environment")
    # A Redis of its own: on the session's, its workers would answer the rings of other tests.
    with redis_server(tmp_path_factory.mktemp("redis")) as redis_url, pytest.MonkeyPatch.context() as patch:
        for name, value in s3_environment.items():
            patch.setenv(name, value)
        folder = tmp_path_factory.mktemp("clustered")
        name = f"e2e_{token_hex(4)}"  # each time anew: pytest-xdist may ask for one kind, the other, and the one again
        with clustered_service(folder, _database(postgres_url, name), f"s3://{BUCKET}/{name}", redis_url) as running:
            yield running


@pytest.fixture
def http(service: Service) -> Iterator[httpx.Client]:
    # No connection is kept, so that each request meets another gateway of a cluster.
    limits = httpx.Limits(max_keepalive_connections=0)
    with httpx.Client(base_url=service.url, timeout=180, limits=limits) as client:
        yield client


def _database(server_url: str, name: str) -> str:
    """URL of a new database on a PostgreSQL server: other tests empty the tables of the first one."""
    engine = connect(server_url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return server_url.replace("/postgres?", f"/{name}?")
