"""How an image is to be looked at, as its file says: which way up, and the colours of a camera's mosaic.

For pictures on a screen only: nothing here goes into a result.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from images import exif
from images.decoded import Decoded

Array = NDArray[Any]
Floats = NDArray[np.float32]

_ORIENTATION, _CFA_PATTERN, _BLACK, _WHITE, _NEUTRAL = 274, 33422, 50714, 50717, 50728
_MATRICES = (50722, 50721)  # from XYZ to the camera's colours: of the second light, mostly day's, then of the first
_CODES = {1: "B", 3: "H", 4: "I", 5: "II", 9: "i", 10: "ii", 11: "f", 12: "d"}
_XYZ_FROM_SRGB = np.array([[0.4125, 0.3576, 0.1804], [0.2127, 0.7152, 0.0722], [0.0193, 0.1192, 0.9503]])  # D65
_MOST_GAIN = 100.0
_LETTERS = "RGB"


@dataclass(frozen=True)
class Camera:
    """What the samples of a camera's mosaic mean (DNG 1.7, "Mapping Raw Values to Linear Reference Values").

    Attributes:
        black: the level of each site of the 2 x 2 block.
        white: the level at which they saturate.
        to_srgb: (3, 3), from the camera's colours to linear sRGB; white comes out as white.
    """

    black: tuple[float, float, float, float]
    white: float
    to_srgb: Array


def turned(pixels: Array, orientation: int) -> Array:
    """Pixels (H, W, C) as the eye sees them, of an image stored in `orientation` 1 to 8 (EXIF 2.32, tag 274)."""
    turns: Mapping[int, Callable[[Array], Array]] = {
        2: np.fliplr,
        3: lambda stored: np.rot90(stored, 2),
        4: np.flipud,
        5: lambda stored: stored.swapaxes(0, 1),
        6: lambda stored: np.rot90(stored, 3),
        7: lambda stored: np.rot90(stored, 2).swapaxes(0, 1),
        8: np.rot90,
    }
    return turns[orientation](pixels) if orientation in turns else pixels


def orientation(decoded: Decoded) -> int:
    """Which way up it is, 1 to 8."""
    found = _numbers(decoded, _ORIENTATION)
    if found and found[0] in range(1, 9):
        return int(found[0])
    return exif.orientation(decoded.metadata.exif)


def pattern(decoded: Decoded) -> str:
    """The colours of a mosaic's 2 x 2 block in reading order, as `RGGB`; "" where the file does not say."""
    found = _numbers(decoded, _CFA_PATTERN)
    letters = "".join(_LETTERS[int(code)] for code in found if code in (0, 1, 2)) or decoded.pattern
    return letters if sorted(letters) == sorted("RGGB") else ""


def camera(decoded: Decoded) -> Camera | None:
    """What a raw file says of its samples; None where that is not known."""
    if not pattern(decoded) or "tags" not in decoded.metadata.native:
        return None
    levels = _numbers(decoded, _BLACK) or [0.0]
    black = levels if len(levels) == 4 else [levels[0]] * 4
    white = max(_numbers(decoded, _WHITE) or [65_535.0])
    if not white > max(black):
        return None
    return Camera((black[0], black[1], black[2], black[3]), white, _to_srgb(decoded))


def colours(planes: Array, letters: str) -> Floats:
    """(H, W, 3) of the four planes (H, W, 4) of a mosaic: red, the mean of both greens, blue."""
    sites = {letter: [index for index, other in enumerate(letters) if other == letter] for letter in _LETTERS}
    return np.stack([planes[..., sites[letter]].mean(-1, dtype=np.float32) for letter in _LETTERS], axis=2)


def developed(planes: Array, letters: str, about: Camera) -> Floats:
    """Linear sRGB (H, W, 3), 1 where the sensor saturates, of the four planes (H, W, 4) of a raw image."""
    black = np.array(about.black, np.float32)
    light = (planes.astype(np.float32) - black) / (np.float32(about.white) - black)
    return np.asarray(colours(light, letters) @ about.to_srgb.T.astype(np.float32))


def gamma(light: Floats) -> Floats:
    """Linear sRGB, cut to 0 and 1, as it is shown (IEC 61966-2-1)."""
    light = np.clip(light, 0, 1)
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** np.float32(1 / 2.4) - 0.055)


def _to_srgb(decoded: Decoded) -> Array:
    """By the colour matrix as dcraw has it: of white-balanced colours, so that (1, 1, 1) stays that."""
    neutral = _numbers(decoded, _NEUTRAL)
    gains = [1 / value for value in neutral if value > 0]
    balance = np.diag(gains if len(gains) == 3 and max(gains) < _MOST_GAIN * min(gains) else [1.0, 1.0, 1.0])
    balance /= balance[1, 1]
    for code in _MATRICES:
        numbers = _numbers(decoded, code)
        if len(numbers) != 9:
            continue
        from_srgb = np.reshape(numbers, (3, 3)) @ _XYZ_FROM_SRGB
        sums = from_srgb.sum(1, keepdims=True)
        if np.abs(sums).min() < 1e-3 or abs(np.linalg.det(from_srgb / sums)) < 1e-3:
            continue
        return np.asarray(np.linalg.inv(from_srgb / sums) @ balance)
    return balance


def _numbers(decoded: Decoded, code: int) -> list[float]:
    """The values of a TIFF tag that was carried along; [] where there is none, or none of a sane kind."""
    native = decoded.metadata.native
    pages: Iterable[Any] = native.get("pages") or ()
    tags = native.get("tags") or next(iter(pages), ())
    for found, kind, data in tags:
        if found == code and kind in _CODES:
            return _unpacked(native.get("order", "<"), _CODES[kind], data)
    return []


def _unpacked(order: str, layout: str, data: bytes) -> list[float]:
    size = struct.calcsize(f"{order}{layout}")
    values = [struct.unpack_from(f"{order}{layout}", data, start) for start in range(0, len(data) - size + 1, size)]
    numbers = [value[0] if len(value) == 1 else (value[0] / value[1] if value[1] else math.nan) for value in values]
    return [float(number) for number in numbers] if all(math.isfinite(number) for number in numbers) else []
