"""An attempt keeps its lease, stores progress, and stops when it should; over a real store."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from store.job import Job, JobState, Progress
from tests.harness.stores import Store
from worker.attempt import Attempt
from worker.errors import Canceled, LeaseLost, ShuttingDown
from worker.shutdown import GracePeriod

HEARTBEAT = 0.02


def test_the_lease_of_a_long_job_is_renewed(store: Store) -> None:
    jobs = store.with_settings(lease_seconds=1.5)
    job = _claimed(store)
    with Attempt(jobs, job, HEARTBEAT, GracePeriod(9)) as attempt:
        time.sleep(2.0)
        attempt.check()
        assert jobs.requeue_expired() == []
    _await(lambda: [expired.id for expired in jobs.requeue_expired()] == [job.id])


def test_progress_is_stored_with_an_event_when_it_changed(store: Store) -> None:
    job = _claimed(store)
    with Attempt(store.jobs, job, HEARTBEAT, GracePeriod(9)) as attempt:
        attempt.on_tile(1, 4)
        _await(lambda: store.jobs.get(job.id).progress.done == 1)
        time.sleep(5 * HEARTBEAT)
        attempt.on_tile(2, 4)
        _await(lambda: store.jobs.get(job.id).progress == Progress(2, 4))
    assert [event.data["done"] for event in store.jobs.events(job.id) if event.type == "progress"] == [1, 2]


def test_a_short_job_costs_the_database_nothing(store: Store) -> None:
    job = _claimed(store)
    with Attempt(store.jobs, job, 60.0, GracePeriod(9)) as attempt:
        attempt.on_tile(1, 1)
    assert store.jobs.get(job.id) == job


def test_a_cancel_is_heard_at_the_next_tile(store: Store) -> None:
    job = _claimed(store)
    with Attempt(store.jobs, job, HEARTBEAT, GracePeriod(9)) as attempt:
        attempt.on_tile(1, 4)
        store.jobs.request_cancel(job.id)
        _await_raise(attempt.check, Canceled)


def test_a_job_given_to_somebody_else_is_let_go(store: Store) -> None:
    job = _claimed(store)
    with Attempt(store.jobs, job, HEARTBEAT, GracePeriod(9)) as attempt:
        store.jobs.hand_back("worker:1")
        assert _claimed(store, new=False).attempt == 2
        _await_raise(attempt.check, LeaseLost)
    assert store.jobs.get(job.id).state is JobState.RUNNING


def test_a_stopping_worker_gives_its_job_some_time(store: Store) -> None:
    grace = GracePeriod(0.3)
    with Attempt(store.jobs, _claimed(store), HEARTBEAT, grace) as attempt:
        grace.begin()
        attempt.check()
        assert grace.begun
        _await_raise(attempt.check, ShuttingDown)


def _claimed(store: Store, new: bool = True) -> Job:
    if new:
        return store.running(owner="worker:1")
    job = store.jobs.claim(store.jobs.page("default").jobs[0].kind, "worker:2")
    assert job is not None
    return job


def _await(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _await_raise(check: Callable[[], None], expected: type[Exception]) -> None:
    deadline = time.monotonic() + 10
    with pytest.raises(expected):
        while time.monotonic() < deadline:
            check()
            time.sleep(0.01)
