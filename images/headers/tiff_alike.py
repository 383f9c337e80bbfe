"""Pages of a stack that repeat an earlier one, told by their bytes: a tenth of what it costs to read a page.

Ten thousand pages would otherwise hold the gateway's interpreter for a third of a second.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from operator import add
from typing import NamedTuple, Protocol

from images.errors import BrokenImage
from images.headers.tiff_directories import Page, Sizes, Tiff
from images.source import Source

_BITS, _EXTRA_SAMPLES, _SAMPLE_FORMAT, _PAGE_NUMBER = 258, 338, 339, 297
_COMPARED = {_BITS, _EXTRA_SAMPLES, _SAMPLE_FORMAT}
"""Values that are compared wherever they lie. Of all others outside of the directory, number and type are."""

_STEPS_A_TAG = 15
_STEPS_A_PAGE = 20


def check_segments(source: Source, offsets: Sequence[int], sizes: Sequence[int]) -> None:
    """Raise `BrokenImage` unless all strips or tiles lie inside the file."""
    source.step(len(offsets) // 4)
    if max(map(add, offsets, sizes), default=0) > source.size:
        raise BrokenImage("The TIFF file is cut off: image data lies past the end of the file.")


class Stack(Protocol):
    """What pages are added to."""

    def add(self, page: Page) -> bool:
        """Look at a page and take it; False: it is none of the image's."""

    def add_repetition(self, sizes: Sizes) -> None:
        """Take a page of these sizes that is like one that was looked at."""


def gather(tiff: Tiff, stack: Stack) -> None:
    """Add all pages in chain order; raises what `stack.add` raises, and `ImageError` for a chain that has no end."""
    seen: set[int] = set()
    alike: Alike | None = None
    offset = tiff.first
    while offset:
        tiff.visit(offset, seen)
        following = alike.following(offset) if alike else None
        if alike and following is not None:
            stack.add_repetition(alike.sizes)
            offset = following
            continue
        page = tiff.page(offset)
        alike = Alike(tiff, page) if stack.add(page) else None
        offset = page.next


class _Values(NamedTuple):
    """A tag's values: in the directory's bytes at `place`, or where the pointer there says."""

    place: int
    layout: struct.Struct
    inline: bool


class Alike:
    """What the repetitions of a page that was read and found good have in common with it: all but where data lies."""

    def __init__(self, tiff: Tiff, page: Page) -> None:
        self.sizes = page.sizes
        self._source = tiff.source
        self._pointer = struct.Struct(tiff.order + ("Q" if tiff.big else "I"))
        self._compared: list[tuple[_Values, tuple[int, ...]]] = []
        self._segments: list[_Values] = []
        self._raw = b""
        head, entry, self._room = (8, 20, 8) if tiff.big else (2, 12, 4)
        self._length = head + page.entries * entry + self._room
        if page.offset + self._length <= tiff.source.size and len(page.tags) == page.entries:
            self._raw = tiff.source.read(page.offset, self._length)
            tiff.source.step(_STEPS_A_TAG * page.entries)
            self._learn(tiff.order, page, range(head, self._length - self._room, entry))

    def _learn(self, order: str, page: Page, entries: range) -> None:
        layout = page.layout_codes
        mask = bytearray(b"\xff" * self._length)
        mask[-self._room :] = bytes(self._room)  # where the next page is
        for start in entries:
            (code,) = struct.unpack_from(order + "H", self._raw, start)
            tag, place = page.tags[code], start + entries.step - self._room
            values = _Values(place, struct.Struct(order + tag.layout), tag.size <= self._room)
            if not values.inline or code in (*layout, _PAGE_NUMBER):
                mask[place : place + self._room] = bytes(self._room)
            if not values.inline and code in _COMPARED:
                self._compared.append((values, self._read(values, self._raw)))
            if code in layout and all(code in page.tags for code in layout):
                self._segments.append(values)
        self._mask = int.from_bytes(mask, "little")
        self._same = int.from_bytes(self._raw, "little") & self._mask

    def following(self, offset: int) -> int | None:
        """Where the page behind the one at `offset` is (0: nowhere), if that one repeats this page; else None.

        Raises:
            BrokenImage: its pixels lie past the end of the file.
        """
        if not self._raw or offset + self._length > self._source.size:
            return None
        self._source.step(_STEPS_A_PAGE)
        raw = self._source.read(offset, self._length)
        if int.from_bytes(raw, "little") & self._mask != self._same:
            return None
        for values, known in self._compared:
            (where,) = self._pointer.unpack_from(raw, values.place)
            if where + values.layout.size > self._source.size or self._read(values, raw) != known:
                return None
        if self._segments:
            offsets, sizes = self._segments
            check_segments(self._source, self._read(offsets, raw), self._read(sizes, raw))
        return int(self._pointer.unpack_from(raw, self._length - self._room)[0])

    def _read(self, values: _Values, raw: bytes) -> tuple[int, ...]:
        if values.inline:
            return values.layout.unpack_from(raw, values.place)
        (where,) = self._pointer.unpack_from(raw, values.place)
        return values.layout.unpack(self._source.read(where, values.layout.size))
