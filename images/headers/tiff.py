"""TIFF and BigTIFF headers, walked with bounds. Source: TIFF 6.0, BigTIFF (AWare), DNG 1.7, ImageJ's and OME's tags."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from images.errors import BrokenImage, ImageTooLarge, UnsupportedFormat
from images.info import ImageInfo
from images.limits import Limits
from images.source import Source

SUBFILE, WIDTH, LENGTH, BITS, COMPRESSION, PHOTOMETRIC = 254, 256, 257, 258, 259, 262
DESCRIPTION, STRIP_OFFSETS, ORIENTATION, SAMPLES, ROWS_PER_STRIP, STRIP_COUNTS = 270, 273, 274, 277, 278, 279
PLANAR, SOFTWARE, TILE_WIDTH, TILE_LENGTH, TILE_OFFSETS, TILE_COUNTS = 284, 305, 322, 323, 324, 325
SUB_IFDS, EXTRA_SAMPLES, SAMPLE_FORMAT, DNG_VERSION = 330, 338, 339, 50706
BYTE, ASCII, SHORT, LONG, RATIONAL, SBYTE, UNDEFINED, SSHORT, SLONG, SRATIONAL, FLOAT, DOUBLE = range(1, 13)
IFD, LONG8, SLONG8, IFD8 = 13, 16, 17, 18
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_CODES = {1: "B", 3: "H", 4: "I", 6: "b", 7: "B", 8: "h", 9: "i", 11: "f", 12: "d", 13: "I", 16: "Q", 17: "q", 18: "Q"}
_LAYOUT = {STRIP_OFFSETS, STRIP_COUNTS, TILE_OFFSETS, TILE_COUNTS}
_MAX_TAGS = 4_096
_MAX_TAGS_OF_ALL_PAGES = 500_000
_MAX_SEGMENTS = 1_000_000  # strips or tiles of a page
_MAX_SEGMENTS_OF_ALL_PAGES = 8_000_000
CFA, LINEAR_RAW = 32803, 34892
_YCBCR, _CIELAB = 6, 8
_MADE_RGB = {6, 7, 34892, 34927, 50001}  # decoders of JPEG and WebP turn YCbCr into RGB, others leave it
_COLOURS = {0: 1, 1: 1, 2: 3, 3: 1, 4: 1, 5: 4, 6: 3, 8: 3, 9: 3, 10: 3, CFA: 1, LINEAR_RAW: 3}


@dataclass(frozen=True, slots=True)
class Tag:
    """One directory entry: `offset` is where its `count` values of type `kind` lie."""

    code: int
    kind: int
    count: int
    offset: int

    @property
    def size(self) -> int:
        return self.count * SIZES.get(self.kind, 0)


@dataclass(frozen=True, slots=True)
class Page:
    """One image file directory."""

    tags: dict[int, Tag]
    offset: int
    next: int


@dataclass(slots=True)
class Tiff:
    """A TIFF file's structure: byte order, classic or big, and its directories on demand."""

    source: Source
    limits: Limits
    order: str = field(init=False)
    big: bool = field(init=False)
    first: int = field(init=False)

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
        return Page(tags, offset, following)

    def pages(self) -> Iterator[Page]:
        """Directories in chain order; a loop or an endless chain is refused."""
        seen: set[int] = set()
        offset = self.first
        while offset:
            if offset in seen:
                raise BrokenImage("The TIFF file's pages point at each other in a circle.")
            if len(seen) >= self.limits.max_frames:
                raise ImageTooLarge(f"The file has more than {self.limits.max_frames:,} pages, which is the limit.")
            seen.add(offset)
            page = self.page(offset)
            yield page
            offset = page.next

    def values(self, page: Page, code: int, default: tuple[Any, ...] = (), most: int = 1024) -> tuple[Any, ...]:
        """A tag's numbers (rationals as pairs flattened); `default` where the tag is missing or of an unknown type."""
        tag = page.tags.get(code)
        if tag is None or not tag.count:
            return default
        if tag.count > most:
            raise BrokenImage(f"The TIFF tag {code} has {tag.count:,} values, more than it can have.")
        if tag.kind in (RATIONAL, SRATIONAL):
            return self.source.unpack(f"{self.order}{2 * tag.count}{'I' if tag.kind == RATIONAL else 'i'}", tag.offset)
        if tag.kind not in _CODES:
            return default
        return self.source.unpack(f"{self.order}{tag.count}{_CODES[tag.kind]}", tag.offset)

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


def shape_of(tiff: Tiff, page: Page) -> Shape:
    """The page's geometry, checked; raises `BrokenImage` or `UnsupportedFormat`."""
    bits = tiff.values(page, BITS, (1,))
    formats = tiff.values(page, SAMPLE_FORMAT, (1,))
    if len(set(bits)) > 1 or len(set(formats)) > 1:
        raise UnsupportedFormat("This TIFF's channels differ in bit depth; save all of them with the same depth.")
    shape = Shape(
        width=tiff.number(page, WIDTH),
        height=tiff.number(page, LENGTH),
        samples=tiff.number(page, SAMPLES, 1),
        bits=int(bits[0]),
        sample_format=int(formats[0])
        if formats[0] != 4
        else 1,  # 4 is "undefined": treated as unsigned, as libtiff does
        photometric=tiff.number(page, PHOTOMETRIC, 1),
    )
    if shape.width <= 0 or shape.height <= 0 or shape.samples <= 0:
        raise BrokenImage("The TIFF file has a page without a valid size.")
    if shape.photometric not in _COLOURS:
        raise UnsupportedFormat(f"This TIFF's colours are of a kind ({shape.photometric}) that is not read.")
    _check_colours(tiff, page, shape)
    if not shape.dtype:
        raise UnsupportedFormat(f"This TIFF holds {shape.bits}-bit samples of a kind that is not read (complex, odd).")
    return shape


def _check_colours(tiff: Tiff, page: Page, shape: Shape) -> None:
    """Refuse samples that are no amounts of light (gray, RGB, inks): their noise is not what a model knows."""
    if shape.photometric == _CIELAB:
        kind = "CIELab"
    elif shape.photometric == _YCBCR and tiff.number(page, COMPRESSION, 1) not in _MADE_RGB:
        kind = "YCbCr (other than JPEG's)"
    else:
        return
    raise UnsupportedFormat(f"This TIFF's colours are {kind}, which is not read; convert it to RGB or grayscale first.")


def sub_images(page: Page) -> int:
    """Images in sub-directories: the reduced copies of a pyramid."""
    return page.tags[SUB_IFDS].count if SUB_IFDS in page.tags else 0


def check_layout(tiff: Tiff, page: Page, shape: Shape) -> None:
    """Strips or tiles: sizes sane, as many as the size needs, all inside the file."""
    planes = shape.samples if tiff.number(page, PLANAR, 1) == 2 else 1
    if TILE_OFFSETS in page.tags or TILE_WIDTH in page.tags:
        wide, high = tiff.number(page, TILE_WIDTH), tiff.number(page, TILE_LENGTH)
        if wide <= 0 or high <= 0:
            raise BrokenImage("The TIFF file's tiles have no size.")
        if wide * high > max(tiff.limits.max_pixels, 1 << 16) or max(wide, high) > tiff.limits.max_side + 1:
            raise ImageTooLarge(f"The TIFF file's tiles are {wide} x {high} pixels, larger than an image may be.")
        needed = planes * -(-shape.width // wide) * -(-shape.height // high)
        offsets, counts = TILE_OFFSETS, TILE_COUNTS
    else:
        rows = tiff.number(page, ROWS_PER_STRIP, shape.height) or shape.height
        needed = planes * -(-shape.height // min(rows, shape.height))
        offsets, counts = STRIP_OFFSETS, STRIP_COUNTS
    where = tiff.values(page, offsets, (), _MAX_SEGMENTS)
    sizes = tiff.values(page, counts, (), _MAX_SEGMENTS)
    if not sizes and needed == 1:
        return
    if len(where) < needed or len(sizes) < needed:
        raise BrokenImage("The TIFF file's table of contents is shorter than its image: the file is damaged.")
    if any(offset + size > tiff.source.size for offset, size in zip(where, sizes, strict=False)):
        raise BrokenImage("The TIFF file is cut off: image data lies past the end of the file.")


def segments(tiff: Tiff, page: Page) -> list[tuple[int, int]]:
    """(offset, size) of the page's strips or tiles."""
    tiled = TILE_OFFSETS in page.tags
    where = tiff.values(page, TILE_OFFSETS if tiled else STRIP_OFFSETS, (), _MAX_SEGMENTS)
    sizes = tiff.values(page, TILE_COUNTS if tiled else STRIP_COUNTS, (), _MAX_SEGMENTS)
    return list(zip(where, sizes, strict=False))


def stack_pages(tiff: Tiff) -> tuple[list[Page], Shape, int]:
    """The pages that form the image, their common shape, and how many reduced copies or masks were left out."""
    pages: list[Page] = []
    shape: Shape | None = None
    skipped = metadata = tags = segments = 0
    for page in tiff.pages():
        tags += len(page.tags)
        segments += sum(page.tags[code].count for code in _LAYOUT & page.tags.keys())
        if tags > _MAX_TAGS_OF_ALL_PAGES or segments > 2 * _MAX_SEGMENTS_OF_ALL_PAGES:
            raise ImageTooLarge("The TIFF file's tables of contents are larger than those of any real image.")
        metadata += sum(tag.size for tag in page.tags.values() if tag.code not in _LAYOUT)
        tiff.limits.check_metadata(metadata)
        if pages and tiff.number(page, SUBFILE) & 0b101:
            skipped += 1
            continue
        found = shape_of(tiff, page)
        if shape is not None and found != shape:
            raise UnsupportedFormat(
                "This TIFF's pages differ in size, channels or depth; split it into files of like pages and send each."
            )
        shape = found
        tiff.limits.check(_info(tiff, page, found, 1))
        check_layout(tiff, page, found)
        pages.append(page)
    if shape is None:
        raise BrokenImage("The TIFF file holds no page.")
    return pages, shape, skipped


def imagej_images(tiff: Tiff, page: Page) -> int:
    """Images that ImageJ says follow the first one without directories of their own (hyperstacks over 4 GB)."""
    text = tiff.raw(page, DESCRIPTION)
    match = re.search(rb"\nimages=(\d{1,9})\b", text) if text.startswith(b"ImageJ=") else None
    return int(match[1]) if match else 1


def alpha_samples(tiff: Tiff, page: Page, shape: Shape) -> int:
    """1 if the page's one extra sample is declared alpha (associated or not), else 0."""
    extra = shape.samples - _COLOURS.get(shape.photometric, 1)
    return int(extra == 1 and tiff.number(page, EXTRA_SAMPLES) in (1, 2))


def _info(tiff: Tiff, page: Page, shape: Shape, frames: int) -> ImageInfo:
    alpha = alpha_samples(tiff, page, shape)
    return ImageInfo(
        format="tiff",
        width=shape.width,
        height=shape.height,
        channels=3 if shape.photometric == 3 and shape.samples == 1 else shape.samples - alpha,
        dtype="uint8" if shape.photometric == 3 and shape.bits <= 8 else shape.dtype,
        frames=frames,
        has_alpha=bool(alpha),
        bits=shape.bits,
    )


def mosaic_info(width: int, height: int) -> ImageInfo:
    """The facts of a camera's raw mosaic of this size; `BrokenImage` if there is none."""
    if width <= 0 or height <= 0:
        raise BrokenImage("The raw file gives no size for its image.")
    return ImageInfo("raw", width, height, 1, dtype="uint16", bits=16)


def read(source: Source, limits: Limits) -> ImageInfo:
    """Facts from the directories; a file with a mosaic page is camera raw ("dng")."""
    tiff = Tiff(source, limits)
    first = tiff.page(tiff.first)
    raw = raw_page(tiff, first)
    if raw is not None:
        if DNG_VERSION not in first.tags:  # NEF, ARW, PEF…: mosaics, but with tags that only their makers explain
            return mosaic_info(tiff.number(raw, WIDTH), tiff.number(raw, LENGTH))
        shape = shape_of(tiff, raw)
        return ImageInfo("dng", shape.width, shape.height, shape.samples, dtype=shape.dtype, bits=shape.bits)
    pages, shape, _ = stack_pages(tiff)
    frames = len(pages) if len(pages) > 1 else max(1, imagej_images(tiff, pages[0]))
    return _info(tiff, pages[0], shape, frames)


def raw_page(tiff: Tiff, first: Page) -> Page | None:
    """The directory with the sensor's mosaic: the first page or one of its sub-directories; None if there is none."""
    if tiff.number(first, PHOTOMETRIC, 1) == CFA:
        return first
    for offset in tiff.values(first, SUB_IFDS, (), 64):
        page = tiff.page(offset)
        if tiff.number(page, PHOTOMETRIC, 1) in (CFA, LINEAR_RAW) and not tiff.number(page, SUBFILE) & 1:
            return page
    return None
