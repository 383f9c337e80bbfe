"""The doorbell on a real Redis, and on none."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from store.broker import Broker
from store.job import JobKind
from store.settings import Settings
from tests.harness.ports import free_port
from tests.harness.servers import redis_on_port


@pytest.fixture
def broker(redis_url: str) -> Iterator[Broker]:
    Redis.from_url(redis_url).flushall()
    broker = Broker(Settings(redis_url=redis_url))
    yield broker
    broker.close()


def test_a_ring_is_a_message_in_the_queue_of_its_kind(broker: Broker) -> None:
    assert broker.ring(JobKind.DENOISE, "job_1")
    assert broker.ring(JobKind.DENOISE, "job_2")
    assert (broker.unheard(JobKind.DENOISE), broker.unheard(JobKind.FINETUNE)) == (2, 0)
    assert broker.answers()


def test_a_message_is_taken_once(broker: Broker) -> None:
    broker.ring(JobKind.DENOISE, "job_1")
    assert [broker.take(JobKind.FINETUNE), broker.take(JobKind.DENOISE), broker.take(JobKind.DENOISE)] == [
        False, True, False,
    ]  # fmt: skip


def test_a_broker_that_is_down_costs_a_moment_and_no_exception() -> None:
    broker = Broker(Settings(redis_url=f"redis://127.0.0.1:{free_port()}/0"))
    begin = time.monotonic()
    assert not broker.ring(JobKind.DENOISE, "job_1")
    assert time.monotonic() - begin < 10
    assert broker.unheard(JobKind.DENOISE) is None
    assert not broker.take(JobKind.DENOISE)
    assert not broker.answers()
    broker.close()


def test_a_broker_that_comes_back_is_used_again(tmp_path: Path) -> None:
    port = free_port()
    broker = Broker(Settings(redis_url=f"redis://127.0.0.1:{port}/0"))
    with redis_on_port(tmp_path, port):
        assert broker.ring(JobKind.DENOISE, "job_1")
    assert not broker.ring(JobKind.DENOISE, "job_2")
    with redis_on_port(tmp_path, port):
        assert broker.ring(JobKind.DENOISE, "job_3")
        assert broker.unheard(JobKind.DENOISE) == 1
    broker.close()
