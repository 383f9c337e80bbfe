"""The courier over a real database: what ends is told, though receivers and couriers come and go."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select, update

from courier.addresses import GuardedBackend
from courier.lookups import Lookups
from courier.loop import Courier
from courier.metrics import CourierMetrics
from courier.sender import Sender
from store.database import from_now
from store.ids import new_id
from store.job import Outcome
from store.schema import webhook_deliveries
from store.webhooks import Delivery, DeliveryState, Webhooks
from tests.harness.ports import free_port
from tests.harness.receiver import receiving, status
from tests.harness.stores import Store, open_store

ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 120.0


@pytest.fixture
def sqlite(tmp_path: Path, sqlite_template: Path) -> Iterator[Store]:
    from shutil import copy

    from store.database import connect
    from store.settings import Settings

    copy(sqlite_template, tmp_path / "b2s.sqlite3")
    settings = Settings(data_dir=tmp_path)
    engine = connect(settings.database)
    yield open_store(settings, engine)
    engine.dispose()


@contextmanager
def courier(store: Store, **more: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run `python -m courier` until the block ends; `more` are variables."""
    environment = {
        "PATH": os.environ["PATH"], "B2S_DATA_DIR": str(store.settings.data_dir), "B2S_WEBHOOK_PRIVATE": "1",
        "B2S_WEBHOOK_PORTS": "any",
        "B2S_COURIER_METRICS_PORT": "0", **more,
    }  # fmt: skip
    process = subprocess.Popen([sys.executable, "-m", "courier"], cwd=ROOT, env=environment)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) in (0, -signal.SIGKILL)


@contextmanager
def courier_here(store: Store, lookups: Lookups, seconds: float) -> Iterator[Courier]:
    """Run a courier in this process until the block ends, with a resolver of the test."""
    sender = Sender(lambda tenant: GuardedBackend(True, lookups.of(tenant)), seconds)
    here, loop = Courier(Webhooks(store.engine), sender, lookups, 30.0, CourierMetrics()), asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_until_complete, args=[here.run()])
    thread.start()
    try:
        yield here
    finally:
        loop.call_soon_threadsafe(here.stop)
        thread.join(60)
        loop.close()


def finished(store: Store, url: str, tenant: str = "acme") -> str:
    job = store.jobs.finish(store.running(tenant=tenant, options={"webhook_url": url}), Outcome(None, {}, {}))
    assert job is not None
    return job.id


def delivery(store: Store, job_id: str, tenant: str = "acme") -> Delivery:
    (found,) = Webhooks(store.engine).page(tenant, job_id=job_id).deliveries
    return found


def wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def due_now(store: Store) -> None:
    with store.engine.begin() as connection:
        connection.execute(update(webhook_deliveries).values(next_at=from_now()))


def test_a_receiver_that_comes_back_hears_of_everything(sqlite: Store) -> None:
    port = free_port()
    with courier(sqlite):
        job_id = finished(sqlite, f"http://127.0.0.1:{port}/hook")
        wait(lambda: delivery(sqlite, job_id).last_error is not None)
        with receiving(status(500), port) as receiver:
            due_now(sqlite)
            wait(lambda: delivery(sqlite, job_id).last_status == 500)
            receiver.answer = status(200)
            due_now(sqlite)
            wait(lambda: delivery(sqlite, job_id).state is DeliveryState.DELIVERED)
    assert {heard.headers["webhook-id"] for heard in receiver.heard} == {delivery(sqlite, job_id).id}
    _, log = Webhooks(sqlite.engine).get(delivery(sqlite, job_id).id, "acme")
    assert [line.status for line in log] == [None, 500, 200]


def test_a_slow_receiver_of_one_tenant_keeps_no_other_waiting(sqlite: Store) -> None:
    release = threading.Event()
    with receiving(lambda _: release.wait(60) and None) as slow, receiving(status(200)) as quick:
        for _ in range(30):
            finished(sqlite, slow.url, tenant="slow")
        job_id = finished(sqlite, quick.url)
        with courier(sqlite):
            wait(lambda: delivery(sqlite, job_id).state is DeliveryState.DELIVERED)
            assert len(slow.heard) <= 8
            release.set()


def test_names_of_one_tenant_that_hang_keep_no_other_waiting(sqlite: Store) -> None:
    release, begun = threading.Event(), threading.Semaphore(0)
    asked: list[str] = []

    def getaddrinfo(host: str, *arguments: Any, **named: Any) -> list[tuple[Any, ...]]:
        asked.append(host)
        if host == "hangs.example":
            begun.release()
            assert release.wait(PATIENCE_SECONDS)
            raise OSError("no such name")
        return list(socket.getaddrinfo(host, *arguments, **named))

    for _ in range(30):
        finished(sqlite, "http://hangs.example/", tenant="slow")
    with receiving(status(200)) as quick, courier_here(sqlite, Lookups(getaddrinfo), seconds=2.0):
        for _ in range(8):
            assert begun.acquire(timeout=PATIENCE_SECONDS)
        wait(lambda: sum(one.last_error is not None for one in Webhooks(sqlite.engine).page("slow").deliveries) == 8)
        job_id = finished(sqlite, quick.url)  # the eight were given up, and their threads hang on
        wait(lambda: delivery(sqlite, job_id).state is DeliveryState.DELIVERED)
        assert asked.count("hangs.example") == 8
        release.set()
        assert begun.acquire(timeout=PATIENCE_SECONDS), "places come back once the lookups have ended"


def test_old_logs_go_until_none_is_left(sqlite: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("courier.loop.IDLE_SECONDS", 0.01)
    for _ in range(3):
        finished(sqlite, "http://127.0.0.1:9/")
    with sqlite.engine.begin() as connection:
        old = {"state": DeliveryState.FAILED, "next_at": None, "ended_at": from_now(-86400 * 31)}
        connection.execute(update(webhook_deliveries).values(old))
        rows = [dict(row) for row in connection.execute(select(webhook_deliveries)).mappings()]
        connection.execute(insert(webhook_deliveries), [row | {"id": new_id("msg")} for row in rows * 400])
    with courier_here(sqlite, Lookups(), seconds=1.0) as here:
        here._forget_at = 0.0
        wait(lambda: Webhooks(sqlite.engine).page("acme").deliveries == [])


def test_a_courier_that_is_killed_in_the_middle_loses_nothing(sqlite: Store) -> None:
    release = threading.Event()
    with receiving(lambda _: release.wait(60) and None) as receiver:
        job_id = finished(sqlite, receiver.url)
        with courier(sqlite) as process:
            wait(lambda: len(receiver.heard) == 1)
            process.kill()
            process.wait()
        release.set()
        receiver.answer = status(200)
        assert delivery(sqlite, job_id).state is DeliveryState.PENDING
        due_now(sqlite)  # as when its lease of a minute has run out
        with courier(sqlite):
            wait(lambda: delivery(sqlite, job_id).state is DeliveryState.DELIVERED)
    assert [heard.headers["webhook-id"] for heard in receiver.heard] == [delivery(sqlite, job_id).id] * 2


def test_two_couriers_share_the_work(sqlite: Store) -> None:
    with receiving(status(200)) as receiver, courier(sqlite), courier(sqlite):
        jobs = [finished(sqlite, receiver.url) for _ in range(20)]
        wait(lambda: all(delivery(sqlite, job_id).state is DeliveryState.DELIVERED for job_id in jobs))
    ids = [heard.headers["webhook-id"] for heard in receiver.heard]
    assert len(ids) == len(set(ids)) == 20
