"""The planes of a TIFF as arrays: by tifffile where a directory describes one, else from the bytes."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from images import lzw
from images.codecs import tiff_tags as tagging
from images.errors import BrokenImage, UnsupportedFormat
from images.headers import jpeg as jpeg_header
from images.headers import tiff_directories as ifd
from images.headers.tiff_directories import Page, Shape, Tiff
from images.headers.tiff_stacks import plane_bytes
from images.source import Source

Array = NDArray[Any]
_PALETTE = 3
_LZW, _JPEG, _JPEG_START = 5, (6, 7), b"\xff\xd8"
_JPEG_SLACK = 1 << 16  # some writers pad strips to whole blocks


def planes(source: Source, tiff: Tiff, pages: list[Page], shape: Shape, counts: list[int]) -> Iterator[Array]:
    """(H, W, S) samples as stored, plane after plane, palettes looked up; `counts` as `plane_counts` gives them."""
    palette = None
    if shape.photometric == _PALETTE and shape.samples == 1:
        palette = _palette(np.array(tiff.values(pages[0], tagging.COLOR_MAP, (), 3 << 16), np.uint16))
    for plane in _stored(source, tiff, pages, shape, counts):
        if palette is not None:
            yield _looked_up(plane, palette)
        elif plane.dtype == np.bool_:
            yield plane.astype(np.uint8) * np.uint8(255)
        elif shape.bits < 8:
            yield plane.astype(np.uint8) * np.uint8(255 // ((1 << shape.bits) - 1))
        else:
            yield plane


class _Stream(io.RawIOBase):
    """The source as a file object, so that a stack on disk is never read as a whole."""

    def __init__(self, source: Source) -> None:
        self._source, self._place = source, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._source.size}[whence]
        self._place = max(0, base + offset)
        return self._place

    def readinto(self, buffer: Any) -> int:
        size = max(0, min(len(buffer), self._source.size - self._place))
        buffer[:size] = self._source.read(min(self._place, self._source.size - size), size)
        self._place += size
        return size


def _stored(source: Source, tiff: Tiff, pages: list[Page], shape: Shape, counts: list[int]) -> Iterator[Array]:
    """One directory after the other, each read at the offset that was checked."""
    with tifffile.TiffFile(io.BufferedReader(_Stream(source)), _multifile=False) as file:
        for index, (page, count) in enumerate(zip(pages, counts, strict=True)):
            if count > 1:
                yield from _contiguous(source, tiff, page, shape, count)
                continue
            compression = tiff.number(page, ifd.COMPRESSION, 1)
            if compression == _LZW:
                _check_lzw(source, tiff, page)
            elif compression in _JPEG:
                _check_jpeg(source, tiff, page)
            file.filehandle.seek(page.offset)
            found = tifffile.TiffPage(file, index=index)
            if tiff.sizes_mislead:
                found.databytecounts = tuple(size for _, size in ifd.segments(tiff, page))
            yield _plane(found)


def _check_lzw(source: Source, tiff: Tiff, page: Page) -> None:
    """Refuse streams that would lead the decoder astray."""
    for offset, size in ifd.segments(tiff, page):
        if size and not lzw.is_sound(source.read(offset, size)):
            raise BrokenImage("The TIFF file's image data is damaged: its LZW compression is broken.")


def _check_jpeg(source: Source, tiff: Tiff, page: Page) -> None:
    """Refuse strips and tiles whose own headers give a far larger size: they would be decoded to that, then cut."""
    width, height = tiff.number(page, ifd.WIDTH), tiff.number(page, ifd.LENGTH)
    rows = tiff.number(page, ifd.ROWS_PER_STRIP, height) or height
    capacity = width * min(rows, height)
    if ifd.TILE_WIDTH in page.tags:
        capacity = tiff.number(page, ifd.TILE_WIDTH) * tiff.number(page, ifd.TILE_LENGTH)
    for offset, size in ifd.segments(tiff, page):
        if size > 4 and source.read(offset, 2) == _JPEG_START:
            found = jpeg_header.frame_pixels(Source(source.read(offset, size)))
            if found > 2 * capacity + _JPEG_SLACK:
                raise BrokenImage(
                    "The TIFF file's JPEG data gives a far larger size than its page: it is built to do harm."
                )


def _plane(page: tifffile.TiffPage) -> Array:
    """One page as (H, W, S), whatever its planar configuration."""
    if page.shaped[1] != 1:
        raise UnsupportedFormat("This TIFF stores volumes inside a page, which is not read; save one slice a page.")
    data = np.asarray(page.asarray(maxworkers=1)).reshape(page.shaped)
    planes, _, height, width, chunky = data.shape
    return data.transpose(1, 2, 3, 0, 4).reshape(height, width, planes * chunky)


def _contiguous(source: Source, tiff: Tiff, page: Page, shape: Shape, count: int) -> Iterator[Array]:
    """Planes back to back, as `plane_counts` found them."""
    dtype = np.dtype(tiff.order + np.dtype(shape.dtype).str[1:])
    start, size = ifd.segments(tiff, page)[0][0], plane_bytes(shape)
    separate = tiff.number(page, ifd.PLANAR, 1) == 2
    for index in range(count):
        data = np.frombuffer(source.read(start + index * size, size), dtype)
        if separate:
            yield data.reshape(shape.samples, shape.height, shape.width).transpose(1, 2, 0)
        else:
            yield data.reshape(shape.height, shape.width, shape.samples)


def _palette(colours: Array) -> Array:
    """(entries, 3) colours; 8 bit where the palette's 16-bit entries are 8-bit ones scaled."""
    if colours.size % 3:
        raise BrokenImage("The TIFF file's colour palette is damaged.")
    table = colours.reshape(3, -1).T
    if np.array_equal(table, (table >> 8) * 257) or not (table & 0xFF).any():
        table = (table >> 8).astype(np.uint8)
    return table


def _looked_up(plane: Array, palette: Array) -> Array:
    """Palette indices (H, W, 1) to RGB."""
    if int(plane.max(initial=0)) >= len(palette):
        raise BrokenImage("The TIFF file's colour palette is too short for its image.")
    return np.take(palette, plane[..., 0].astype(np.intp), axis=0)
