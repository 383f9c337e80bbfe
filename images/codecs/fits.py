"""FITS images. The file comes back as it was, every card and every other unit, with the first image's data replaced.

Integers are denoised as stored (BSCALE and BZERO stay in the header and keep their meaning, and give the report its
units), but where BZERO only stands for a type that FITS lacks, as for unsigned 16, 32 and 64 bit, they are read as that
type. NaN and BLANK pixels stay so.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from images import note as notes
from images.decoded import Decoded, Metadata
from images.errors import UnsupportedFormat
from images.headers import fits as header
from images.info import ImageInfo
from images.limits import Limits
from images.samples import NoData, declared
from images.source import Source
from images.units import Units
from images.working_stack import Allocate, WorkingStack

Array = NDArray[Any]
_SUMS = ("CHECKSUM", "DATASUM ")  # of the data that came in; optional, and wrong would be worse than absent
_COLOURS = 3  # planes that are colours already: some programs leave the sensor's pattern in their header
_TYPES = {8: ">u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}


def decode(source: Source, info: ImageInfo, limits: Limits) -> Decoded:
    """(N, H, W, 1) of the first image unit; leading axes become frames."""
    return decode_stack(source, info, limits, np.empty)


def decode_stack(source: Source, info: ImageInfo, limits: Limits, allocate: Allocate) -> Decoded:
    """As `decode`, read page by page into memory from `allocate`."""
    unit = header.image_unit(source)
    no_data = _blank(unit)
    stack = WorkingStack(info.frames, allocate, no_data)
    size = unit.size // info.frames
    for index in range(info.frames):
        page = np.frombuffer(source.read(unit.data + index * size, size), _TYPES[unit.bitpix])
        page = _turned(page, info.dtype) if unit.is_turned else page
        stack.put(index, page.reshape(info.height, info.width, 1), None)
    native: dict[str, Any] = {
        "before": source.read(0, unit.start),
        "cards": [card for card in unit.cards if not card.startswith(_SUMS)],
        "after": source.read(min(unit.end, source.size), max(0, source.size - unit.end)),
        "size": unit.size,
        "type": _TYPES[unit.bitpix],
        "turned": unit.is_turned,
    }
    limits.check_metadata(len(native["after"]) + len(native["before"]))
    history = "".join(card for card in unit.cards if card.startswith("HISTORY"))
    return Decoded(
        stack.pixels,
        None,
        info,
        Metadata(native=native),
        stack.warnings + _remarks(header.images_after(source, unit)),
        denoised_before=notes.find(history),
        exact=stack.exact,
        no_data=no_data,
        pattern=unit.pattern if info.frames != _COLOURS else "",
        units=_units(unit),
    )


def _turned(page: Array, dtype: str) -> Array:
    """Integers with their highest bit turned, as another type of the same width; its own inverse."""
    native = page.astype(page.dtype.newbyteorder("="), copy=False)
    unsigned = np.dtype(f"u{native.itemsize}")
    turned: Array = (native.view(unsigned) ^ unsigned.type(1 << 8 * native.itemsize - 1)).view(dtype)
    return turned


def _units(unit: header.Unit) -> Units:
    if unit.is_turned:
        return Units(name=unit.string("BUNIT"))
    return Units.of(unit.number("BSCALE", 1.0), unit.number("BZERO", 0.0), unit.string("BUNIT"))


def _blank(unit: header.Unit) -> NoData | None:
    """The value of pixels without data: integers have a card for it, floats have NaN."""
    value = unit.integer("BLANK")
    if value is None or unit.bitpix < 0:
        return None
    return declared(np.dtype(unit.dtype), value + (int(unit.number("BZERO", 0.0)) if unit.is_turned else 0))


def _remarks(others: int) -> tuple[str, ...]:
    return (f"Only the file's first image was denoised; {others} more came back as they were.",) if others else ()


def write(
    file: IO[bytes], pages: Iterable[Array], size: int, metadata: Metadata, info: ImageInfo, note: str | None
) -> None:
    """The input with its image data replaced by pages (H, W, 1), the note as a HISTORY card, into an open file."""
    native = metadata.native
    if info.format != "fits" or native.get("size") != info.pixels * np.dtype(native.get("type", "u1")).itemsize:
        raise UnsupportedFormat("FITS is written for a whole FITS image only; choose tiff.")
    cards = list(native["cards"])
    target = native["type"]
    if info.dtype == "float32" and target != ">f4":
        cards, target = _as_floats(cards), ">f4"
    if note:
        cards.append(f"HISTORY {note}"[: header.CARD].ljust(header.CARD))
    text = "".join([*cards, "END".ljust(header.CARD)])
    head = text.ljust(-(-len(text) // header.BLOCK) * header.BLOCK).encode("latin-1")
    file.write(native["before"] + head)
    turned = native["turned"] and target == native["type"]
    for page in pages:
        stored = _turned(page, np.dtype(target).newbyteorder("=").name) if turned else page
        file.write(np.ascontiguousarray(stored.astype(target, copy=False)).data)
    size = info.pixels * np.dtype(target).itemsize
    file.write(bytes(-size % header.BLOCK) + native["after"])


def _as_floats(cards: list[str]) -> list[str]:
    """The header of values in their own units as float32: no scale, no zero, and NaN for what is blank."""
    bitpix = f"BITPIX  = {-32:>20}".ljust(header.CARD)
    gone = ("BSCALE  =", "BZERO   =", "BLANK   =")
    return [bitpix if card.startswith("BITPIX  =") else card for card in cards if not card.startswith(gone)]
