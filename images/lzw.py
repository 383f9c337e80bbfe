"""Is an LZW stream sound? Asked before it is decoded: fuzzing found that imagecodecs' decoder trusts its codes.

A stream whose codes name table entries that do not exist yet makes it read and write outside its table (imagecodecs
2026.3.6). A code's width depends on nothing but its place after the last clear code, so a block of codes is cut out and
compared at once. Source: TIFF 6.0, section 13.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_CLEAR, _END, _FIRST_FREE = 256, 257, 258
_LONGEST = 4096 - _FIRST_FREE + 1  # codes until the table is full
_WIDTHS = np.repeat(np.array([9, 10, 11, 12]), [254, 512, 1024, _LONGEST - 1790])
_STARTS = np.concatenate([[0], np.cumsum(_WIDTHS)])  # bits from the clear code's end to each code
_KNOWN = _FIRST_FREE + np.maximum(np.arange(_LONGEST) - 1, 0)  # table entries when a code is read


def is_sound(data: bytes) -> bool:
    """Whether every code in the stream names an entry that exists when it is read, or the one being made.

    Bits are taken from the most significant on, as TIFF asks; the order of very old files is not known here and such a
    stream is not sound. What lies behind the end code is not looked at; a stream may also just stop.
    """
    padded = np.frombuffer(data + bytes(8), np.uint8)
    size = 8 * len(data)
    if size < 9 or _codes(padded, np.array([0]), np.array([9]))[0] != _CLEAR:
        return False
    place = 9
    while place + 9 <= size:
        count = int(np.searchsorted(_STARTS[1:], size - place, side="right"))
        codes = _codes(padded, place + _STARTS[:count], _WIDTHS[:count])
        stops = np.flatnonzero((codes == _CLEAR) | (codes == _END))
        used = int(stops[0]) if stops.size else count
        if np.any(codes[:used] > _KNOWN[:used]) or (used and codes[0] > _CLEAR):
            return False
        if not stops.size:
            return used < _LONGEST  # else the table is full and nobody cleared it
        if codes[used] == _END:
            return True
        place += int(_STARTS[used + 1])
    return True


def _codes(padded: NDArray[np.uint8], starts: NDArray[np.int64], widths: NDArray[np.int64]) -> NDArray[np.int64]:
    """The codes of `widths` bits at bit places `starts`; three bytes hold any of them."""
    first = starts >> 3
    words = (
        padded[first].astype(np.int64) << 16
        | padded[first + 1].astype(np.int64) << 8
        | padded[first + 2].astype(np.int64)
    )
    codes: NDArray[np.int64] = words >> (24 - (starts & 7) - widths) & (1 << widths) - 1
    return codes
