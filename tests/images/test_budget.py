"""Every header parser before its own worst case: what it does is counted here by other means than by its own count."""

from __future__ import annotations

import contextlib
import pkgutil
import sys
import tracemalloc
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

import images.headers
from images import budget
from images.budget import Budget
from images.errors import BrokenImage, ImageError
from images.formats import header_of
from images.limits import Limits
from images.probe import probe
from images.source import Source
from tests.harness import files, worst

STEPS = 20_000
"""The bound while lines are counted: a tenth and less of the real one, so that the counting is done soon."""

LINES_A_STEP = 6
SIZE = 3_000_000
HELPERS = {"tiff_alike", "tiff_directories", "tiff_stacks"}
CASES = [(kind, make) for kind, makers in worst.CASES.items() for make in makers]
each_case = pytest.mark.parametrize(("kind", "make"), CASES, ids=[make.__name__ for _, make in CASES])


class Work:
    """Counts lines run in the room `images`, and comparisons and hashes of the numbers that were read there."""

    def __init__(self, most: int) -> None:
        self.done = 0
        self._most = most

    def add(self) -> None:
        self.done += 1
        if self.done > self._most:
            self.done = -(1 << 40)  # once is enough, and the handlers on the way out are not to meet it again
            raise TooMuch(self._most)

    def trace(self, frame: FrameType, event: str, argument: object) -> Any:
        if not frame.f_code.co_filename.startswith(images.__path__[0]):
            return None
        if event == "line":
            self.add()
        return self.trace


class TooMuch(BaseException):
    """More was done than the bound allows."""


def number_class(work: Work) -> type[int]:
    """Integers whose comparisons are counted, and those of what is masked out of them."""

    class Counted(int):
        def __eq__(self, other: object) -> bool:
            work.add()
            return int.__eq__(self, other)  # type: ignore[arg-type]

        def __hash__(self) -> int:
            work.add()
            return int.__hash__(self)

        def __and__(self, other: int) -> int:
            return Counted(int.__and__(self, other))

    return Counted


def counted(data: bytes, limits: Limits, most: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """How much a probe did. Raises `TooMuch` as soon as it is more than `most`."""
    work = Work(most)
    number = number_class(work)
    unpack = Source.unpack

    def unpacked(self: Source, layout: str, offset: int) -> tuple[Any, ...]:
        found = unpack(self, layout, offset)
        return tuple(number(value) if type(value) is int else value for value in found)

    monkeypatch.setattr(Source, "unpack", unpacked)
    before = sys.gettrace()
    sys.settrace(work.trace)
    try:
        probe(data, limits)
    except ImageError:
        pass
    finally:
        sys.settrace(before)
    return work.done


def test_every_parser_has_a_worst_case() -> None:
    parsers = {module.name for module in pkgutil.iter_modules(images.headers.__path__)} - HELPERS
    assert parsers == set(worst.CASES)


@each_case
def test_the_worst_case_is_counted_and_bounded(
    kind: str, make: Callable[[int], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make(SIZE)
    assert header_of(data[:132]) == kind
    monkeypatch.setattr(budget, "PROBE_STEPS", STEPS)
    monkeypatch.setattr(budget, "FILE_BYTES_A_STEP", 1 << 30)
    assert counted(data, Limits(), LINES_A_STEP * STEPS, monkeypatch) > 0


@each_case
def test_at_the_real_bounds_little_memory_is_taken(kind: str, make: Callable[[int], bytes]) -> None:
    data = make(8_000_000)
    tracemalloc.start()
    with contextlib.suppress(ImageError):
        probe(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40_000_000


def test_the_refusal_says_what_to_do() -> None:
    with pytest.raises(BrokenImage, match="Save the image anew"):
        probe(worst.png(8_000_000))


def test_honest_files_of_any_size_are_within_it() -> None:
    assert probe(worst.gif_image(64 * 1024 * 1024)).frames == 1
    assert probe(worst.tiff_stack(10_000 * 120)).frames == 10_000
    tiles = files.tiff(files.noise((4096, 4096)), tile=(16, 16))
    assert probe(tiles).width == 4096


def test_a_counter_counts_what_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """The list that was searched once a property, which cost 25 seconds: this count would have seen it."""

    def associated(source: Source, start: int, end: int, item: int) -> Any:
        count = source.unpack(">I", start + 4)[0]
        values = source.unpack(f">{(end - start - 8) // 2}H", start + 8)
        assert count
        return Listed(values)

    class Listed(list[int]):
        def __ror__(self, other: object) -> list[int]:
            return self

    monkeypatch.setattr("images.headers.heif._associated", associated)
    monkeypatch.setattr(budget, "PROBE_STEPS", STEPS)
    with pytest.raises(TooMuch):
        counted(worst.heif(30_000), Limits(), LINES_A_STEP * STEPS, monkeypatch)


def test_without_a_number_there_is_no_bound() -> None:
    source = Source(bytes(10), Budget())
    for _ in range(budget.PROBE_STEPS // 4):
        source.read(0, 1)
    assert source.budget.spent >= 2 * budget.PROBE_STEPS
