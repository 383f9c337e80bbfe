"""Who gets which job, for how long, and what a worker's death costs: claims, leases, strikes."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Connection, RowMapping, insert, select, text

from store.ids import new_id
from store.job import Job, JobError, JobKind, JobState, Outcome, Progress, Signal
from store.options import REVISION
from store.schema import jobs as rows
from tests.harness.stores import Store, new_job

DENOISE = JobKind.DENOISE
BROKEN = JobError("broken_image", "The file is cut short.")
OUTCOME = Outcome("jobs/x/1/result.png", {"bytes": 3}, {"compute": 0.1}, Progress(2, 2), "jobs/x/1/report.json")


def test_an_empty_queue_gives_nothing(store: Store) -> None:
    assert store.jobs.claim(DENOISE, "w") is None
    store.queued(kind=JobKind.FINETUNE)
    assert store.jobs.claim(DENOISE, "w") is None


def test_jobs_of_one_tenant_run_in_the_order_they_came(store: Store) -> None:
    sent = [store.queued().id for _ in range(4)]
    assert [_claimed(store).id for _ in sent] == sent


def test_tenants_take_turns(store: Store) -> None:
    many = [store.queued(tenant="many").id for _ in range(5)]
    one = store.queued(tenant="one").id
    assert store.jobs.queue_positions([*many, one]) == {
        many[0]: 1, one: 2, many[1]: 3, many[2]: 4, many[3]: 5, many[4]: 6,
    }  # fmt: skip
    assert [_claimed(store).id for _ in range(3)] == [many[0], one, many[1]]
    late = store.queued(tenant="late").id
    assert store.jobs.queue_positions([late, many[2]]) == {many[2]: 1, late: 2}


def test_ten_thousand_jobs_of_one_tenant_do_not_starve_another_s_single_one(store: Store) -> None:
    first = store.queued(tenant="many")
    with store.engine.begin() as connection:
        row = dict(connection.execute(select(rows).where(rows.c.id == first.id)).mappings().one())
        copies = [row | {"id": new_id("job"), "turn": turn} for turn in range(1, 10_000)]
        connection.execute(insert(rows), copies)
    jobs = store.with_settings(max_queued=20_000)
    assert jobs.stats(DENOISE).queued == 10_000
    for _ in range(3):  # each comes after no more than the one that runs, however many wait
        one = jobs.create(new_job(tenant="one")).job
        assert one.id in {_claimed(store).id, _claimed(store).id}


def test_simultaneous_claims_do_not_pass_a_tenant_s_cap(store: Store) -> None:
    jobs = store.with_settings(max_running_per_tenant=2)
    for _ in range(12):
        store.queued(tenant="many")
    ready = threading.Barrier(6)

    def claim(worker: int) -> bool:
        ready.wait()
        return jobs.claim(DENOISE, f"worker:{worker}") is not None

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(claim, range(6))) == 2
    assert jobs.stats(DENOISE).running == 2


def test_a_tenant_at_its_cap_waits(store: Store) -> None:
    jobs = store.with_settings(max_running_per_tenant=1)
    first, second = store.queued(tenant="a"), store.queued(tenant="a")
    other = store.queued(tenant="b")
    running = jobs.claim(DENOISE, "w")
    assert running is not None and running.id == first.id
    next_one = jobs.claim(DENOISE, "w")
    assert next_one is not None and next_one.id == other.id
    assert jobs.claim(DENOISE, "w") is None
    jobs.finish(running, OUTCOME)
    last = jobs.claim(DENOISE, "w")
    assert last is not None and last.id == second.id


def test_many_claimers_never_share_a_job(store: Store) -> None:
    sent = {store.queued().id for _ in range(40)}

    def claim_all(worker: int) -> list[str]:
        mine = []
        while job := store.jobs.claim(DENOISE, f"worker:{worker}"):
            mine.append(job.id)
        return mine

    with ThreadPoolExecutor(8) as pool:
        claimed = [job_id for mine in pool.map(claim_all, range(8)) for job_id in mine]
    assert len(claimed) == 40
    assert set(claimed) == sent


# ---- leases ----------------------------------------------------------------------------------------------------------


def test_the_late_result_of_a_stalled_worker_is_refused(store: Store) -> None:
    jobs = store.with_settings(lease_seconds=0.05)
    store.queued()
    stalled = jobs.claim(DENOISE, "stalled")
    assert stalled is not None
    time.sleep(0.1)
    assert [job.id for job in jobs.requeue_expired()] == [stalled.id]
    second = store.jobs.claim(DENOISE, "healthy")
    assert second is not None
    assert (second.id, second.attempt) == (stalled.id, 2)
    assert jobs.renew(stalled) is Signal.LOST
    assert jobs.finish(stalled, OUTCOME) is None
    assert jobs.fail(stalled, BROKEN) is None
    done = store.jobs.finish(second, Outcome("jobs/x/2/result.png", {}, {}))
    assert done is not None
    assert done.result_key == "jobs/x/2/result.png"


def test_a_renewed_lease_does_not_expire(store: Store) -> None:
    jobs = store.with_settings(lease_seconds=0.05)
    store.queued()
    job = jobs.claim(DENOISE, "w")
    assert job is not None
    store.jobs.renew(job)
    time.sleep(0.1)
    assert jobs.requeue_expired() == []


def test_a_job_fails_after_its_last_attempt(store: Store) -> None:
    jobs = store.with_settings(lease_seconds=0.02, max_attempts=3)
    store.queued()
    states = []
    for _ in range(3):
        assert jobs.claim(DENOISE, "dying") is not None
        time.sleep(0.05)
        states += [job.state for job in jobs.requeue_expired()]
    assert states == [JobState.QUEUED, JobState.QUEUED, JobState.FAILED]
    failed = jobs.page("default").jobs[0]
    assert failed.error is not None
    assert failed.error.code == "worker_lost"
    assert jobs.claim(DENOISE, "w") is None


def test_a_job_whose_end_is_refused_holds_up_no_other(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = store.with_settings(lease_seconds=0.02, max_attempts=1)
    lost = [store.queued(tenant=tenant).id for tenant in ("a", "b", "c")]
    for _ in lost:
        jobs.claim(DENOISE, "dying")
    time.sleep(0.05)

    def refuse_one(connection: Connection, row: RowMapping) -> None:
        if row["id"] == lost[1]:
            connection.execute(text("SELECT no_such_column"))

    monkeypatch.setattr("store.webhooks.announce", refuse_one)
    assert sorted(job.id for job in jobs.requeue_expired()) == [lost[0], lost[2]]
    assert jobs.get(lost[1]).state is JobState.RUNNING
    monkeypatch.undo()
    assert [job.id for job in jobs.requeue_expired()] == [lost[1]]


def test_attempts_that_get_further_are_not_counted_and_others_are(store: Store) -> None:
    jobs = store.with_settings(lease_seconds=0.02, max_attempts=3)
    job_id = store.queued().id

    def die_at(step: int | None) -> JobState:
        job = jobs.claim(DENOISE, "dying")
        assert job is not None
        if step is not None:
            jobs.got_further(job, step)
        time.sleep(0.05)
        assert [lost.id for lost in jobs.requeue_expired()] == [job_id]
        return jobs.get(job_id).state

    assert [die_at(step) for step in (None, 10, 20, 30, 40, 50)] == [JobState.QUEUED] * 6
    assert jobs.get(job_id).strikes == 1
    # Begun anew, and no further than before: so it would go on for ever
    assert [die_at(step) for step in (10, 50)] == [JobState.QUEUED, JobState.FAILED]


def test_whoever_lost_its_attempt_forgives_nothing(store: Store) -> None:
    jobs = store.with_settings(lease_seconds=0.02)
    store.queued()
    lost = jobs.claim(DENOISE, "frozen")
    assert lost is not None
    time.sleep(0.05)
    jobs.requeue_expired()
    jobs.got_further(lost, 10)
    assert jobs.get(lost.id).strikes == 1
    jobs.claim(DENOISE, "next")
    jobs.got_further(lost, 10)
    assert jobs.get(lost.id).strikes == 1


def test_a_released_job_waits_before_its_next_attempt(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    job = store.running()
    again = store.jobs.release(job, BROKEN)
    assert again is not None
    assert (again.state, again.strikes, again.error) == (JobState.QUEUED, 1, None)
    assert store.jobs.claim(DENOISE, "w") is None
    assert (store.jobs.due(DENOISE), store.jobs.next_due(DENOISE, 9)) == (0, [])
    monkeypatch.setattr("store.jobs.RETRY_SECONDS", 0.0)
    store.queued()
    assert store.jobs.release(_claimed(store), BROKEN) is not None
    assert store.jobs.due(DENOISE) == 1
    assert _claimed(store).attempt == 2


def test_a_release_after_the_last_attempt_fails_with_the_reason(store: Store) -> None:
    jobs = store.with_settings(max_attempts=1)
    failed = jobs.release(store.running(), BROKEN)
    assert failed is not None
    assert (failed.state, failed.error) == (JobState.FAILED, BROKEN)


def test_handing_back_costs_no_attempt_and_touches_nobody_else(store: Store) -> None:
    mine, other = store.running(owner="w:1"), store.running(owner="w:2")
    assert [job.id for job in store.jobs.hand_back("w:1")] == [mine.id]
    assert store.jobs.get(other.id).state is JobState.RUNNING
    again = _claimed(store)
    assert (again.id, again.attempt, again.strikes) == (mine.id, 2, 0)


# ---- cancel ----------------------------------------------------------------------------------------------------------


def test_a_job_that_needs_a_newer_worker_waits_for_one(store: Store) -> None:
    newer = store.queued(needs=REVISION + 1)
    assert store.jobs.due(JobKind.DENOISE) == 0 and store.jobs.next_due(JobKind.DENOISE, 5) == []
    assert store.jobs.claim(JobKind.DENOISE, "worker:1") is None
    ours = store.queued(needs=REVISION, bases={"base-gray": "a" * 64})
    claimed = store.jobs.claim(JobKind.DENOISE, "worker:1")
    assert claimed is not None and (claimed.id, claimed.bases) == (ours.id, {"base-gray": "a" * 64})
    assert store.jobs.get(newer.id).state is JobState.QUEUED and store.jobs.get(newer.id).bases is None


def _claimed(store: Store) -> Job:
    job = store.jobs.claim(DENOISE, "w")
    assert job is not None
    return job
