"""AVIF and HEIC headers. Source: ISO/IEC 14496-12 (boxes), ISO/IEC 23008-12 (HEIF items and their properties)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from images.errors import BrokenImage, UnsupportedFormat
from images.info import ImageInfo
from images.limits import Limits
from images.source import Source

AVIF_BRANDS = {b"avif"}
HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"mif1"}
SEQUENCES = {b"avis", b"msf1", b"hevc", b"hevx"}
_ALPHA = (b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha", b"urn:mpeg:hevc:2015:auxid:1")
_MAX_BOXES = 20_000


def boxes(source: Source, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """(kind, start of the payload, end) of the boxes between two offsets."""
    for _ in range(_MAX_BOXES):
        if start + 8 > end:
            return
        size, kind = source.unpack(">I4s", start)
        head = 8
        if size == 1:
            (size,), head = source.unpack(">Q", start + 8), 16
        size = size or end - start
        if size < head or start + size > end:
            raise BrokenImage("The AVIF or HEIC file is cut off, or one of its parts gives a wrong length.")
        yield kind, start + head, start + size
        start += size
    raise BrokenImage("The AVIF or HEIC file has more parts than any real image has.")


def _brands(source: Source) -> set[bytes]:
    size = source.unpack(">I", 0)[0]
    if not 16 <= size <= 1024:
        raise BrokenImage("The AVIF or HEIC file's first part is damaged.")
    body = source.read(8, size - 8)
    return {body[:4], *(body[i : i + 4] for i in range(8, len(body), 4))}


def read(source: Source, limits: Limits) -> ImageInfo:
    """Facts of the primary item: its extents, depth, and whether an alpha image goes with it."""
    brands = _brands(source)
    name = "avif" if brands & AVIF_BRANDS else "heic" if brands & HEIC_BRANDS else ""
    if not name or source.read(8, 4) in SEQUENCES:
        raise UnsupportedFormat(
            "This is a film or an animation in an AVIF or HEIC container; send its frames as images."
        )
    meta = next(((a, b) for kind, a, b in boxes(source, 0, source.size) if kind == b"meta"), None)
    if meta is None:
        raise BrokenImage("The AVIF or HEIC file does not describe an image.")
    limits.check_metadata(meta[1] - meta[0])
    parts = {kind: (a, b) for kind, a, b in boxes(source, meta[0] + 4, meta[1])}
    if b"pitm" not in parts or b"iprp" not in parts:
        raise BrokenImage("The AVIF or HEIC file does not say which image is its main one.")
    place = parts[b"pitm"][0]
    primary = source.unpack(">H" if source.read(place, 1) == b"\0" else ">I", place + 4)[0]
    return _described(source, name, parts[b"iprp"], primary)


def _described(source: Source, name: str, where: tuple[int, int], primary: int) -> ImageInfo:
    properties: list[tuple[bytes, int, int]] = []
    owned: set[int] = set()
    for kind, start, end in islice(boxes(source, *where), 8):
        if kind == b"ipco":
            properties = list(boxes(source, start, end))
        elif kind == b"ipma":
            owned |= _associated(source, start, end, primary)
    size, bits, turned, alpha = None, 8, False, False
    source.step(len(properties))
    for index, (kind, start, end) in enumerate(properties, start=1):
        if kind == b"auxC" and source.read(start + 4, min(end - start - 4, 64)).rstrip(b"\0") in _ALPHA:
            alpha = True
        if index not in owned:
            continue
        if kind == b"ispe":
            size = source.unpack(">II", start + 4)
        elif kind == b"pixi" and end - start >= 6:
            bits = max(source.read(start + 5, min(source.unpack("B", start + 4)[0], end - start - 5)) or b"\x08")
        elif kind == b"irot":
            turned = bool(source.unpack("B", start)[0] & 1)
    if size is None or 0 in size:
        raise BrokenImage("The AVIF or HEIC file gives no size for its image.")
    # libheif turns HEIC pixels itself; for AVIF the rotation comes as an EXIF orientation and pixels lie as stored.
    width, height = reversed(size) if turned and name == "heic" else size
    dtype = "uint8" if bits <= 8 else "uint16"
    return ImageInfo(name, width, height, 3, dtype, has_alpha=alpha, bits=bits)


def _associated(source: Source, start: int, end: int, item: int) -> set[int]:
    """Numbers of the properties that belong to `item` (the ipma box)."""
    version, flags = source.unpack(">B3s", start)
    wide = flags[2] & 1
    (count,) = source.unpack(">I", start + 4)
    offset, found = start + 8, set[int]()
    for _ in range(min(count, _MAX_BOXES)):
        identity, number = source.unpack(">IB" if version else ">HB", offset)
        offset += 5 if version else 3
        if offset + number * (1 + wide) > end:
            raise BrokenImage("The AVIF or HEIC file's list of properties is damaged.")
        if identity == item:
            source.step(number)
            values = source.unpack(f">{number}{'H' if wide else 'B'}", offset)
            found |= {value & (0x7FFF if wide else 0x7F) for value in values}
        offset += number * (1 + wide)
    return found
