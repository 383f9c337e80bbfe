import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any

import pytest

from service.queue.waiting import JobWatcher, Mark


class Database:
    """Marks of jobs, and how often they were asked for."""

    def __init__(self) -> None:
        self.marks: dict[str, Mark] = {}
        self.queries = 0
        self.asked: list[set[str]] = []
        self.failing = 0
        self.answering = asyncio.Event()
        self.answering.set()

    async def __call__(self, job_ids: Collection[str]) -> Mapping[str, Mark]:
        self.queries += 1
        self.asked.append(set(job_ids))
        await self.answering.wait()
        if self.failing:
            self.failing -= 1
            raise ConnectionError("the database restarts")
        return {job_id: self.marks[job_id] for job_id in job_ids if job_id in self.marks}


def with_watcher(test: Callable[[JobWatcher, Database], Awaitable[Any]]) -> Callable[[], None]:
    """Run an async test with a started watcher over a database."""

    def run() -> None:
        async def inner() -> None:
            database = Database()
            watcher = JobWatcher(database, fastest_tick=0.005, on_count=lambda _: None)
            watcher.start()
            try:
                await asyncio.wait_for(test(watcher, database), timeout=20)
            finally:
                await watcher.stop()

        asyncio.run(inner())

    return run


@with_watcher
async def test_a_thousand_waiters_share_one_query_a_tick(watcher: JobWatcher, database: Database) -> None:
    names = [f"job_{n}" for n in range(1000)]
    database.marks = {name: Mark(1, final=False) for name in names}
    waits = [asyncio.create_task(watcher.final(name, 20)) for name in names]
    while not database.asked or database.asked[-1] != set(names):
        await asyncio.sleep(0.001)
    assert len(watcher) == 1000
    before = database.queries
    database.marks = {name: Mark(2, final=True) for name in names}
    await asyncio.gather(*waits)
    assert database.queries - before <= 2
    assert len(watcher) == 0


@with_watcher
async def test_nobody_waiting_means_no_query(watcher: JobWatcher, database: Database) -> None:
    await asyncio.sleep(0.05)
    database.marks["a"] = Mark(1, final=True)
    await watcher.final("a", 5)
    asked = database.queries
    await asyncio.sleep(0.1)
    assert database.queries == asked


@with_watcher
async def test_progress_wakes_followers_but_not_those_who_wait_for_the_end(
    watcher: JobWatcher, database: Database
) -> None:
    database.marks["a"] = Mark(3, final=False)
    end = asyncio.create_task(watcher.final("a", 20))
    assert await watcher.changed("a", 2, 20)
    assert not end.done()
    assert not await watcher.changed("a", 3, 0.05)
    database.marks["a"] = Mark(4, final=True)
    await end


@with_watcher
async def test_a_wait_ends_when_its_time_is_over(watcher: JobWatcher, database: Database) -> None:
    database.marks["a"] = Mark(1, final=False)
    await watcher.final("a", 0.05)
    assert len(watcher) == 0


@with_watcher
async def test_a_job_that_is_gone_wakes_its_waiters(watcher: JobWatcher, database: Database) -> None:
    await watcher.final("never there", 20)


@with_watcher
async def test_a_waiter_who_comes_while_the_question_is_under_way_is_not_told_that_the_job_is_gone(
    watcher: JobWatcher, database: Database
) -> None:
    database.marks = {"a": Mark(1, final=False), "b": Mark(1, final=False)}
    database.answering.clear()
    first = asyncio.create_task(watcher.final("a", 20))
    while database.asked == []:
        await asyncio.sleep(0.001)
    second = asyncio.create_task(watcher.final("b", 20))
    await asyncio.sleep(0.01)
    database.answering.set()
    while len(database.asked) < 3:
        await asyncio.sleep(0.001)
    assert not first.done() and not second.done()
    database.marks = {"a": Mark(2, final=True), "b": Mark(2, final=True)}
    await asyncio.gather(first, second)


@with_watcher
async def test_closing_wakes_everybody_and_admits_nobody(watcher: JobWatcher, database: Database) -> None:
    database.marks["a"] = Mark(1, final=False)
    waits = [asyncio.create_task(watcher.final("a", 20)) for _ in range(10)]
    await asyncio.sleep(0.02)
    watcher.close()
    await asyncio.gather(*waits)
    await watcher.final("a", 20)


@with_watcher
async def test_a_database_that_comes_back_is_asked_again(watcher: JobWatcher, database: Database) -> None:
    database.failing = 1
    database.marks["a"] = Mark(1, final=True)
    await watcher.final("a", 20)
    assert database.queries == 2


@with_watcher
async def test_long_waits_are_looked_at_less_often(watcher: JobWatcher, database: Database) -> None:
    database.marks["a"] = Mark(1, final=False)
    waiter = asyncio.create_task(watcher.final("a", 20))
    await asyncio.sleep(0)
    (held,) = watcher._waiters["a"]
    held.since = time.monotonic()
    assert watcher._tick() == 0.005  # the fastest
    held.since -= 2
    assert 0.05 < watcher._tick() < 0.25
    held.since -= 3600
    assert watcher._tick() == 0.25  # the slowest
    waiter.cancel()


@with_watcher
async def test_where_all_waits_are_long_a_new_waiter_does_not_quicken_the_tick(
    watcher: JobWatcher, database: Database
) -> None:
    watcher._past_waits.extend([30.0] * 8)
    assert watcher._tick() == 0.25
    watcher._past_waits.append(0.1)  # one short wait, and it is quick again
    assert watcher._tick() == 0.005


@with_watcher
async def test_a_client_that_leaves_is_forgotten(watcher: JobWatcher, database: Database) -> None:
    database.marks["a"] = Mark(1, final=False)
    waiter = asyncio.create_task(watcher.final("a", 20))
    await asyncio.sleep(0.02)
    waiter.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    assert len(watcher) == 0


@with_watcher
async def test_an_end_that_is_heard_of_wakes_its_waiters_without_a_query(
    watcher: JobWatcher, database: Database
) -> None:
    database.marks = {"a": Mark(1, final=False), "b": Mark(1, final=False)}
    database.answering.clear()  # whoever asks waits for the answer
    end, follower = asyncio.create_task(watcher.final("a", 20)), asyncio.create_task(watcher.changed("a", 1, 20))
    other = asyncio.create_task(watcher.final("b", 20))
    while len(watcher) < 3:
        await asyncio.sleep(0)
    watcher.heard("a")
    await end
    assert await follower
    assert not other.done()
    database.marks["b"] = Mark(2, final=True)  # and nobody says so
    database.answering.set()
    await other


@with_watcher
async def test_an_end_heard_of_before_its_waiter_came_is_known(watcher: JobWatcher, database: Database) -> None:
    watcher.heard("a")
    await watcher.final("a", 20)
    assert database.queries == 0


@with_watcher
async def test_who_hears_of_ends_looks_seldom(watcher: JobWatcher, database: Database) -> None:
    database.marks["a"] = Mark(1, final=False)
    watcher.hearing = True
    await watcher.final("a", 0.6)
    assert 1 <= database.queries <= 3
