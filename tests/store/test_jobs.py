"""The contract of Jobs: one life of a job, and every way out of it."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from store.errors import IdempotencyConflict, JobNotFound, QueueFull, TenantQueueFull
from store.ids import new_id
from store.job import Job, JobError, JobKind, JobState, Outcome, Progress, Signal
from tests.harness.stores import Store, new_job

DENOISE = JobKind.DENOISE
BROKEN = JobError("broken_image", "The file is cut short.")
OUTCOME = Outcome("jobs/x/1/result.png", {"bytes": 3}, {"compute": 0.1}, Progress(2, 2), "jobs/x/1/report.json")


def test_a_created_job_is_queued_with_everything_that_was_said(store: Store) -> None:
    new = new_job(model="base-gray", request_id="req-1", options={"strength": 0.5})
    created = store.jobs.create(new)
    job = store.jobs.get(new.id)
    assert created.job == job
    assert not created.replayed
    assert (job.state, job.attempt, job.model, job.request_id) == (JobState.QUEUED, 0, "base-gray", "req-1")
    assert (job.options, job.input, job.pixels) == ({"strength": 0.5}, {"width": 4, "height": 3}, 12)
    assert job.created_at.utcoffset() is not None
    assert not job.state.final


def test_life_of_a_job_that_succeeds(store: Store) -> None:
    job = store.running(owner="worker:7")
    assert (job.state, job.attempt, job.lease_owner) == (JobState.RUNNING, 1, "worker:7")
    assert job.started_at is not None
    assert store.jobs.renew(job) is Signal.CONTINUE
    assert store.jobs.renew(job, Progress(1, 2), phase="compute") is Signal.CONTINUE
    assert store.jobs.get(job.id).progress == Progress(1, 2)
    done = store.jobs.finish(job, OUTCOME)
    assert done is not None
    assert done.state is JobState.SUCCEEDED
    assert (done.result_key, done.report_key, done.result) == (
        "jobs/x/1/result.png",
        "jobs/x/1/report.json",
        {"bytes": 3},
    )
    assert (done.timings, done.progress) == ({"compute": 0.1}, Progress(2, 2))
    assert done.finished_at is not None
    assert done.expires_at is not None
    assert (done.expires_at - done.finished_at).total_seconds() == pytest.approx(72 * 3600, abs=5)
    assert done.lease_owner is None


def test_history_has_every_change_in_order_and_can_be_read_on(store: Store) -> None:
    job = store.running()
    store.jobs.renew(job)  # says nothing new, so it leaves no line
    store.jobs.renew(job, Progress(1, 2))
    store.jobs.fail(job, BROKEN)
    events = store.jobs.events(job.id)
    assert [(event.seq, event.type) for event in events] == [
        (1, "state"), (2, "state"), (3, "progress"), (4, "state"),
    ]  # fmt: skip
    assert [event.data.get("state") for event in events] == ["queued", "running", None, "failed"]
    assert events[2].data == {"phase": None, "done": 1, "total": 2, "unit": "tile", "detail": {}}
    assert events[3].data["error"] == {"code": "broken_image", "detail": "The file is cut short."}
    assert [event.seq for event in store.jobs.events(job.id, after=2)] == [3, 4]
    assert store.jobs.get(job.id).event_seq == 4
    assert store.jobs.marks([job.id, "job_unknown"]) == {job.id: (4, JobState.FAILED)}


def test_a_failed_job_says_why(store: Store) -> None:
    failed = store.jobs.fail(store.running(), BROKEN, {"decode": 0.2})
    assert failed is not None
    assert (failed.state, failed.error, failed.timings) == (JobState.FAILED, BROKEN, {"decode": 0.2})


def test_a_final_job_stays_as_it_is(store: Store) -> None:
    job = store.running()
    done = store.jobs.finish(job, OUTCOME)
    assert store.jobs.finish(job, OUTCOME) is None
    assert store.jobs.fail(job, BROKEN) is None
    assert store.jobs.canceled(job) is None
    assert store.jobs.release(job, BROKEN) is None
    assert store.jobs.renew(job) is Signal.LOST
    assert store.jobs.request_cancel(job.id) == done
    assert store.jobs.get(job.id) == done


# ---- claims ----------------------------------------------------------------------------------------------------------


def test_a_queued_job_is_canceled_at_once(store: Store) -> None:
    job = store.jobs.request_cancel(store.queued().id)
    assert job.state is JobState.CANCELED
    assert store.jobs.claim(DENOISE, "w") is None


def test_a_running_job_hears_of_its_cancel(store: Store) -> None:
    job = store.running()
    asked = store.jobs.request_cancel(job.id)
    assert (asked.state, asked.cancel_requested) == (JobState.RUNNING, True)
    assert store.jobs.renew(job) is Signal.CANCEL
    stopped = store.jobs.canceled(job)
    assert stopped is not None and stopped.state is JobState.CANCELED


@pytest.mark.parametrize("end", ["finish", "fail", "release", "expire"])
def test_once_a_cancel_is_accepted_no_other_end_is_possible(store: Store, end: str) -> None:
    jobs = store.with_settings(lease_seconds=0.02)
    store.queued()
    job = jobs.claim(DENOISE, "w")
    assert job is not None
    jobs.request_cancel(job.id)
    match end:
        case "finish":
            jobs.finish(job, OUTCOME)
        case "fail":
            jobs.fail(job, BROKEN)
        case "release":
            jobs.release(job, BROKEN)
        case _:
            time.sleep(0.05)
            jobs.requeue_expired()
    ended = jobs.get(job.id)
    assert (ended.state, ended.result_key, ended.error) == (JobState.CANCELED, None, None)


def test_another_tenant_cannot_see_or_cancel_a_job(store: Store) -> None:
    job = store.queued(tenant="mine")
    for call in (store.jobs.get, store.jobs.request_cancel):
        with pytest.raises(JobNotFound):
            call(job.id, "theirs")
    assert store.jobs.page("theirs").jobs == []
    assert store.jobs.get(job.id, "mine").state is JobState.QUEUED


# ---- idempotency, bounds ---------------------------------------------------------------------------------------------


def test_the_same_key_and_body_give_the_first_job(store: Store) -> None:
    first = store.jobs.create(new_job(idempotency_key="k", body_hash="a"))
    again = store.jobs.create(new_job(idempotency_key="k", body_hash="a"))
    assert (again.replayed, again.job.id) == (True, first.job.id)
    assert store.jobs.find_replay("default", "k", "a") == first.job
    assert store.jobs.find_replay("default", "other", "a") is None
    assert not store.jobs.create(new_job(tenant="b", idempotency_key="k", body_hash="a")).replayed


def test_the_same_key_with_another_body_is_refused(store: Store) -> None:
    store.jobs.create(new_job(idempotency_key="k", body_hash="a"))
    with pytest.raises(IdempotencyConflict):
        store.jobs.create(new_job(idempotency_key="k", body_hash="b"))
    with pytest.raises(IdempotencyConflict):
        store.jobs.find_replay("default", "k", "b")


def test_one_job_comes_of_many_simultaneous_requests_with_one_key(store: Store) -> None:
    def create(_: int) -> Job:
        return store.jobs.create(new_job(idempotency_key="k", body_hash="a")).job

    with ThreadPoolExecutor(8) as pool:
        assert len({job.id for job in pool.map(create, range(16))}) == 1


def test_in_a_crowd_only_those_are_refused_that_are_too_many(store: Store) -> None:
    jobs = store.with_settings(max_queued_per_tenant=2)

    def create(number: int) -> str | None:
        new = new_job(tenant=f"tenant{number % 4}")
        try:
            return jobs.create(new).job.id
        except TenantQueueFull:
            return None

    for tenant in range(2):  # these two have no place left
        for _ in range(2):
            jobs.create(new_job(tenant=f"tenant{tenant}"))
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(create, range(8)))
    assert [job_id is None for job_id in made] == [True, True, False, False] * 2
    for tenant in range(4):
        mine = {job_id for job_id in made[tenant::4] if job_id is not None}
        assert len(jobs.page(f"tenant{tenant}").jobs) == 2
        assert mine <= {job.id for job in jobs.page(f"tenant{tenant}").jobs}


def test_a_full_queue_refuses_but_still_knows_its_keys(store: Store) -> None:
    jobs = store.with_settings(max_queued=2)
    first = jobs.create(new_job(idempotency_key="k", body_hash="a")).job
    jobs.create(new_job())
    with pytest.raises(QueueFull) as refused:
        jobs.create(new_job())
    assert refused.value.retry_after > 0
    assert jobs.create(new_job(idempotency_key="k", body_hash="a")).job.id == first.id
    jobs.create(new_job(kind=JobKind.FINETUNE))
    jobs.claim(DENOISE, "w")
    jobs.create(new_job())


def test_a_tenant_that_filled_its_share_leaves_the_door_open_for_others(store: Store) -> None:
    jobs = store.with_settings(max_queued=3, max_queued_per_tenant=2)
    first = jobs.create(new_job(tenant="many", idempotency_key="k", body_hash="a")).job
    jobs.create(new_job(tenant="many"))
    with pytest.raises(TenantQueueFull) as refused:
        jobs.create(new_job(tenant="many"))
    assert refused.value.retry_after > 0
    assert jobs.create(new_job(tenant="many", idempotency_key="k", body_hash="a")).job.id == first.id
    jobs.create(new_job(tenant="one"))
    with pytest.raises(QueueFull) as full:
        jobs.create(new_job(tenant="late"))
    assert not isinstance(full.value, TenantQueueFull)


# ---- reading ---------------------------------------------------------------------------------------------------------


def test_pages_go_from_new_to_old_without_gap_or_double(store: Store) -> None:
    sent = [store.queued().id for _ in range(7)]
    seen: list[str] = []
    cursor = None
    while True:
        page = store.jobs.page("default", limit=3, cursor=cursor)
        seen += [job.id for job in page.jobs]
        cursor = page.next_cursor
        if cursor is None:
            break
        store.queued()  # newer jobs do not shift the pages behind
    assert seen == sent[::-1]


def test_pages_can_be_narrowed(store: Store) -> None:
    running, queued = store.running(), store.queued()
    tuning = store.queued(kind=JobKind.FINETUNE)
    assert [job.id for job in store.jobs.page("default", kind=DENOISE).jobs] == [queued.id, running.id]
    assert [job.id for job in store.jobs.page("default", state=JobState.QUEUED).jobs] == [tuning.id, queued.id]
    assert [job.id for job in store.jobs.page("default", DENOISE, JobState.RUNNING).jobs] == [running.id]


def test_many_jobs_are_read_at_once(store: Store) -> None:
    sent = [store.queued().id for _ in range(3)]
    unknown = [new_id("job") for _ in range(1200)]
    assert store.jobs.get_many([*unknown, *sent]).keys() == set(sent)
    assert store.jobs.marks([*unknown, *sent]).keys() == set(sent)


def test_stats_tell_length_and_age(store: Store) -> None:
    assert store.jobs.stats(DENOISE).oldest_seconds == 0.0
    store.running()
    store.queued()
    time.sleep(0.05)
    stats = store.jobs.stats(DENOISE)
    assert (stats.queued, stats.running) == (1, 1)
    assert 0.03 < stats.oldest_seconds < 30


# ---- retention -------------------------------------------------------------------------------------------------------


def test_bytes_expire_then_rows(store: Store) -> None:
    jobs = store.with_settings(result_hours=0.01 / 3600, job_days=0.01 / 86400)
    store.queued()
    job = jobs.claim(DENOISE, "w")
    assert job is not None
    assert jobs.expired() == []
    jobs.finish(job, OUTCOME)
    time.sleep(0.05)
    assert jobs.expired() == [job.id]
    assert jobs.forget_old() == 0
    purged = jobs.purge(job.id)
    assert (purged.purged, purged.input_key, purged.result_key, purged.report_key) == (True, None, None, None)
    assert (jobs.expired(), jobs.events(job.id), jobs.known_keys([f"jobs/{job.id}/input"])) == ([], [], set())
    assert jobs.forget_old() == 1
    with pytest.raises(JobNotFound):
        jobs.get(job.id)


def test_purging_what_does_not_exist_is_said(store: Store) -> None:
    with pytest.raises(JobNotFound):
        store.jobs.purge(new_id("job"))
