"""FITS headers. Source: FITS standard 4.0, sections 3 and 4: cards of 80 characters in blocks of 2880 bytes."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from images.errors import BrokenImage, ImageError, ImageTooLarge, UnsupportedFormat
from images.info import ImageInfo
from images.limits import Limits
from images.source import Source

BLOCK, CARD = 2880, 80
SIGNATURE = b"SIMPLE  ="
_DTYPES = {8: "uint8", 16: "int16", 32: "int32", 64: "int64", -32: "float32", -64: "float64"}
_TURNED = {(8, -128.0): "int8", (16, 2.0**15): "uint16", (32, 2.0**31): "uint32", (64, 2.0**63): "uint64"}
"""By BITPIX and BZERO: how FITS holds the integers that it has no type for (standard 4.0, section 4.4.2.5)."""
_FILTERS = frozenset("RGBCMYEW")
_INTEGER = re.compile(r"[+-]?[0-9]{1,20}")
_MAX_BLOCKS = 200  # 7,200 cards a header
_MAX_UNITS = 64
_STEPS_A_BLOCK = 200  # for 36 cards


@dataclass(frozen=True, slots=True)
class Unit:
    """One header and its data: cards in order, where both lie, the array's axes (fastest last); `heap` bytes follow.

    `values` has what stands behind the "=" of a keyword's first card, comment included.
    """

    cards: tuple[str, ...]
    start: int
    data: int
    bitpix: int
    shape: tuple[int, ...]
    heap: int = 0
    values: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), repr=False)

    @property
    def size(self) -> int:
        count = abs(self.bitpix) // 8
        for axis in self.shape:
            count *= axis
        return count if self.shape else 0

    @property
    def end(self) -> int:
        return self.data + -(-(self.size + self.heap) // BLOCK) * BLOCK

    @property
    def is_image(self) -> bool:
        """An array of at least two axes, uncompressed."""
        return len(self.shape) >= 2 and all(self.shape) and self.extension in ("", "IMAGE")

    @property
    def extension(self) -> str:
        """The kind of an extension; nothing for the primary unit."""
        return self.text("XTENSION").strip("' ")

    @property
    def dtype(self) -> str:
        """NumPy's name of the values' type, where that is exact; "" if BITPIX names none that is read."""
        turned = _TURNED.get((self.bitpix, self.number("BZERO", 0.0))) if self.number("BSCALE", 1.0) == 1.0 else None
        return turned or _DTYPES.get(self.bitpix, "")

    @property
    def is_turned(self) -> bool:
        """Whether the values are the stored integers with their highest bit turned."""
        return self.dtype != _DTYPES.get(self.bitpix, "")

    @property
    def pattern(self) -> str:
        """The colours of a 2 x 2 filter mosaic that the header declares, as `RGGB`; "" if it declares none."""
        for key in ("BAYERPAT", "COLORTYP", "CFAPAT"):
            found = self.string(key).upper()
            if len(found) == 4 and set(found) <= _FILTERS and len(set(found)) > 2:
                return found
        return ""

    def string(self, key: str) -> str:
        """The text between a card's quotes; "" if the card is missing or holds none."""
        found = self.values.get(key, "").lstrip()
        return found[1:].replace("''", "\0").split("'")[0].replace("\0", "'").strip() if found[:1] == "'" else ""

    def number(self, key: str, default: float) -> float:
        """A card's value as a number."""
        return _number(self.text(key), default)

    def integer(self, key: str) -> int | None:
        """A card's value if it is a whole number, exact at any size; None if it is another, or the card is missing."""
        found = self.text(key)
        if _INTEGER.fullmatch(found):
            return int(found)
        number = _number(found, math.nan)
        return int(number) if number.is_integer() else None

    def text(self, key: str) -> str:
        """A card's value as it is written, without its comment; nothing where there is none."""
        return _text(self.values, key)


def _text(values: Mapping[str, str], key: str) -> str:
    return values.get(key, "").split("/")[0].strip()


def _number(text: str, default: float) -> float:
    try:
        number = float(text.replace("D", "E")) if text else default
    except ValueError as error:
        raise BrokenImage("The FITS header holds a number that is none.") from error
    if text and not math.isfinite(number):
        raise BrokenImage("The FITS header holds a number that is none, or beyond all bounds.")
    return number


def unit(source: Source, start: int) -> Unit:
    """The header and data unit at `start`."""
    cards: list[str] = []
    for block in range(_MAX_BLOCKS):
        source.step(_STEPS_A_BLOCK)
        text = source.read(start + block * BLOCK, BLOCK).decode("latin-1")
        for index in range(0, BLOCK, CARD):
            card = text[index : index + CARD]
            if card.rstrip() == "END":
                return _described(tuple(cards), start, start + (block + 1) * BLOCK)
            cards.append(card)
    raise ImageTooLarge("The FITS header is longer than any real one.")


def _described(cards: tuple[str, ...], start: int, data: int) -> Unit:
    values: dict[str, str] = {}
    for card in cards:
        if card[8:9] == "=":
            values.setdefault(card[:8].rstrip(), card[10:])
    axes = int(_number(_text(values, "NAXIS"), 0))
    if not 0 <= axes <= 9:
        raise BrokenImage("The FITS header gives an impossible number of axes.")
    shape = tuple(int(_number(_text(values, f"NAXIS{n}"), 0)) for n in range(axes, 0, -1))
    if any(axis < 0 for axis in shape):
        raise BrokenImage("The FITS header gives an axis of negative length.")
    found = Unit(cards, start, data, int(_number(_text(values, "BITPIX"), 0)), shape, values=values)
    if found.extension not in ("", "IMAGE"):  # a table: only its length matters
        return replace(found, heap=max(0, int(found.number("PCOUNT", 0))))
    return found


def image_unit(source: Source) -> Unit:
    """The first unit that holds an image of at least two axes."""
    start = 0
    for _ in range(_MAX_UNITS):
        if start + BLOCK > source.size:
            break
        found = unit(source, start)
        if found.is_image:
            return found
        start = found.end
    raise UnsupportedFormat("The FITS file holds no image; compressed images and tables are not read.")


def images_after(source: Source, first: Unit) -> int:
    """Images in the units behind `first`, compressed ones too, as far as their headers can be read."""
    found, start = 0, first.end
    for _ in range(_MAX_UNITS):
        if start + BLOCK > source.size:
            break
        try:
            following = unit(source, start)
        except (ImageError, ValueError, OverflowError):
            break
        found += following.is_image or following.text("ZIMAGE") == "T"
        start = following.end
    return found


def read(source: Source, limits: Limits) -> ImageInfo:
    """Facts of the first image; leading axes (planes, channels, time) count as frames."""
    found = image_unit(source)
    if not found.dtype:
        raise UnsupportedFormat(f"The FITS image has BITPIX {found.bitpix}; 8, 16, 32, 64, -32 and -64 are read.")
    if found.data + found.size > source.size:
        raise BrokenImage("The FITS file is cut off: image data is missing.")
    frames = 1
    for axis in found.shape[:-2]:
        frames *= axis
    return ImageInfo("fits", found.shape[-1], found.shape[-2], 1, found.dtype, frames, bits=abs(found.bitpix))
