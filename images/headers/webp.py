"""WebP headers. Source: RFC 9649, sections 2 and 3."""

from __future__ import annotations

from collections.abc import Iterator

from images.errors import BrokenImage
from images.info import ImageInfo
from images.limits import Limits
from images.source import Source

_MAX_CHUNKS = 100_000


def chunks(source: Source) -> Iterator[tuple[bytes, int, int]]:
    """(fourcc, offset of the payload, payload size) inside the RIFF body."""
    end = min(source.size, source.unpack("<I", 4)[0] + 8)
    offset = 12
    for _ in range(_MAX_CHUNKS):
        if offset + 8 > end:
            return
        source.step()
        kind, size = source.unpack("<4sI", offset)
        if offset + 8 + size > source.size:
            raise BrokenImage("The WebP file is cut off, or one of its parts gives a wrong length.")
        yield kind, offset + 8, size
        offset += 8 + size + (size & 1)
    raise BrokenImage("The WebP file has more parts than any real image has.")


def _simple(source: Source, kind: bytes, offset: int) -> tuple[int, int, bool]:
    """(width, height, alpha) of a lossy (VP8) or lossless (VP8L) bitstream."""
    if kind == b"VP8L":
        signature, bits = source.unpack("<BI", offset)
        if signature != 0x2F:
            raise BrokenImage("The WebP file's lossless header is damaged.")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, bool(bits >> 28 & 1)
    if source.read(offset + 3, 3) != b"\x9d\x01\x2a":
        raise BrokenImage("The WebP file's lossy header is damaged.")
    width, height = source.unpack("<HH", offset + 6)
    return width & 0x3FFF, height & 0x3FFF, False


def read(source: Source, limits: Limits) -> ImageInfo:
    """Facts from VP8X where there is one, else from the bitstream itself; frames are counted."""
    canvas: tuple[int, int, bool] | None = None
    frames = metadata = 0
    for kind, offset, size in chunks(source):
        if kind == b"VP8X":
            raw = source.read(offset, 10)
            width, height = int.from_bytes(raw[4:7], "little") + 1, int.from_bytes(raw[7:10], "little") + 1
            canvas = width, height, bool(raw[0] & 0x10)
        elif kind in (b"VP8 ", b"VP8L"):
            canvas = canvas or _simple(source, kind, offset)
        elif kind == b"ANMF":
            frames += 1
        elif kind in (b"ICCP", b"EXIF", b"XMP "):
            metadata += size
    limits.check_metadata(metadata)
    if canvas is None or 0 in canvas[:2]:
        raise BrokenImage("The WebP file holds no image.")
    width, height, alpha = canvas
    return ImageInfo(format="webp", width=width, height=height, channels=3, frames=max(frames, 1), has_alpha=alpha)
