"""FITS headers. Source: FITS standard 4.0, sections 3 and 4: cards of 80 characters in blocks of 2880 bytes."""

from __future__ import annotations

from dataclasses import dataclass, replace

from images.errors import BrokenImage, ImageError, ImageTooLarge, UnsupportedFormat
from images.info import ImageInfo
from images.limits import Limits
from images.source import Source

BLOCK, CARD = 2880, 80
SIGNATURE = b"SIMPLE  ="
_DTYPES = {8: "uint8", 16: "int16", 32: "int32", -32: "float32", -64: "float64"}
_MAX_BLOCKS = 200  # 7,200 cards a header
_MAX_UNITS = 64


@dataclass(frozen=True, slots=True)
class Unit:
    """One header and its data: cards in order, where both lie, the array's axes (fastest last); `heap` bytes follow."""

    cards: tuple[str, ...]
    start: int
    data: int
    bitpix: int
    shape: tuple[int, ...]
    heap: int = 0

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
        return _value(self.cards, "XTENSION").strip("' ")

    def number(self, key: str, default: float) -> float:
        """A card's value as a number."""
        return _number(_value(self.cards, key), default)


def _value(cards: tuple[str, ...], key: str) -> str:
    start = f"{key:<8}="
    return next((card[10:].split("/")[0].strip() for card in cards if card.startswith(start)), "")


def _number(text: str, default: float) -> float:
    try:
        return float(text.replace("D", "E")) if text else default
    except ValueError as error:
        raise BrokenImage("The FITS header holds a number that is none.") from error


def unit(source: Source, start: int) -> Unit:
    """The header and data unit at `start`."""
    cards: list[str] = []
    for block in range(_MAX_BLOCKS):
        text = source.read(start + block * BLOCK, BLOCK).decode("latin-1")
        for index in range(0, BLOCK, CARD):
            card = text[index : index + CARD]
            if card.rstrip() == "END":
                return _described(tuple(cards), start, start + (block + 1) * BLOCK)
            cards.append(card)
    raise ImageTooLarge("The FITS header is longer than any real one.")


def _described(cards: tuple[str, ...], start: int, data: int) -> Unit:
    axes = int(_number(_value(cards, "NAXIS"), 0))
    if not 0 <= axes <= 9:
        raise BrokenImage("The FITS header gives an impossible number of axes.")
    shape = tuple(int(_number(_value(cards, f"NAXIS{n}"), 0)) for n in range(axes, 0, -1))
    if any(axis < 0 for axis in shape):
        raise BrokenImage("The FITS header gives an axis of negative length.")
    found = Unit(cards, start, data, int(_number(_value(cards, "BITPIX"), 0)), shape)
    if found.extension not in ("", "IMAGE"):  # a table: only its length matters
        return replace(found, heap=max(0, int(_number(_value(cards, "PCOUNT"), 0))))
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
        found += following.is_image or _value(following.cards, "ZIMAGE") == "T"
        start = following.end
    return found


def read(source: Source, limits: Limits) -> ImageInfo:
    """Facts of the first image; leading axes (planes, channels, time) count as frames."""
    found = image_unit(source)
    if found.bitpix not in _DTYPES:
        raise UnsupportedFormat(f"The FITS image has BITPIX {found.bitpix}; 8, 16, 32, -32 and -64 are read.")
    if found.data + found.size > source.size:
        raise BrokenImage("The FITS file is cut off: image data is missing.")
    frames = 1
    for axis in found.shape[:-2]:
        frames *= axis
    return ImageInfo("fits", found.shape[-1], found.shape[-2], 1, _DTYPES[found.bitpix], frames, bits=abs(found.bitpix))
