"""Deliveries as rows: one for every end of a job, claimed by one courier at a time, retried for hours, replayed."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import update

from store.database import from_now
from store.job import Job, JobError, Outcome
from store.schema import webhook_deliveries
from store.webhooks import RETRY_SECONDS, Attempt, Delivery, DeliveryNotFound, DeliveryState, Webhooks
from tests.harness.stores import Store

URL = "https://receiver.example/hook"
WANTED: dict[str, Any] = {"tenant": "acme", "options": {"webhook_url": URL}}
FAILURE = Attempt(0.1, 500, "the receiver answered 500")


@pytest.fixture
def webhooks(store: Store) -> Webhooks:
    return Webhooks(store.engine)


def ended(store: Store) -> Job:
    job = store.jobs.finish(store.running(**WANTED), Outcome("jobs/x/1/result.png", {}, {}))
    assert job is not None
    return job


def due_again(store: Store) -> None:
    """Let time pass until the next retry."""
    with store.engine.begin() as connection:
        connection.execute(update(webhook_deliveries).values(next_at=from_now(-1)))


def test_every_way_to_end_is_announced_once(store: Store, webhooks: Webhooks) -> None:
    succeeded = ended(store)
    failed = store.jobs.fail(store.running(**WANTED), JobError("broken_image", "cut short"))
    canceled = store.jobs.request_cancel(store.queued(**WANTED).id)
    store.jobs.request_cancel(canceled.id)
    store.jobs.finish(store.running(tenant="acme"), Outcome(None, {}, {}))  # nobody wants to hear of this one
    assert failed is not None
    told = {delivery.job_id: json.loads(delivery.body) for delivery in webhooks.page("acme").deliveries}
    assert {job: message["type"] for job, message in told.items()} == {
        succeeded.id: "job.succeeded", failed.id: "job.failed", canceled.id: "job.canceled",
    }  # fmt: skip
    message = told[succeeded.id]
    assert message["data"]["links"] == {"self": f"/jobs/{succeeded.id}", "result": f"/jobs/{succeeded.id}/result"}
    assert datetime.fromisoformat(message["timestamp"]) == succeeded.finished_at
    assert told[failed.id]["data"]["error"] == {"code": "broken_image", "detail": "cut short"}


def test_a_job_with_a_url_that_cannot_be_kept_ends_untold(store: Store, webhooks: Webhooks) -> None:
    """Queued before the gateway refused such a URL."""
    options = {"webhook_url": "https://receiver.example/a\0b"}
    assert store.jobs.finish(store.running(options=options), Outcome(None, {}, {})) is not None
    assert store.jobs.request_cancel(store.queued(options=options).id).state.final
    assert webhooks.page("default").deliveries == []


def test_an_attempt_that_is_tried_again_is_not_announced(store: Store, webhooks: Webhooks) -> None:
    store.jobs.release(store.running(**WANTED), JobError("storage_unavailable", "away"))
    assert webhooks.page("acme").deliveries == []


def test_one_courier_takes_it(store: Store, webhooks: Webhooks) -> None:
    for _ in range(4):
        ended(store)
    with ThreadPoolExecutor(8) as pool:
        taken = [delivery for delivery in pool.map(lambda _: webhooks.claim(), range(12)) if delivery]
    assert len({delivery.id for delivery in taken}) == len(taken) == 4
    assert all(delivery.url == URL and delivery.attempts == 1 for delivery in taken)


def test_a_busy_tenant_waits_and_others_do_not(store: Store, webhooks: Webhooks) -> None:
    ended(store)
    assert webhooks.claim(busy=["acme"]) is None
    assert webhooks.claim(busy=["other"]) is not None


def claimed(webhooks: Webhooks) -> Delivery:
    delivery = webhooks.claim()
    assert delivery is not None
    return delivery


def test_failures_are_tried_again_over_hours_and_then_given_up(store: Store, webhooks: Webhooks) -> None:
    ended(store)
    waits = []
    for _ in RETRY_SECONDS:
        after = webhooks.record(claimed(webhooks), FAILURE)
        assert after is not None and after.state is DeliveryState.PENDING and after.next_at is not None
        waits.append((after.next_at - datetime.now(UTC)).total_seconds())
        assert webhooks.claim() is None
        due_again(store)
    for wait, planned in zip(waits, RETRY_SECONDS, strict=True):
        assert wait <= planned * 1.1 + 1
    assert sum(waits) > 12 * 3600
    last = webhooks.record(claimed(webhooks), FAILURE)
    assert last is not None and (last.state, last.attempts) == (DeliveryState.FAILED, len(RETRY_SECONDS) + 1)
    due_again(store)
    assert webhooks.claim() is None
    delivery, log = webhooks.get(last.id, "acme")
    assert [line.number for line in log] == list(range(1, delivery.attempts + 1))
    assert {line.status for line in log} == {500}


def test_what_is_final_is_not_tried_again(store: Store, webhooks: Webhooks) -> None:
    ended(store)
    after = webhooks.record(claimed(webhooks), Attempt(0.1, 410, "gone", final=True))
    assert after is not None and after.state is DeliveryState.FAILED


def test_a_receiver_that_asks_for_time_gets_it(store: Store, webhooks: Webhooks) -> None:
    ended(store)
    after = webhooks.record(claimed(webhooks), Attempt(0.1, 503, "busy", retry_after=3600))
    assert after is not None and after.next_at is not None
    assert (after.next_at - datetime.now(UTC)).total_seconds() > 3000


def test_a_courier_that_lost_its_lease_decides_nothing(store: Store, webhooks: Webhooks) -> None:
    ended(store)
    slow = claimed(webhooks)
    due_again(store)
    quick = claimed(webhooks)
    assert webhooks.record(quick, FAILURE) is not None
    assert webhooks.record(slow, Attempt(99.0, 200)) is None
    assert webhooks.get(slow.id, "acme")[0].state is DeliveryState.PENDING


def test_replay_starts_anew_under_the_same_id(store: Store, webhooks: Webhooks) -> None:
    ended(store)
    done = webhooks.record(claimed(webhooks), Attempt(0.1, 200))
    assert done is not None and done.state is DeliveryState.DELIVERED
    with pytest.raises(DeliveryNotFound):
        webhooks.replay(done.id, "other")
    assert webhooks.replay(done.id, "acme").state is DeliveryState.PENDING
    again = claimed(webhooks)
    assert (again.id, again.body, again.attempts, again.tries) == (done.id, done.body, 2, 1)


def test_tenants_see_their_own(store: Store, webhooks: Webhooks) -> None:
    job = ended(store)
    (mine,) = webhooks.page("acme", job_id=job.id).deliveries
    assert webhooks.page("other").deliveries == webhooks.page("acme", job_id="job_0").deliveries == []
    with pytest.raises(DeliveryNotFound):
        webhooks.get(mine.id, "other")


def test_pages_follow_each_other(store: Store, webhooks: Webhooks) -> None:
    for _ in range(3):
        ended(store)
    first = webhooks.page("acme", limit=2)
    second = webhooks.page("acme", limit=2, cursor=first.next_cursor)
    ids = [delivery.id for delivery in first.deliveries + second.deliveries]
    assert ids == sorted(ids, reverse=True) and len(set(ids)) == 3 and second.next_cursor is None


def test_a_rotated_secret_signs_along_for_a_day(webhooks: Webhooks) -> None:
    first = webhooks.secret("acme")
    assert first == webhooks.secret("acme") and first.startswith("whsec_")
    assert webhooks.secret("other") != first
    second = webhooks.rotate_secret("acme")
    assert webhooks.signing_secrets("acme") == [second, first]
    assert webhooks.signing_secrets("third") == [webhooks.secret("third")]


def test_old_logs_are_forgotten(store: Store, webhooks: Webhooks) -> None:
    ended(store)
    webhooks.record(claimed(webhooks), Attempt(0.1, 200))
    ended(store)
    assert webhooks.forget_old(days=1) == 0
    assert webhooks.forget_old(days=-1) == 1
    assert webhooks.pending()[0] == len(webhooks.page("acme").deliveries) == 1
