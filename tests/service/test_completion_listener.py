"""Announcements of ended jobs over a real Redis, one that comes late, goes away and hangs included."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Collection, Mapping
from pathlib import Path

import pytest

from launch.redis_server import redis_server
from service.queue import completion_listener
from service.queue.completion_listener import CompletionListener
from service.queue.waiting import JobWatcher, Mark
from store.broker import Broker
from store.settings import Settings
from tests.harness.ports import free_port
from tests.harness.servers import redis_on_port


async def nothing(_: Collection[str]) -> Mapping[str, Mark]:
    return {}


async def until(true: Callable[[], bool], seconds: float = 20.0) -> None:
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.01)


def listening(url: str, test: Callable[[JobWatcher], Awaitable[None]]) -> None:
    """Run `test` with a watcher that listens at `url`."""

    async def run() -> None:
        watcher = JobWatcher(nothing, fastest_tick=0.005, on_count=lambda _: None)
        ears = CompletionListener(url, watcher)
        ears.start()
        try:
            await test(watcher)
        finally:
            await ears.stop()

    asyncio.run(run())


def test_a_worker_is_heard(redis_url: str) -> None:
    async def test(watcher: JobWatcher) -> None:
        heard: list[str] = []
        watcher.heard = heard.append  # type: ignore[method-assign]
        await until(lambda: watcher.hearing)
        broker = Broker(Settings(redis_url=redis_url))
        await asyncio.to_thread(broker.announce, "job_1")
        await until(lambda: "job_1" in heard)
        broker.close()

    listening(redis_url, test)


def test_without_redis_nothing_is_announced_and_nothing_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(completion_listener, "RETRY_SECONDS", 0.1)
    port = free_port()
    url = f"redis://127.0.0.1:{port}/0"
    broker = Broker(Settings(redis_url=url))
    broker.announce("job_1")

    async def test(watcher: JobWatcher) -> None:
        await asyncio.sleep(0.3)
        assert not watcher.hearing
        with redis_on_port(tmp_path, port):
            await until(lambda: watcher.hearing)
        await until(lambda: not watcher.hearing)

    listening(url, test)
    broker.close()


def test_a_redis_that_hangs_is_noticed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(completion_listener, "SILENCE_SECONDS", 0.2)
    with redis_server(tmp_path) as url:

        async def test(watcher: JobWatcher) -> None:
            await until(lambda: watcher.hearing)
            await asyncio.sleep(0.7)  # silence alone is no reason: pings are answered
            assert watcher.hearing
            pid = int((await _info(url))["process_id"])
            os.kill(pid, signal.SIGSTOP)
            try:
                await until(lambda: not watcher.hearing)
            finally:
                os.kill(pid, signal.SIGCONT)
            await until(lambda: watcher.hearing)

        listening(url, test)


async def _info(url: str) -> dict[str, str]:
    from redis.asyncio import Redis

    async with Redis.from_url(url) as client:
        found: dict[str, str] = await client.info()
        return found
