"""Which channel and series each plane of a TIFF is of, as its program says: by tags, descriptions, wavelengths."""

from __future__ import annotations

import json
import struct
from itertools import chain

from images.frame_series import frame_series
from images.headers import tiff_directories as ifd
from images.headers.tiff_directories import Page, Tiff
from images.page_channels import page_channels, several

_MICROMANAGER, _WAVELENGTHS = 51123, 33630
_FLUOVIEW, _DIMENSIONS, _DIMENSION = 34361, 284, 100
_SCANIMAGE_AT, _SCANIMAGE_MAGIC = 16, 0x07030301
_MAX_TEXT = 1 << 20


def channels_of(tiff: Tiff, pages: list[Page], frames: int, description: str) -> tuple[int, ...] | None:
    """The channel of each of `frames` planes, from 0; None if all show the same one, or nobody says."""
    if len(pages) == frames and (found := several(_micromanager(tiff, pages))):
        return found
    places = None if len(pages) != frames else _places(tiff, pages)
    if found := page_channels(description, frames, places):
        return found
    if frames > 1 and (found := page_channels(_scanimage(tiff, pages[0]), frames)):
        return found
    return several(_wavelengths(tiff, pages[0], frames) or _fluoview(tiff, pages[0], frames))


def series_of(tiff: Tiff, pages: list[Page], frames: int, description: str) -> tuple[int, ...] | None:
    """The series of frames, in time or depth, of each of `frames` planes, from 0; None if nobody says."""
    places = None if len(pages) != frames else _places(tiff, pages)
    return frame_series(description, frames, places) if frames > 1 else None


def _places(tiff: Tiff, pages: list[Page]) -> list[int]:
    """The place of each page among all directories, which count masks and reduced copies, too."""
    wanted = {page.offset for page in pages}
    return [place for place, page in enumerate(tiff.pages()) if page.offset in wanted]


def _micromanager(tiff: Tiff, pages: list[Page]) -> list[int] | None:
    """Micro-Manager's plane metadata: `ChannelIndex`, or in NDTiff the position on the channel axis."""
    if not all(_MICROMANAGER in page.tags and page.tags[_MICROMANAGER].size < _MAX_TEXT for page in pages):
        return None
    numbers: dict[object, int] = {}
    found = []
    for page in pages:
        try:
            said = json.loads(tiff.raw(page, _MICROMANAGER).rstrip(b"\0"))
            channel = said["ChannelIndex"] if "ChannelIndex" in said else said["Axes"].get("channel", 0)
            found.append(numbers.setdefault(str(channel), len(numbers)))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None
    return found


def _scanimage(tiff: Tiff, page: Page) -> str:
    """ScanImage's settings: from the Software tag, or from the block behind a BigTIFF header."""
    text = tiff.raw(page, ifd.SOFTWARE)[:_MAX_TEXT]
    if not text.startswith(b"SI.") and tiff.big and tiff.source.size > _SCANIMAGE_AT + 16:
        magic, _, size, _ = tiff.source.unpack("<4I", _SCANIMAGE_AT)
        if magic == _SCANIMAGE_MAGIC:
            capacity = tiff.source.size - _SCANIMAGE_AT - 16
            text = tiff.source.read(_SCANIMAGE_AT + 16, min(size, capacity, _MAX_TEXT))
    return text.decode("latin-1")


def _wavelengths(tiff: Tiff, page: Page, frames: int) -> list[int] | None:
    """A MetaMorph stack gives the wavelength of each plane, a rational."""
    tag = page.tags.get(_WAVELENGTHS)
    if tag is None or tag.kind != ifd.RATIONAL or tag.count != frames:
        return None
    numbers: dict[tuple[int, int], int] = {}
    values = tiff.values(page, _WAVELENGTHS, (), most=frames)
    return [numbers.setdefault(pair, len(numbers)) for pair in zip(*[chain(values)] * 2, strict=True)]


def _fluoview(tiff: Tiff, page: Page, frames: int) -> list[int] | None:
    """FluoView's header names the dimensions, fastest first: X, Y, then those of pages."""
    header_bytes = tiff.raw(page, _FLUOVIEW)
    stride = 1
    for place in range(_DIMENSIONS + 2 * _DIMENSION, min(len(header_bytes), _DIMENSIONS + 10 * _DIMENSION), _DIMENSION):
        name, size = struct.unpack_from(tiff.order + "16si", header_bytes[place : place + _DIMENSION].ljust(20))
        if name.rstrip(b"\0").upper() in (b"CH", b"WAVELENGTH"):
            found = [index // stride % size for index in range(frames)] if size > 0 else None
            return found if found and frames % (stride * size) == 0 else None
        stride *= max(size, 1)
    return None
