"""For every named point of `store.faults`: the process dies there, and the job still ends once, with one result."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from launch.redis_server import redis_server
from store.faults import POINTS
from store.job import Job, JobState
from store.job_files import JobFiles
from store.pictures import Pictures
from store.preview import REPORT
from tests.harness.cluster import Cluster, Process, cluster
from tests.harness.ports import free_port
from worker.leftovers import collect_unnamed

IN_POOL_CHILD = ("claimed", "tile", "stored", "finishing", "finished")
IN_GATEWAY = ("created", "rung")
IN_MAIN_PROCESS = ("sweeping", "purged")
IN_DRAWING = ("drawing", "drawn")
IN_BATCH = ("filed",)
IN_FINETUNE = ("checkpointed",)  # tests/integration/test_finetune.py


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which a file is the order to die."""
    return tmp_path_factory.mktemp("faults")


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory, faults: Path) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("cluster")
    with redis_server(folder / "redis") as redis_url, cluster(folder, redis_url, denoise_processes="2") as running:
        running.environment["B2S_FAULTS"] = str(faults)
        yield running


@pytest.fixture(scope="module")
def worker(faulty: Cluster) -> Process:
    """A worker of two pool children: one takes over what the other one dies of."""
    return faulty.ready(faulty.worker(), children=2)


def test_every_point_is_tested() -> None:
    assert {*IN_POOL_CHILD, *IN_GATEWAY, *IN_MAIN_PROCESS, *IN_DRAWING, *IN_BATCH, *IN_FINETUNE} == set(POINTS)


@pytest.mark.parametrize("point", IN_POOL_CHILD)
def test_a_death_in_the_work(faulty: Cluster, worker: Process, faults: Path, small: bytes, point: str) -> None:
    (faults / point).touch()
    job = faulty.finished(faulty.send(small))
    faulty.wait(lambda: not (faults / point).exists())
    _ended_once(faulty, job)
    assert job.attempt == (1 if point == "finished" else 2)


@pytest.mark.parametrize("point", ["tile", "stored", *IN_BATCH])
def test_a_death_in_a_batch(faulty: Cluster, worker: Process, faults: Path, small: bytes, point: str) -> None:
    """What was committed is not done again; the file that was not is done by another process."""
    job = faulty.store_batch([small] * 60)
    files = JobFiles(faulty.engine, faulty.settings)

    def first_is_done() -> bool:
        return files.page(job.id)[0].result_key is not None

    faulty.broker.ring(job.kind, job.id)
    faulty.wait(first_is_done)
    (faults / point).touch()
    ended = faulty.finished(job)
    assert ended.state is JobState.SUCCEEDED and ended.attempt == 2 and ended.strikes == 0
    done = files.page(job.id)
    attempts = [int(file.result_key.split("/")[4]) for file in done if file.result_key]
    assert len(attempts) == len(done) and attempts == sorted(attempts) and set(attempts) == {1, 2}
    made = [faulty.blobs.get(file.result_key) for file in done if file.result_key]
    assert all(data == made[0] for data in made)  # the same image each time
    finals = [event for event in faulty.jobs.events(job.id) if event.data.get("state") in ("succeeded", "failed")]
    assert len(finals) == 1


@pytest.mark.parametrize("point", IN_DRAWING)
def test_a_death_in_the_drawing(faulty: Cluster, worker: Process, faults: Path, small: bytes, point: str) -> None:
    """The picture is asked for again, as whoever waits for it does, and another process draws it."""
    job, pictures = faulty.finished(faulty.send(small)), Pictures(faulty.engine, faulty.settings)
    (faults / point).touch()

    def drawn() -> bool:
        picture = pictures.ask(job, REPORT)
        return picture.ended or not faulty.broker.ring_for_picture(picture.id, again=not picture.new)

    faulty.wait(drawn)
    picture = pictures.ask(job, REPORT)
    assert not (faults / point).exists() and picture.error is None
    assert picture.attempt == 2 and picture.key is not None
    assert faulty.blobs.head(picture.key).size == picture.bytes
    assert faulty.jobs.get(job.id).attempt == job.attempt


@pytest.mark.parametrize("point", IN_GATEWAY)
def test_a_death_in_the_gateway(own: Cluster, faults: Path, small: bytes, point: str) -> None:
    port = free_port()
    doomed = own.gateway(port, B2S_FAULTS=str(faults))
    _await_gateway(own, port)
    (faults / point).touch()
    with suppress(httpx.TransportError):  # the ring follows the answer: that may still get through
        _post(port, small, point)
    own.wait(lambda: not doomed.alive)
    own.gateway(port)
    _await_gateway(own, port)
    answer = _post(port, small, point)  # as a client does that heard nothing
    assert answer.status_code in (200, 202)
    own.worker()
    job = own.finished(own.jobs.get(answer.json()["id"]))
    _ended_once(own, job)
    assert [one.id for one in own.jobs.page("default").jobs] == [job.id]


def test_a_death_in_the_sweep(own: Cluster, tmp_path: Path, small: bytes) -> None:
    job = own.store(small)
    orders = tmp_path / "orders"  # of its own: workers of other tests sweep too, and would take the file away
    orders.mkdir()
    (orders / "sweeping").touch()
    doomed = own.worker(B2S_FAULTS=str(orders))
    own.wait(lambda: not doomed.alive)
    own.worker()
    _ended_once(own, own.finished(job))


def test_a_death_between_row_and_bytes_of_an_expired_job(tmp_path: Path, faults: Path, small: bytes) -> None:
    with redis_server(tmp_path / "redis") as redis_url, cluster(tmp_path, redis_url, result_hours="0.0001") as own:
        own.environment["B2S_FAULTS"] = str(faults)
        (faults / "purged").touch()
        doomed = own.ready(own.worker())
        job = own.finished(own.send(small))
        own.wait(lambda: not doomed.alive)  # the job expires 0.36 s after its end
        assert own.jobs.get(job.id).purged
        assert list(own.blobs.below(f"jobs/{job.id}")) != []
        assert collect_unnamed(own.blobs, "jobs", own.jobs.known_keys, older_seconds=-60) > 0
        assert list(own.blobs.below(f"jobs/{job.id}")) == []


def _ended_once(cluster: Cluster, job: Job) -> None:
    """One final event, one result, and that result is whole."""
    finals = [event for event in cluster.jobs.events(job.id) if event.data.get("state") in ("succeeded", "failed")]
    assert (job.state, len(finals)) == (JobState.SUCCEEDED, 1)
    assert job.result is not None and job.result_key == f"jobs/{job.id}/{job.attempt}/result.png"
    assert cluster.blobs.head(job.result_key).size == job.result["bytes"]


def _await_gateway(cluster: Cluster, port: int) -> None:
    def answers() -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{port}/livez").status_code == 200
        except httpx.TransportError:
            return False

    cluster.wait(answers)


def _post(port: int, image: bytes, key: str) -> httpx.Response:
    return httpx.post(
        f"http://127.0.0.1:{port}/denoise",
        files={"image": ("x.png", image)},
        headers={"Idempotency-Key": key},
        timeout=30,
    )
