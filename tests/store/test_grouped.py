"""Calls of several threads done together: who shares one, and whose error is whose."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from store.grouped import Grouped


class Doubling:
    """Doubles numbers; the first call holds the others up until `go` is set. Odd numbers are refused."""

    def __init__(self, error: type[Exception] = ValueError) -> None:
        self.calls: list[list[int]] = []
        self.held = threading.Event()
        self.go = threading.Event()
        self.error = error
        self.doubled = Grouped(self._all, blames=(ValueError,))

    def _all(self, numbers: Sequence[int]) -> list[int]:
        self.calls.append(sorted(numbers))
        if len(self.calls) == 1:
            self.held.set()
            assert self.go.wait(30)
        if any(number % 2 for number in numbers):
            raise self.error(numbers)
        return [2 * number for number in numbers]

    def ask(self, numbers: Sequence[int]) -> list[int | str]:
        """What came of each number, asked for at once while the call for 0 is under way."""
        with ThreadPoolExecutor(len(numbers) + 1) as pool:
            first = pool.submit(self.doubled, 0)
            assert self.held.wait(30)
            others = [pool.submit(self.doubled, number) for number in numbers]
            while len(self.doubled._waiting) < len(numbers):
                pass
            self.go.set()
            assert first.result(30) == 0
            return [type(error).__name__ if (error := one.exception(30)) else one.result() for one in others]


def test_those_who_come_while_a_call_is_under_way_share_the_next() -> None:
    work = Doubling()
    assert work.ask([2, 4, 6]) == [4, 8, 12]
    assert work.calls == [[0], [2, 4, 6]]


def test_the_one_to_blame_spoils_it_for_nobody_else() -> None:
    work = Doubling()
    assert work.ask([2, 3, 6]) == [4, "ValueError", 12]
    assert work.calls[1] == [2, 3, 6]
    assert sorted(work.calls[2:]) == [[2], [3], [6]]


def test_an_error_that_nobody_is_to_blame_for_is_everybody_s() -> None:
    work = Doubling(error=RuntimeError)
    assert work.ask([2, 3]) == ["RuntimeError", "RuntimeError"]
    assert work.calls == [[0], [2, 3]]


def test_a_call_alone_is_a_call() -> None:
    assert Grouped(lambda numbers: [2 * number for number in numbers], blames=())(4) == 8
    with pytest.raises(ZeroDivisionError):
        Grouped(lambda numbers: [1 // number for number in numbers], blames=(ZeroDivisionError,))(0)
