"""Planes that have no directory of their own: they lie behind those of the directory, uncompressed, back to back.

Sources: MetaMorph Stack (STK) format; ImageJ's and NIH Image's TiffDecoder; tifffile's "shaped" description, and its
reader of Zeiss LSM.
"""

from __future__ import annotations

import json
import math
import re

from images.errors import BrokenImage, UnsupportedFormat
from images.headers.tiff_directories import (
    COMPRESSION,
    DESCRIPTION,
    MAX_SEGMENTS,
    STRIP_COUNTS,
    STRIP_OFFSETS,
    Page,
    Shape,
    Tiff,
)

_UIC, _NIH = (33629, 33630), 43314  # a value for each plane of a MetaMorph stack; NIH Image's header
_NIH_IMAGES = 260  # where the header has the number of slices
_IMAGEJ = re.compile(rb"\n(images|channels|slices|frames)=(\d{1,9})\b")
_MAX_JSON = 1 << 16
_IMAGEJ_HEAD = 4096  # ImageJ writes these into the first lines


def plane_counts(tiff: Tiff, pages: list[Page], shape: Shape) -> list[int]:
    """For each directory, how many planes lie from its first strip on: 1 for all but some programs' stacks.

    Raises:
        BrokenImage: some of the planes are cut off.
        UnsupportedFormat: they are said to be there, but compressed, or not one after the other.
    """
    if len(pages) == 1:
        said = max(_of_one(tiff, pages[0]), _shaped(tiff, pages[0], shape)[0])
        return [_present(tiff, pages[0], shape, said) if said > 1 else 1]
    if not is_truncated(tiff, pages[0], shape):
        return [1] * len(pages)
    series = [_shaped(tiff, page, shape) for page in pages]
    return [_present(tiff, page, shape, said) if cut else 1 for page, (said, cut) in zip(pages, series, strict=True)]


def is_truncated(tiff: Tiff, first: Page, shape: Shape) -> bool:
    """Whether tifffile wrote series, the first of them at least, with one directory each."""
    said, truncated = _shaped(tiff, first, shape)
    return truncated and said > 1


def missing_planes(tiff: Tiff, pages: list[Page], shape: Shape) -> int:
    """Planes that a lone directory promises although nothing lies behind it, as a copied description does; else 0."""
    said = max(_of_one(tiff, pages[0]), _shaped(tiff, pages[0], shape)[0]) if len(pages) == 1 else 1
    return said - 1 if said > 1 and plane_counts(tiff, pages, shape) == [1] else 0


def plane_bytes(shape: Shape) -> int:
    """Bytes of one uncompressed plane; 0 where samples fill no type."""
    return shape.width * shape.height * shape.samples * shape.bits // 8 if shape.bits in (8, 16, 32, 64) else 0


def _of_one(tiff: Tiff, page: Page) -> int:
    """Planes of a file with one directory, as MetaMorph, ImageJ and NIH Image say."""
    for code in _UIC:
        if code in page.tags:
            return page.tags[code].count
    text = tiff.raw(page, DESCRIPTION)[:_IMAGEJ_HEAD]
    if text.startswith(b"ImageJ="):
        said = {key: int(value) for key, value in _IMAGEJ.findall(text)}
        return said.get(b"images") or math.prod(said.get(key, 1) for key in (b"channels", b"slices", b"frames"))
    if _NIH in page.tags and page.tags[_NIH].offset + _NIH_IMAGES + 2 <= tiff.source.size:
        return max(1, int(tiff.source.unpack(tiff.order + "h", page.tags[_NIH].offset + _NIH_IMAGES)[0]))
    return 1


def _shaped(tiff: Tiff, page: Page, shape: Shape) -> tuple[int, bool]:
    """(planes of a series that starts at this directory, whether only its first has one), as tifffile's JSON says."""
    tag = page.tags.get(DESCRIPTION)
    if tag is None or not 9 < tag.size < _MAX_JSON:
        return 1, False
    text = tiff.raw(page, DESCRIPTION)
    if not text.startswith(b'{"shape"'):
        return 1, False
    tiff.source.step(tag.size)
    try:
        found = json.loads(text.rstrip(b"\0"))
        sizes = [int(size) for size in found["shape"]]
    except (ValueError, KeyError, TypeError, RecursionError):
        return 1, False
    samples, rest = shape.width * shape.height * shape.samples, math.prod(sizes)
    if min(sizes, default=0) < 1 or rest % samples:
        return 1, False
    return rest // samples, found.get("truncated") is True


def _present(tiff: Tiff, page: Page, shape: Shape, said: int) -> int:
    """`said`, if so many planes lie there; 1 if no second one does."""
    size = plane_bytes(shape)
    where = tiff.values(page, STRIP_OFFSETS, (), MAX_SEGMENTS)
    if not where:
        raise UnsupportedFormat("This TIFF's planes lie in tiles without directories of their own, which is not read.")
    there = (tiff.source.size - where[0]) // size if size else 1
    if there < 2:
        return 1
    if tiff.number(page, COMPRESSION, 1) != 1 or not size or not _contiguous(tiff, page, where):
        raise UnsupportedFormat(
            "This stack's planes have no directories of their own and are compressed or scattered, which is not read; "
            "save it uncompressed, or with a directory for each plane."
        )
    if there < said:
        raise BrokenImage(f"The file says that it has {said:,} planes, but there is data for {there:,}: it is cut off.")
    return said


def _contiguous(tiff: Tiff, page: Page, where: tuple[int, ...]) -> bool:
    """Whether strips follow each other without gaps."""
    sizes = tiff.values(page, STRIP_COUNTS, (), MAX_SEGMENTS)
    tiff.source.step(len(where))
    return len(where) == 1 or all(a + size == b for a, size, b in zip(where, sizes, where[1:], strict=False))
