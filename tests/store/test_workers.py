"""The hosts that take jobs, and what is told of them all."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import func, select, update

from store.database import from_now, single
from store.schema import workers
from store.workers import FORGOTTEN_SECONDS, SEEN_SECONDS, Workers
from tests.harness.stores import Store


def told(store: Store) -> bool:
    return Workers(store.engine).have_matrix_units()


def last_seen(store: Store, host: str, seconds_ago: float) -> None:
    with store.engine.begin() as connection:
        connection.execute(update(workers).where(workers.c.host == host).values(seen_at=from_now(-seconds_ago)))


def test_all_hosts_have_to_have_matrix_units(store: Store) -> None:
    hosts = Workers(store.engine)
    assert not told(store)  # nobody is there
    hosts.register("a", "onednn-bfloat16")
    hosts.register("b", "cuda-float16")
    assert told(store)
    hosts.register("c", "ncnn-float32")
    assert not told(store)
    hosts.register("c", "onednn-bfloat16")  # it was set up anew
    assert told(store)


def test_a_host_that_is_not_seen_counts_no_more(store: Store) -> None:
    hosts = Workers(store.engine)
    hosts.register("slow", "ncnn-float32")
    hosts.register("quick", "onednn-bfloat16")
    last_seen(store, "slow", SEEN_SECONDS + 1)
    assert told(store)
    hosts.seen("slow")
    assert not told(store)
    last_seen(store, "slow", FORGOTTEN_SECONDS + 1)
    hosts.seen("quick")
    with single(store.engine) as connection:
        assert connection.execute(select(workers.c.host)).scalars().all() == ["quick"]


def test_processes_of_one_host_register_together(store: Store) -> None:
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda _: Workers(store.engine).register("host", "onednn-bfloat16"), range(6)))
    with single(store.engine) as connection:
        assert connection.execute(select(func.count()).select_from(workers)).scalar_one() == 1
