"""Ids sort by time and are safe in a key."""

from __future__ import annotations

import time
import uuid
from concurrent.futures import ThreadPoolExecutor

from store.ids import is_id, new_id


def test_ids_are_version_7_and_carry_the_time() -> None:
    before = time.time()
    made = uuid.UUID(new_id("job").removeprefix("job_"))
    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert before - 1 < (made.int >> 80) / 1000 < time.time() + 1


def test_later_ids_sort_behind_earlier_ones_and_none_comes_twice() -> None:
    made = [new_id("job") for _ in range(10_000)]
    assert made == sorted(made)
    with ThreadPoolExecutor(4) as pool:
        many = list(pool.map(lambda _: new_id("job"), range(4000)))
    assert len(set(many)) == 4000


def test_only_ids_are_ids() -> None:
    assert is_id("job", new_id("job"))
    for text in ("job_", "job_../../etc", new_id("mdl"), new_id("job") + "0", new_id("job").upper()):
        assert not is_id("job", text)
