"""Pictures: drawn once however many ask, bounded for each tenant, and gone with their job's bytes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import func, select, update

from store import pictures as module
from store.blobs import picture_key
from store.database import from_now
from store.errors import JobNotFound, TooManyPictures
from store.job import Job, JobError, Outcome
from store.pictures import MAX_ATTEMPTS, WANTED_WAITS, Picture, Pictures
from store.schema import pictures as table
from tests.harness.stores import Store

REFUSED = JobError("no_such_page", "The image has one page.")


def pictures_of(store: Store, **settings: Any) -> Pictures:
    return Pictures(store.engine, store.settings.model_copy(update=settings))


def succeeded(store: Store, **values: Any) -> Job:
    job = store.jobs.finish(store.running(**values), Outcome("jobs/x/1/result.png", {"bytes": 3}, {}))
    assert job is not None
    return job


def claimed(pictures: Pictures) -> Picture:
    picture = pictures.claim()
    assert picture is not None
    return picture


def drawn(pictures: Pictures, size: int = 10) -> list[str]:
    """Draw what waits, as a worker does; keys that had to make room."""
    picture = claimed(pictures)
    dropped = pictures.finish(picture, picture_key(picture.id, picture.attempt), size, "0" * 64)
    assert dropped is not None
    return dropped


def pass_time(store: Store, seconds: float) -> None:
    """Let so many seconds pass for every picture."""
    with store.engine.begin() as connection:
        for row in connection.execute(select(table.c.id)).scalars().all():
            connection.execute(update(table).where(table.c.id == row).values(asked_at=from_now(-seconds)))
        late = update(table).where(table.c.lease_until.is_not(None))
        connection.execute(late.values(lease_until=from_now(store.settings.lease_seconds - seconds)))


def test_what_is_asked_for_twice_is_drawn_once(store: Store) -> None:
    pictures, job = pictures_of(store), succeeded(store)
    first, again = (pictures.ask(job, {"side": "after", "max": 512}) for _ in range(2))
    assert (first.new, again.new, first.ended) == (True, False, False)
    assert first.id == again.id != pictures.ask(job, {"side": "before", "max": 512}).id
    picture = claimed(pictures)
    assert (picture.what, picture.attempt) == ({"side": "after", "max": 512}, 1)
    assert pictures.ended([picture.id]) == {picture.id: False}
    assert pictures.finish(picture, "jobs/x/pictures/a-1.png", 10, "f" * 64) == []
    assert pictures.ended([picture.id, "job_x/none"]) == {picture.id: True}
    served = pictures.ask(job, {"max": 512, "side": "after"})
    assert (served.ended, served.key, served.bytes) == (True, "jobs/x/pictures/a-1.png", 10)
    assert claimed(pictures).what["side"] == "before"
    assert pictures.claim() is None


def test_many_who_ask_at_once_make_one_picture_and_one_drawing(store: Store) -> None:
    pictures, job = pictures_of(store), succeeded(store)
    with ThreadPoolExecutor(8) as pool:
        asked = list(pool.map(lambda _: pictures.ask(job, {"side": "report"}), range(16)))
        taken = [picture for picture in pool.map(lambda _: pictures.claim(), range(8)) if picture is not None]
    assert len({picture.id for picture in asked}) == len(taken) == 1
    assert sum(picture.new for picture in asked) == 1


def test_a_worker_that_dies_loses_the_picture_to_another_one(store: Store) -> None:
    pictures, job = pictures_of(store), succeeded(store)
    pictures.ask(job, {"side": "after"})
    dead = claimed(pictures)
    pass_time(store, store.settings.lease_seconds + 1)
    pictures.renew(dead)  # it is slow, not dead
    assert pictures.claim() is None
    pass_time(store, store.settings.lease_seconds + 1)
    pictures.ask(job, {"side": "after"})
    other = claimed(pictures)
    assert (other.id, other.attempt) == (dead.id, 2)
    assert pictures.finish(other, "good", 1, "0" * 64) == []
    assert pictures.finish(dead, "late", 1, "0" * 64) is None  # it only slept
    assert pictures.ask(job, {"side": "after"}).key == "good"


def test_a_picture_that_kills_its_workers_is_refused_in_the_end(store: Store) -> None:
    pictures, job = pictures_of(store), succeeded(store)
    for _ in range(MAX_ATTEMPTS):
        assert not pictures.ask(job, {"side": "after"}).ended
        claimed(pictures)
        pass_time(store, store.settings.lease_seconds + 1)
    refused = pictures.ask(job, {"side": "after"})
    assert refused.ended and refused.error is not None and "smaller" in refused.error.detail
    assert pictures.claim() is None


def test_a_failure_that_passes_is_tried_again_and_then_forgotten(store: Store) -> None:
    pictures, job = pictures_of(store), succeeded(store)
    asked = pictures.ask(job, {"side": "after"})
    for _ in range(MAX_ATTEMPTS):
        pictures.release(claimed(pictures))
        assert pictures.claim() is None  # not at once
        pass_time(store, store.settings.lease_seconds + 1)
    assert pictures.claim() is None and pictures.get(asked.id) is None
    assert pictures.ask(job, {"side": "after"}).new


def test_a_refusal_is_kept_with_its_words(store: Store) -> None:
    pictures, job = pictures_of(store), succeeded(store)
    pictures.ask(job, {"page": 7})
    assert pictures.refuse(claimed(pictures), REFUSED) == []
    again = pictures.ask(job, {"page": 7})
    assert (again.ended, again.error, again.key) == (True, REFUSED, None)


def test_a_tenant_s_waiting_pictures_are_bounded_and_another_s_are_not(store: Store) -> None:
    pictures = pictures_of(store, max_pictures_per_tenant=2)
    mine, other = succeeded(store, tenant="a"), succeeded(store, tenant="b")
    for page in range(2):
        pictures.ask(mine, {"page": page})
    with pytest.raises(TooManyPictures, match="2 of your pictures are waiting") as refused:
        pictures.ask(mine, {"page": 2})
    assert refused.value.retry_after > 0
    assert not pictures.ask(mine, {"page": 1}).new  # asked for already
    assert pictures.ask(other, {"page": 0}).new
    drawn(pictures)
    assert pictures.ask(mine, {"page": 2}).new


def test_what_nobody_wants_any_more_is_not_drawn_and_makes_room(store: Store) -> None:
    pictures, job = pictures_of(store, max_pictures_per_tenant=1), succeeded(store)
    left = pictures.ask(job, {"page": 0})
    pass_time(store, WANTED_WAITS * store.settings.picture_seconds + 1)
    assert pictures.claim() is None
    assert pictures.ask(job, {"page": 1}).new
    pass_time(store, WANTED_WAITS * store.settings.picture_seconds + store.settings.lease_seconds + 1)
    pictures.ask(job, {"page": 2})
    assert pictures.get(left.id) is None


def test_the_oldest_pictures_make_room_but_never_the_newest_or_another_tenant_s(store: Store) -> None:
    pictures = pictures_of(store, picture_bytes_per_tenant=3 * module.ROW_BYTES + 300)
    mine, other = succeeded(store, tenant="a"), succeeded(store, tenant="b")
    kept = pictures.ask(other, {"page": 0})
    drawn(pictures, size=10**6)
    asked = []
    for page in range(4):
        asked.append(pictures.ask(mine, {"page": page}))
        dropped = drawn(pictures, size=100)
        assert dropped == ([picture_key(asked[0].id, 1)] if page == 3 else [])
    last = pictures.ask(mine, {"page": 4})
    assert len(drawn(pictures, size=10**6)) == 3
    there = [picture.id for picture in (*asked, last, kept) if pictures.get(picture.id) is not None]
    assert there == [last.id, kept.id]


def test_pictures_go_with_their_job_s_bytes(store: Store) -> None:
    pictures, job = pictures_of(store), succeeded(store)
    pictures.ask(job, {"page": 0})
    late = claimed(pictures)
    pictures.ask(job, {"page": 1})
    store.jobs.purge(job.id)
    assert pictures.finish(late, "jobs/x/pictures/p-1.png", 1, "0" * 64) is None  # whoever drew it deletes its bytes
    assert pictures.claim() is None
    with pytest.raises(JobNotFound):
        pictures.ask(job, {"page": 2})
    with store.engine.connect() as connection:
        assert connection.execute(select(func.count()).select_from(table)).scalar_one() == 0


def test_a_picture_whose_bytes_are_gone_is_drawn_again(store: Store) -> None:
    pictures, job = pictures_of(store), succeeded(store)
    pictures.ask(job, {"page": 0})
    drawn(pictures)
    pictures.forget(pictures.ask(job, {"page": 0}))
    assert pictures.ask(job, {"page": 0}).new
