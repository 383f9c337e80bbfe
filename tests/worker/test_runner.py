"""Which end of the work means what for the job; with work that ends in every way there is."""

from __future__ import annotations

import errno
import time
from dataclasses import replace
from typing import Any, NoReturn

import pytest
import torch
from sqlalchemy.exc import DataError, OperationalError

from store.blobs import attempt_key
from store.errors import BlobStoreError
from store.job import JobKind, JobState, Outcome
from store.model import NewModel
from store.usage import Usage
from tests.worker.conftest import Bench
from worker.attempt import Attempt
from worker.errors import LeaseLost, Refused, Retriable, ShuttingDown
from worker.runner import Work
from worker.stages import Stages


def test_nothing_to_do_is_said(bench: Bench) -> None:
    assert not bench.runner().run_next()


def test_a_stopping_worker_starts_nothing(bench: Bench) -> None:
    bench.send(b"")
    bench.grace.begin()
    assert not bench.runner().run_next()
    assert bench.store.jobs.due(JobKind.DENOISE) == 1


def test_each_message_that_waits_is_a_turn_and_no_more(bench: Bench) -> None:
    sent = [bench.send(b"") for _ in range(4)]
    for _ in range(2):
        bench.broker.ring(JobKind.DENOISE, "job_whichever")
    assert bench.runner(lambda attempt, stages: _stored(bench, attempt)).run_while_rung() == 3
    states = [bench.store.jobs.get(job.id).state for job in sent]
    assert states == [JobState.SUCCEEDED] * 3 + [JobState.QUEUED]
    assert bench.broker.unheard(JobKind.DENOISE) == 0


def test_messages_without_a_job_are_used_up(bench: Bench) -> None:
    for _ in range(3):
        bench.broker.ring(JobKind.DENOISE, "job_whichever")
    assert bench.runner().run_while_rung() == 0
    assert bench.broker.unheard(JobKind.DENOISE) == 0


def test_a_worker_told_to_stop_leaves_the_messages_to_others(bench: Bench) -> None:
    def work(attempt: Attempt, _: Stages) -> Outcome:
        bench.grace.begin()
        return _stored(bench, attempt)

    for _ in range(2):
        bench.broker.ring(JobKind.DENOISE, bench.send(b"").id)
    assert bench.runner(work).run_while_rung() == 1
    assert bench.broker.unheard(JobKind.DENOISE) == 2
    assert bench.store.jobs.due(JobKind.DENOISE) == 1


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (BlobStoreError("no answer"), "storage_unavailable"),
        (OperationalError("SELECT", {}, Exception("gone")), "storage_unavailable"),
        (OSError(errno.ENOSPC, "No space left on device"), "disk_full"),
        (MemoryError(), "out_of_memory"),
        (torch.cuda.OutOfMemoryError("CUDA out of memory"), "out_of_memory"),
        (ZeroDivisionError("secret path /srv/x"), "internal_error"),
    ],
)
def test_what_may_pass_is_tried_again_and_then_fails_without_inner_words(
    bench: Bench, error: Exception, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.jobs.RETRY_SECONDS", 0.0)
    job = bench.send(b"")
    states = []
    for _ in range(3):
        assert bench.runner(_raising(error)).run_next()
        states.append(bench.store.jobs.get(job.id).state)
    assert states == [JobState.QUEUED, JobState.QUEUED, JobState.FAILED]
    failed = bench.store.jobs.get(job.id)
    assert failed.error is not None and failed.error.code == code
    assert "secret" not in failed.error.detail


@pytest.mark.parametrize(("device", "on_gpu"), [("cpu", False), ("cuda", True)])
def test_a_job_s_seconds_are_counted_on_the_worker_s_device(bench: Bench, device: str, on_gpu: bool) -> None:
    def work(attempt: Attempt, stages: Stages) -> Outcome:
        stages.add("compute", 1.5)
        if attempt.job.options.get("refused"):
            raise Refused("broken_image", "cut short")
        return Outcome(None, {}, stages.seconds)

    for options in ({}, {"refused": True}):
        bench.send(b"", options=options)
        assert bench.runner(work, device).run_next()
    usage = Usage(bench.store.engine)
    (used,) = usage.days("default", *[usage.accepted_today("default")[0]] * 2)
    assert (used.succeeded, used.failed, used.worker_seconds) == (1, 1, 3.0)
    assert used.gpu_seconds == (3.0 if on_gpu else 0.0)


def test_a_broken_device_ends_the_process_after_the_job_is_safe(bench: Bench) -> None:
    job = bench.send(b"")
    with pytest.raises(Retriable) as raised:
        bench.runner(_raising(torch.AcceleratorError("CUDA error: device-side assert"))).run_next()
    assert raised.value.fatal
    assert bench.store.jobs.get(job.id).state is JobState.QUEUED


def test_a_stopped_worker_hands_its_job_back_and_rings(bench: Bench) -> None:
    job = bench.send(b"")
    bench.runner(_raising(ShuttingDown())).run_next()
    again = bench.store.jobs.get(job.id)
    assert (again.state, again.strikes) == (JobState.QUEUED, 0)
    assert bench.broker.unheard(JobKind.DENOISE) == 1


def test_a_canceled_job_leaves_no_bytes_of_its_attempt(bench: Bench) -> None:
    def work(attempt: Attempt, _: Stages) -> Outcome:
        key = attempt_key(attempt.job.id, attempt.job.attempt, "result.png")
        bench.store.blobs.put(key, b"x")
        bench.store.jobs.request_cancel(attempt.job.id)
        return Outcome(key, {}, {})

    job = bench.send(b"")
    bench.runner(work).run_next()
    assert bench.store.jobs.get(job.id).state is JobState.CANCELED
    assert list(bench.store.blobs.below(f"jobs/{job.id}/1")) == []


def test_a_lost_attempt_writes_nothing_and_cleans_up_after_itself(bench: Bench) -> None:
    def work(attempt: Attempt, _: Stages) -> Outcome:
        bench.store.jobs.hand_back("test:1")
        other = bench.store.jobs.claim(JobKind.DENOISE, "other")
        assert other is not None and other.attempt == 2
        for number in (1, 2):
            bench.store.blobs.put(attempt_key(attempt.job.id, number, "result.png"), b"x")
        return Outcome(attempt_key(attempt.job.id, 1, "result.png"), {}, {})

    job = bench.send(b"")
    bench.runner(work).run_next()
    now = bench.store.jobs.get(job.id)
    assert (now.state, now.attempt, now.lease_owner) == (JobState.RUNNING, 2, "other")
    kept = {blob.key for blob in bench.store.blobs.below("jobs")}
    assert kept == {job.input_key, attempt_key(job.id, 2, "result.png")}


def test_a_lost_lease_changes_nothing(bench: Bench) -> None:
    job = bench.send(b"")
    bench.runner(_raising(LeaseLost())).run_next()
    assert bench.store.jobs.get(job.id).state is JobState.RUNNING


def test_an_outcome_whose_answer_was_lost_counts_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = bench.runner(lambda attempt, stages: _stored(bench, attempt))
    finish = runner._jobs.finish
    calls: list[int] = []

    def answer_lost(*told: Any) -> object:
        calls.append(1)
        done = finish(*told)
        if len(calls) == 1:
            raise OperationalError("COMMIT", {}, Exception("connection reset"))
        return done

    monkeypatch.setattr(runner._jobs, "finish", answer_lost)
    job = bench.send(b"")
    runner.run_next()
    done = bench.store.jobs.get(job.id)
    assert (done.state, len(calls)) == (JobState.SUCCEEDED, 2)
    assert done.result_key is not None
    assert bench.store.blobs.get(done.result_key) == b"x"


def test_a_database_away_for_a_moment_costs_no_result(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = bench.runner(lambda attempt, stages: _stored(bench, attempt))
    finish = runner._jobs.finish
    back_at = time.monotonic() + 0.5

    def away(*told: Any) -> object:
        if time.monotonic() < back_at:
            raise OperationalError("UPDATE", {}, Exception("connection refused"))
        return finish(*told)

    monkeypatch.setattr(runner._jobs, "finish", away)
    job = bench.send(b"")
    runner.run_next()
    assert bench.store.jobs.get(job.id).state is JobState.SUCCEEDED


def test_an_end_that_the_database_refuses_is_a_strike_and_the_next_job_runs(bench: Bench) -> None:
    def work(attempt: Attempt, _: Stages) -> Outcome:
        if attempt.job.id == bad.id:
            stored = _stored(bench, attempt)
            return replace(stored, model=NewModel("mdl_x", None, 1, None, {}, "key", 1, "sha"))  # type: ignore[arg-type]
        return _stored(bench, attempt)

    bad, good = bench.send(b""), bench.send(b"")
    runner = bench.runner(work)
    assert runner.run_next() and runner.run_next()
    again = bench.store.jobs.get(bad.id)
    assert (again.state, again.strikes) == (JobState.QUEUED, 1)
    assert list(bench.store.blobs.below(f"jobs/{bad.id}/1")) == []
    assert bench.store.jobs.get(good.id).state is JobState.SUCCEEDED


def test_an_end_that_is_refused_whatever_it_is_is_left_to_the_sweep(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = bench.runner(lambda attempt, stages: _stored(bench, attempt))

    def refuse(*_: Any) -> NoReturn:
        raise DataError("UPDATE", {}, Exception("PostgreSQL text fields cannot contain NUL (0x00) bytes"))

    for end in ("finish", "release"):
        monkeypatch.setattr(runner._jobs, end, refuse)
    job = bench.send(b"")
    assert runner.run_next()
    assert bench.store.jobs.get(job.id).state is JobState.RUNNING


def test_a_capped_tenant_is_rung_for_when_a_place_is_free(bench: Bench) -> None:
    bench.send(b"")
    bench.runner(_raising(ZeroDivisionError()), max_running_per_tenant=1).run_next()
    assert bench.broker.unheard(JobKind.DENOISE) == 1


def _raising(error: Exception) -> Work:
    def work(_attempt: Attempt, _stages: Stages) -> NoReturn:
        raise error

    return work


def _stored(bench: Bench, attempt: Attempt) -> Outcome:
    key = attempt_key(attempt.job.id, attempt.job.attempt, "result.png")
    bench.store.blobs.put(key, b"x")
    return Outcome(key, {}, {})
