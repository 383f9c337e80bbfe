"""The sweep finds what deaths and lost messages left."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from redis import Redis

from store.broker import Broker
from store.job import JobKind, JobState, Outcome
from tests.harness.ports import free_port
from tests.harness.stores import Store, new_job
from worker.leftovers import collect_unnamed
from worker.metrics import WorkerMetrics
from worker.sweep import Sweep

DENOISE = JobKind.DENOISE


@pytest.fixture
def broker(store: Store, redis_url: str) -> Iterator[Broker]:
    Redis.from_url(redis_url).flushall()
    broker = Broker(store.settings.model_copy(update={"redis_url": redis_url}))
    yield broker
    broker.close()


def test_an_expired_lease_is_queued_again_and_rung_for(store: Store, broker: Broker) -> None:
    store.queued()
    job = store.with_settings(lease_seconds=0.02).claim(DENOISE, "dead:1")
    assert job is not None
    time.sleep(0.05)
    _sweep(store, broker).once()
    assert store.jobs.get(job.id).state is JobState.QUEUED
    assert broker.unheard(DENOISE) == 1


def test_lost_rings_are_made_up_for_once(store: Store, broker: Broker) -> None:
    for _ in range(3):
        store.queued()
    broker.ring(DENOISE, "job_whichever")
    sweep = _sweep(store, broker)
    for _ in range(3):
        sweep.once()
        assert broker.unheard(DENOISE) == 3


def test_the_sweep_goes_on_while_redis_is_away(store: Store) -> None:
    store.queued()
    job = store.with_settings(lease_seconds=0.02).claim(DENOISE, "dead:1")
    assert job is not None
    time.sleep(0.05)
    away = Broker(store.settings.model_copy(update={"redis_url": f"redis://127.0.0.1:{free_port()}/0"}))
    _sweep(store, away).once()
    assert store.jobs.get(job.id).state is JobState.QUEUED
    away.close()


def test_bytes_past_their_time_go_with_their_history(store: Store, broker: Broker) -> None:
    short = store.with_settings(result_hours=0.01 / 3600)
    kept, old = store.running(), store.running()
    for jobs, job in ((store.jobs, kept), (short, old)):
        store.blobs.put(f"jobs/{job.id}/input", b"x")
        store.blobs.put(f"jobs/{job.id}/1/result.png", b"x")
        jobs.finish(job, Outcome(f"jobs/{job.id}/1/result.png", {}, {}))
    time.sleep(0.05)
    _sweep(store, broker).once()
    assert store.jobs.get(old.id).purged
    assert not store.jobs.get(kept.id).purged
    assert {blob.key.split("/")[1] for blob in store.blobs.below("jobs")} == {kept.id}


def test_orphans_are_collected_and_nothing_else(store: Store) -> None:
    known = store.queued()
    orphan = new_job()
    for job_id in (known.id, orphan.id):
        store.blobs.put(f"jobs/{job_id}/input", b"x")
    assert collect_unnamed(store.blobs, "jobs", store.jobs.known_keys, older_seconds=3600) == 0
    assert collect_unnamed(store.blobs, "jobs", store.jobs.known_keys, older_seconds=-60) == 1
    assert [blob.key for blob in store.blobs.below("jobs")] == [f"jobs/{known.id}/input"]


def test_the_sweep_runs_by_itself_until_it_is_stopped(store: Store, broker: Broker) -> None:
    sweep = _sweep(store, broker)
    sweep.start()
    store.queued()
    deadline = time.monotonic() + 10
    while not broker.unheard(DENOISE):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    sweep.stop()


def _sweep(store: Store, broker: Broker) -> Sweep:
    settings = store.settings.model_copy(update={"sweep_seconds": 0.05})
    return Sweep(store.engine, store.blobs, broker, settings, WorkerMetrics())
