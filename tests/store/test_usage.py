"""Usage and bounds: exact, in the transaction of the job, for both databases."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from store.errors import IdempotencyConflict, QuotaExceeded, TooManyJobs
from store.job import JobError, JobKind, Outcome
from store.tenants import Allowance, Tenants
from store.usage import DayUsage, Usage, resets_at
from tests.harness.stores import Store, new_job


def today(store: Store, tenant: str = "acme") -> DayUsage:
    usage = Usage(store.engine)
    day, _ = usage.accepted_today(tenant)
    (found,) = usage.days(tenant, day, day)
    return found


def outcome(**timings: float) -> Outcome:
    return Outcome("key", {}, timings)


def test_every_end_is_counted_once(store: Store) -> None:
    for _ in range(3):
        store.queued(tenant="acme", pixels=100)
    succeeding, failing = store.jobs.claim(JobKind.DENOISE, "w"), store.jobs.claim(JobKind.DENOISE, "w")
    assert succeeding and failing
    store.jobs.finish(succeeding, outcome(queued=9.0, compute=2.0, encode=0.5))
    store.jobs.finish(succeeding, outcome(compute=2.0))  # lost: the job has ended already
    store.jobs.fail(failing, JobError("broken_image", "cut short"), {"decode": 0.25})
    (left,) = [job for job in store.jobs.page("acme").jobs if not job.state.final]
    store.jobs.request_cancel(left.id)
    store.jobs.request_cancel(left.id)
    used = today(store)
    assert (used.accepted, used.succeeded, used.failed, used.canceled) == (3, 1, 1, 1)
    assert (used.accepted_pixels, used.pixels) == (300, 100)
    assert used.worker_seconds == pytest.approx(2.75)


def test_seconds_on_a_gpu_are_counted_beside_all_others(store: Store) -> None:
    for device in ("cpu", "cuda", "cuda:1", None):  # None: a worker of before, in a rolling update
        store.jobs.finish(store.running(tenant="acme"), outcome(queued=9.0, compute=2.0, encode=0.5), device)
    store.jobs.fail(store.running(tenant="acme"), JobError("broken_image", "cut short"), {"decode": 0.25}, "cuda")
    used = today(store)
    assert used.worker_seconds == pytest.approx(4 * 2.5 + 0.25)
    assert used.gpu_seconds == pytest.approx(2 * 2.5 + 0.25)


def test_an_attempt_that_is_tried_again_is_no_end(store: Store) -> None:
    job = store.running(tenant="acme")
    store.jobs.release(job, JobError("storage_unavailable", "away"))
    store.jobs.requeue_expired()
    assert (today(store).accepted, today(store).failed) == (1, 0)


def test_tenants_and_kinds_are_counted_apart(store: Store) -> None:
    store.queued(tenant="acme", pixels=5)
    store.queued(tenant="other", pixels=7)
    store.queued(tenant="acme", pixels=9, kind=JobKind.FINETUNE)
    usage = Usage(store.engine)
    day, accepted = usage.accepted_today("acme")
    assert accepted == 14
    found = {(row.kind, row.accepted_pixels) for row in usage.days("acme", day, day)}
    assert found == {(JobKind.DENOISE, 5), (JobKind.FINETUNE, 9)}
    assert usage.days("acme", day - timedelta(days=9), day - timedelta(days=1)) == []


def test_a_quota_takes_what_fits_and_no_pixel_more(store: Store) -> None:
    bounds = Allowance(pixels_per_day=100)
    store.queued(tenant="acme", pixels=60, allowance=bounds)
    with pytest.raises(QuotaExceeded, match="100 pixels a day") as refused:
        store.queued(tenant="acme", pixels=41, allowance=bounds)
    day, accepted = Usage(store.engine).accepted_today("acme")
    assert (accepted, refused.value.resets_at) == (60, resets_at(day))
    store.queued(tenant="acme", pixels=40, allowance=bounds)
    store.queued(tenant="other", pixels=100, allowance=bounds)


@pytest.mark.parametrize(
    ("bounds", "error"),
    [(Allowance(pixels_per_day=50), QuotaExceeded), (Allowance(unfinished_jobs=5), TooManyJobs)],
    ids=["pixels", "jobs"],
)
def test_requests_that_race_do_not_slip_past_a_bound(store: Store, bounds: Allowance, error: Any) -> None:
    def send(_: int) -> bool:
        try:
            store.queued(tenant="acme", pixels=10, allowance=bounds)
        except error:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(send, range(16))) == 5
    assert today(store).accepted == 5


@pytest.mark.parametrize("kind", list(JobKind))
@pytest.mark.parametrize("bounds", [Allowance(pixels_per_day=15), Allowance(unfinished_jobs=1)], ids=["pixels", "jobs"])
def test_a_bound_that_a_job_took_up_does_not_refuse_its_repetition(
    store: Store, bounds: Allowance, kind: JobKind
) -> None:
    values = {"kind": kind, "tenant": "acme", "pixels": 10, "allowance": bounds, "idempotency_key": "k"}
    first = store.jobs.create(new_job(body_hash="a", **values))
    again = store.jobs.create(new_job(body_hash="a", **values))
    assert (again.replayed, again.job.id) == (True, first.job.id)
    with pytest.raises(IdempotencyConflict):
        store.jobs.create(new_job(body_hash="b", **values))
    with pytest.raises((QuotaExceeded, TooManyJobs)):
        store.jobs.create(new_job(**values | {"idempotency_key": "other"}))
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: store.jobs.create(new_job(body_hash="a", **values)).job.id, range(16)))
    assert set(made) == {first.job.id}
    assert today(store).accepted == 1


def test_a_finished_job_makes_room_for_another(store: Store) -> None:
    bounds = Allowance(unfinished_jobs=1)
    job = store.running(tenant="acme", allowance=bounds)
    with pytest.raises(TooManyJobs):
        store.queued(tenant="acme", allowance=bounds)
    store.jobs.finish(job, outcome())
    assert store.jobs.create(new_job(tenant="acme", allowance=bounds)).job.tenant == "acme"


def test_what_a_worker_finds_in_a_set_is_counted_once(store: Store) -> None:
    store.queued(tenant="acme", pixels=10, kind=JobKind.FINETUNE)
    job = store.jobs.claim(JobKind.FINETUNE, "w")
    assert job is not None
    store.jobs.settle_pixels(job, 4)  # less than its headers said: never given back
    store.jobs.settle_pixels(job, 500)
    store.jobs.settle_pixels(job, 500)
    assert (today(store).accepted, today(store).accepted_pixels) == (1, 500)
    store.jobs.release(job, JobError("storage_unavailable", "away"))
    store.jobs.settle_pixels(job, 9_000)  # this attempt is over
    assert today(store).accepted_pixels == 500 and store.jobs.get(job.id).pixels == 500


def test_what_a_worker_finds_is_held_to_the_quota(store: Store) -> None:
    tenants = Tenants(store.engine)
    tenants.ensure("acme")
    tenants.set_allowance("acme", Allowance(pixels_per_day=100))
    store.queued(tenant="acme", pixels=0, kind=JobKind.FINETUNE)
    job = store.jobs.claim(JobKind.FINETUNE, "w")
    assert job is not None
    with pytest.raises(QuotaExceeded, match="100 pixels a day"):
        store.jobs.settle_pixels(job, 101)
    assert today(store).accepted_pixels == 0 and store.jobs.get(job.id).pixels == 0
    store.jobs.settle_pixels(job, 100)
    assert today(store).accepted_pixels == 100
