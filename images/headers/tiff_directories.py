"""TIFF directories, walked with bounds: the tags of a page and their values. Source: TIFF 6.0, BigTIFF (AWare)."""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from images.errors import BrokenImage, ImageTooLarge
from images.limits import Limits
from images.source import Source

SUBFILE, WIDTH, LENGTH, BITS, COMPRESSION, PHOTOMETRIC = 254, 256, 257, 258, 259, 262
DESCRIPTION, STRIP_OFFSETS, ORIENTATION, SAMPLES, ROWS_PER_STRIP, STRIP_COUNTS = 270, 273, 274, 277, 278, 279
PLANAR, SOFTWARE, TILE_WIDTH, TILE_LENGTH, TILE_OFFSETS, TILE_COUNTS = 284, 305, 322, 323, 324, 325
SUB_IFDS, EXTRA_SAMPLES, SAMPLE_FORMAT, LSM_INFO, DNG_VERSION = 330, 338, 339, 34412, 50706
BYTE, ASCII, SHORT, LONG, RATIONAL, SBYTE, UNDEFINED, SSHORT, SLONG, SRATIONAL, FLOAT, DOUBLE = range(1, 13)
IFD, LONG8, SLONG8, IFD8 = 13, 16, 17, 18
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_CODES = {1: "B", 3: "H", 4: "I", 6: "b", 7: "B", 8: "h", 9: "i", 11: "f", 12: "d", 13: "I", 16: "Q", 17: "q", 18: "Q"}
_LAYOUT = {STRIP_OFFSETS, STRIP_COUNTS, TILE_OFFSETS, TILE_COUNTS}
_MAX_TAGS = 4_096
_STEPS_A_PAGE, _STEPS_A_TAG, _VALUES_A_STEP = 120, 9, 8
MAX_SEGMENTS = 1_000_000  # strips or tiles of a page
CFA, LINEAR_RAW = 32803, 34892


class Tag(NamedTuple):
    """One directory entry: `offset` is where its `count` values of type `kind` lie."""

    code: int
    kind: int
    count: int  # type: ignore[assignment]  # hides tuple's method, which nobody calls
    offset: int

    @property
    def size(self) -> int:
        return self.count * SIZES.get(self.kind, 0)

    @property
    def layout(self) -> str:
        """Its values in `struct`'s words, rationals as pairs; bytes where the type is unknown or text."""
        if self.kind in (RATIONAL, SRATIONAL):
            return f"{2 * self.count}{'I' if self.kind == RATIONAL else 'i'}"
        return f"{self.count}{_CODES[self.kind]}" if self.kind in _CODES else f"{self.size}B"


class Sizes(NamedTuple):
    """What a page adds to a file's tables of contents: tags, bytes of metadata, offsets and sizes of segments."""

    tags: int
    metadata: int
    segments: int


@dataclass(frozen=True, slots=True)
class Page:
    """One image file directory of so many entries; `tags` has the first of each code that can be read."""

    tags: dict[int, Tag]
    offset: int
    next: int
    entries: int

    @property
    def layout_codes(self) -> tuple[int, int]:
        """The tags that say where the tiles or strips lie, and how long they are."""
        tiled = TILE_OFFSETS in self.tags or TILE_WIDTH in self.tags
        return (TILE_OFFSETS, TILE_COUNTS) if tiled else (STRIP_OFFSETS, STRIP_COUNTS)

    @property
    def sizes(self) -> Sizes:
        metadata = sum(tag.size for tag in self.tags.values() if tag.code not in _LAYOUT)
        return Sizes(len(self.tags), metadata, sum(self.tags[code].count for code in _LAYOUT & self.tags.keys()))


@dataclass(slots=True)
class Tiff:
    """A TIFF file's structure: byte order, classic or big, and its directories on demand."""

    source: Source
    limits: Limits
    order: str = field(init=False)
    big: bool = field(init=False)
    first: int = field(init=False)
    sizes_mislead: bool = field(init=False, default=False)  # Zeiss LSM gives the sizes of compressed strips before that
    starts: list[int] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        head = self.source.head(4)
        self.order = "<" if head[:2] == b"II" else ">"
        (version,) = struct.unpack(self.order + "H", head[2:4])
        self.big = version == 43
        if self.big:
            size, _, self.first = self.source.unpack(self.order + "HHQ", 4)
            if size != 8:
                raise BrokenImage("The BigTIFF header is damaged.")
        else:
            (self.first,) = self.source.unpack(self.order + "I", 4)

    def page(self, offset: int) -> Page:
        """The directory at `offset`; tags whose values lie past the end are left out."""
        counter, entry, inline, width = ("Q", "HHQ8s", 8, 20) if self.big else ("H", "HHI4s", 4, 12)
        (count,) = self.source.unpack(self.order + counter, offset)
        if not 0 < count <= _MAX_TAGS:
            raise BrokenImage("The TIFF file has a page with no tags, or with more than any real page has.")
        start = offset + struct.calcsize(self.order + counter)
        block = self.source.read(start, count * width)
        self.source.step(_STEPS_A_PAGE + _STEPS_A_TAG * count)
        tags: dict[int, Tag] = {}
        for index, (code, kind, number, value) in enumerate(struct.iter_unpack(self.order + entry, block)):
            size = number * SIZES.get(kind, 0)
            where = start + index * width + width - inline
            if size > inline:
                (where,) = struct.unpack(self.order + ("Q" if self.big else "I"), value)
                if (
                    where + size > self.source.size
                ):  # a private tag gone wrong spoils nothing; a needed one is missed below
                    continue
            tags.setdefault(code, Tag(code, kind, number, where))
        end = start + count * width
        following = 0
        if end + inline <= self.source.size:
            (following,) = self.source.unpack(self.order + ("Q" if self.big else "I"), end)
        return Page(tags, offset, following, count)

    def pages(self) -> Iterator[Page]:
        """Directories in chain order; a loop or an endless chain is refused."""
        seen: set[int] = set()
        offset = self.first
        while offset:
            self.visit(offset, seen)
            page = self.page(offset)
            yield page
            offset = page.next

    def visit(self, offset: int, seen: set[int]) -> None:
        """Note that the directory at `offset` is read; raises if it was before, or if it is one too many."""
        if offset in seen:
            raise BrokenImage("The TIFF file's pages point at each other in a circle.")
        if len(seen) >= self.limits.max_frames:
            raise ImageTooLarge(f"The file has more than {self.limits.max_frames:,} pages, which is the limit.")
        seen.add(offset)

    def values(self, page: Page, code: int, default: tuple[Any, ...] = (), most: int = 1024) -> tuple[Any, ...]:
        """A tag's numbers (rationals as pairs flattened); `default` where the tag is missing or of an unknown type."""
        tag = page.tags.get(code)
        if tag is None or not tag.count:
            return default
        if tag.count > most:
            raise BrokenImage(f"The TIFF tag {code} has {tag.count:,} values, more than it can have.")
        if tag.kind not in _CODES and tag.kind not in (RATIONAL, SRATIONAL):
            return default
        self.source.step(tag.count // _VALUES_A_STEP)
        return self.source.unpack(self.order + tag.layout, tag.offset)

    def number(self, page: Page, code: int, default: int = 0) -> int:
        """A tag's first value as an integer."""
        values = self.values(page, code, (default,))
        return int(values[0])

    def raw(self, page: Page, code: int) -> bytes:
        """A tag's bytes as they lie in the file."""
        tag = page.tags.get(code)
        if tag is None:
            return b""
        self.limits.check_metadata(tag.size)
        return self.source.read(tag.offset, tag.size)


@dataclass(frozen=True, slots=True)
class Shape:
    """What two pages must share to be one stack."""

    width: int
    height: int
    samples: int
    bits: int
    sample_format: int
    photometric: int

    @property
    def dtype(self) -> str:
        if self.sample_format == 3:
            return {16: "float16", 24: "float32", 32: "float32", 64: "float64"}.get(self.bits, "")
        width = next((w for w in (8, 16, 32, 64) if self.bits <= w), 0)
        return f"{'int' if self.sample_format == 2 else 'uint'}{width}" if width else ""


def segments(tiff: Tiff, page: Page) -> list[tuple[int, int]]:
    """(offset, size) of the page's strips or tiles."""
    tiled = TILE_OFFSETS in page.tags
    where = tiff.values(page, TILE_OFFSETS if tiled else STRIP_OFFSETS, (), MAX_SEGMENTS)
    sizes = tiff.values(page, TILE_COUNTS if tiled else STRIP_COUNTS, (), MAX_SEGMENTS)
    return list(zip(where, _sizes_to_next(tiff, where) if tiff.sizes_mislead else sizes, strict=False))


def _sizes_to_next(tiff: Tiff, where: tuple[int, ...]) -> list[int]:
    """Bytes from each strip to whatever comes next in the file: another strip, a directory, or the end."""
    if not tiff.starts:
        found = {tiff.source.size}
        for page in tiff.pages():
            found |= {page.offset, *tiff.values(page, STRIP_OFFSETS, (), MAX_SEGMENTS)}
        tiff.starts = sorted(found)
    return [tiff.starts[min(bisect_right(tiff.starts, start), len(tiff.starts) - 1)] - start for start in where]
