"""A cluster with one worker for the tests that do it no lasting harm, and one to be harmed for the others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from launch.redis_server import redis_server
from tests.harness.cluster import Cluster, Process, cluster
from tests.harness.images_of import noisy, png


@pytest.fixture(scope="session")
def small() -> bytes:
    """An image that takes a moment."""
    return png(noisy(32, 32))


@pytest.fixture(scope="session")
def large() -> bytes:
    """An image of so many tiles that no machine is done with it within a second or two."""
    return png(noisy(2048, 8192))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("cluster")
    with redis_server(folder / "redis") as redis_url, cluster(folder, redis_url) as running:
        yield running


@pytest.fixture(scope="module")
def worker(shared: Cluster) -> Process:
    """A worker that many tests share; Celery replaces its pool child when a test kills that."""
    return shared.ready(shared.worker())


@pytest.fixture
def own(tmp_path: Path, redis_url: str) -> Iterator[Cluster]:
    """A cluster of the test's own."""
    Redis.from_url(redis_url).flushall()
    with cluster(tmp_path, redis_url) as running:
        yield running
