"""TIFF headers: the pages that form an image, and what they hold. Source: TIFF 6.0, DNG 1.7."""

from __future__ import annotations

from dataclasses import dataclass

from images.errors import BrokenImage, ImageTooLarge, UnsupportedFormat
from images.headers.tiff_alike import check_segments, gather
from images.headers.tiff_directories import (
    BITS,
    CFA,
    COMPRESSION,
    DNG_VERSION,
    EXTRA_SAMPLES,
    LENGTH,
    LINEAR_RAW,
    LSM_INFO,
    MAX_SEGMENTS,
    PHOTOMETRIC,
    PLANAR,
    ROWS_PER_STRIP,
    SAMPLE_FORMAT,
    SAMPLES,
    SUB_IFDS,
    SUBFILE,
    TILE_LENGTH,
    TILE_OFFSETS,
    TILE_WIDTH,
    WIDTH,
    Page,
    Shape,
    Sizes,
    Tiff,
)
from images.headers.tiff_stacks import is_truncated, plane_counts
from images.info import ImageInfo
from images.limits import Limits
from images.source import Source

_MAX_TAGS_OF_ALL_PAGES = 500_000
_MAX_SEGMENTS_OF_ALL_PAGES = 8_000_000
_YCBCR, _CIELAB = 6, 8
_MADE_RGB = {6, 7, 34892, 34927, 50001}  # decoders of JPEG and WebP turn YCbCr into RGB, others leave it
_COLOURS = {0: 1, 1: 1, 2: 3, 3: 1, 4: 1, 5: 4, 6: 3, 8: 3, 9: 3, 10: 3, CFA: 1, LINEAR_RAW: 3}


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
    if page.layout_codes[0] == TILE_OFFSETS:
        wide, high = tiff.number(page, TILE_WIDTH), tiff.number(page, TILE_LENGTH)
        if wide <= 0 or high <= 0:
            raise BrokenImage("The TIFF file's tiles have no size.")
        if wide * high > max(tiff.limits.max_pixels, 1 << 16) or max(wide, high) > tiff.limits.max_side + 1:
            raise ImageTooLarge(f"The TIFF file's tiles are {wide} x {high} pixels, larger than an image may be.")
        needed = planes * -(-shape.width // wide) * -(-shape.height // high)
    else:
        rows = tiff.number(page, ROWS_PER_STRIP, shape.height) or shape.height
        needed = planes * -(-shape.height // min(rows, shape.height))
    offsets, counts = page.layout_codes
    where = tiff.values(page, offsets, (), MAX_SEGMENTS)
    sizes = tiff.values(page, counts, (), MAX_SEGMENTS)
    if not sizes and needed == 1:
        return
    if len(where) < needed or len(sizes) < needed:
        raise BrokenImage("The TIFF file's table of contents is shorter than its image: the file is damaged.")
    check_segments(tiff.source, where, (0,) * len(where) if tiff.sizes_mislead else sizes)


@dataclass(slots=True)
class _Stack:
    """The image that pages form one after the other, within bounds for all of them."""

    tiff: Tiff
    first: Page | None = None
    shape: Shape | None = None
    frames: int = 0
    skipped: int = 0
    metadata: int = 0
    tags: int = 0
    segments: int = 0

    def add(self, page: Page) -> bool:
        """Take the next page; False: it is a reduced copy or a mask, no page of the image."""
        self._count(page.sizes)
        if self.first is not None and self.tiff.number(page, SUBFILE) & 0b101:
            self.skipped += 1
            return False
        found = shape_of(self.tiff, page)
        if self.first is None:
            self.tiff.sizes_mislead = LSM_INFO in page.tags and self.tiff.number(page, COMPRESSION, 1) != 1
        if self.shape is not None and found != self.shape:
            raise UnsupportedFormat(
                "This TIFF's pages differ in size, channels or depth; split it into files of like pages and send each."
            )
        self.shape, self.first = found, self.first or page
        self.tiff.limits.check(_info(self.tiff, page, found, 1))
        check_layout(self.tiff, page, found)
        self.frames += 1
        return True

    def add_repetition(self, sizes: Sizes) -> None:
        """Take a page that has all in common with an earlier one of these sizes that `add` looks at."""
        self._count(sizes)
        self.frames += 1

    def _count(self, sizes: Sizes) -> None:
        tags, metadata, segments = sizes
        self.tags += tags
        self.segments += segments
        if self.tags > _MAX_TAGS_OF_ALL_PAGES or self.segments > 2 * _MAX_SEGMENTS_OF_ALL_PAGES:
            raise ImageTooLarge("The TIFF file's tables of contents are larger than those of any real image.")
        self.metadata += metadata
        self.tiff.limits.check_metadata(self.metadata)


def stack_pages(tiff: Tiff) -> tuple[list[Page], Shape, int]:
    """The pages that form the image, their common shape, and how many reduced copies or masks were left out."""
    stack = _Stack(tiff)
    pages = [page for page in tiff.pages() if stack.add(page)]
    if stack.shape is None:
        raise BrokenImage("The TIFF file holds no page.")
    return pages, stack.shape, stack.skipped


def _measured(tiff: Tiff) -> tuple[Page, Shape, int]:
    """The first page, the shape and the number of the pages that form the image; refuses what `stack_pages` does."""
    stack = _Stack(tiff)
    gather(tiff, stack)
    if stack.shape is None or stack.first is None:
        raise BrokenImage("The TIFF file holds no page.")
    return stack.first, stack.shape, stack.frames


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
    first, shape, frames = _measured(tiff)
    if frames == 1:
        frames = sum(plane_counts(tiff, [first], shape))
    elif is_truncated(tiff, first, shape):
        frames = sum(plane_counts(tiff, stack_pages(tiff)[0], shape))
    return _info(tiff, first, shape, frames)


def raw_page(tiff: Tiff, first: Page) -> Page | None:
    """The directory with the sensor's mosaic: the first page or one of its sub-directories; None if there is none."""
    if tiff.number(first, PHOTOMETRIC, 1) == CFA:
        return first
    for offset in tiff.values(first, SUB_IFDS, (), 64):
        page = tiff.page(offset)
        if tiff.number(page, PHOTOMETRIC, 1) in (CFA, LINEAR_RAW) and not tiff.number(page, SUBFILE) & 1:
            return page
    return None
