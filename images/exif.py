"""The three edits an EXIF block needs here: read the orientation, drop GPS, drop the (still noisy) thumbnail.

An EXIF block is a small TIFF file whose offsets are absolute, so edits are made in place and nothing ever moves.
Source: CIPA DC-008 (EXIF 2.32), sections 4.5-4.6.
"""

from __future__ import annotations

import struct

ORIENTATION, GPS_IFD = 0x0112, 0x8825
_ENTRY = 12


def _order(exif: bytes) -> str | None:
    return {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])


def _entries(exif: bytes, order: str, start: int) -> list[tuple[int, int, int, int, int]]:
    """(code, kind, count, value, where) of the directory at `start`; empty if it does not fit in the block."""
    if start + 2 > len(exif):
        return []
    (count,) = struct.unpack_from(order + "H", exif, start)
    if start + 2 + count * _ENTRY + 4 > len(exif):
        return []
    places = (start + 2 + index * _ENTRY for index in range(count))
    return [(*struct.unpack_from(order + "HHII", exif, place), place) for place in places]


def _first(exif: bytes, order: str) -> int:
    return int(struct.unpack_from(order + "I", exif, 4)[0]) if len(exif) >= 8 else len(exif)


def orientation(exif: bytes) -> int:
    """EXIF orientation 1-8; 1 where there is none."""
    order = _order(exif)
    if order is None:
        return 1
    for code, _, _, _, place in _entries(exif, order, _first(exif, order)):
        if code == ORIENTATION:
            (value,) = struct.unpack_from(order + "H", exif, place + 8)
            return int(value) if 1 <= value <= 8 else 1
    return 1


def only_orientation(exif: bytes) -> bytes:
    """A block with the orientation alone, or nothing if the image is stored upright."""
    value = orientation(exif)
    if value == 1:
        return b""
    return b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, ORIENTATION, 3, 1, value, 0, 0)


def upright(exif: bytes) -> bytes:
    """The block with its orientation set to 1, for pixels that a decoder has turned already."""
    order = _order(exif)
    if order is None:
        return exif
    edited = bytearray(exif)
    for code, _, _, _, place in _entries(exif, order, _first(exif, order)):
        if code == ORIENTATION:
            struct.pack_into(order + "H", edited, place + 8, 1)
    return bytes(edited)


def without_thumbnail(exif: bytes) -> bytes:
    """The block with its second directory, the embedded preview, unlinked: it would go on showing the noisy image."""
    order = _order(exif)
    if order is None:
        return exif
    start = _first(exif, order)
    count = len(_entries(exif, order, start))
    if not count:
        return exif
    edited = bytearray(exif)
    struct.pack_into(order + "I", edited, start + 2 + count * _ENTRY, 0)
    return bytes(edited)


def without_gps(exif: bytes) -> bytes:
    """The block without its GPS directory: the link is taken out and the values behind it are overwritten."""
    order = _order(exif)
    if order is None:
        return exif
    start = _first(exif, order)
    entries = _entries(exif, order, start)
    edited = bytearray(exif)
    for code, _, _, value, place in entries:
        if code != GPS_IFD:
            continue
        _erase_directory(edited, order, value)
        end = start + 2 + len(entries) * _ENTRY + 4
        edited[place : end - _ENTRY] = edited[place + _ENTRY : end]
        edited[end - _ENTRY : end] = bytes(_ENTRY)
        struct.pack_into(order + "H", edited, start, len(entries) - 1)
        return without_gps(bytes(edited))  # a second link is malformed, and would still be read by some
    return exif


_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}


def _erase_directory(block: bytearray, order: str, start: int) -> None:
    entries = _entries(bytes(block), order, start)
    for _, kind, count, value, _ in entries:
        size = count * _SIZES.get(kind, 0)
        if size > 4 and value + size <= len(block):
            block[value : value + size] = bytes(size)
    if entries:
        block[start : start + 2 + len(entries) * _ENTRY] = bytes(2 + len(entries) * _ENTRY)
