"""PNG and APNG headers. Source: W3C PNG specification, third edition, sections 5 and 11."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from images.errors import BrokenImage
from images.info import ImageInfo
from images.limits import Limits
from images.source import Source

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GRAY, RGB, PALETTE, GRAY_ALPHA, RGBA = 0, 2, 3, 4, 6
_DEPTHS = {GRAY: (1, 2, 4, 8, 16), RGB: (8, 16), PALETTE: (1, 2, 4, 8), GRAY_ALPHA: (8, 16), RGBA: (8, 16)}
_MAX_CHUNKS = 400_000
_STEPS_A_CHUNK = 4


class Chunk(NamedTuple):
    """One chunk: its four-letter kind and where its data lies."""

    kind: bytes
    offset: int
    size: int


def chunks(source: Source) -> Iterator[Chunk]:
    """Chunks in file order, up to and including IEND; lengths are checked, contents are not."""
    offset = len(SIGNATURE)
    for _ in range(_MAX_CHUNKS):
        source.step(_STEPS_A_CHUNK)
        size, kind = source.unpack(">I4s", offset)
        if size > 0x7FFFFFFF or offset + 12 + size > source.size:
            raise BrokenImage("The PNG file is cut off, or one of its parts gives a wrong length.")
        yield Chunk(kind, offset + 8, size)
        if kind == b"IEND":
            return
        offset += 12 + size
    raise BrokenImage("The PNG file is split into more parts than any real image has.")


def read(source: Source, limits: Limits) -> ImageInfo:
    """Facts from IHDR, tRNS and acTL; stops at the first image data."""
    if source.size < 33 or source.read(12, 4) != b"IHDR" or source.unpack(">I", 8)[0] != 13:
        raise BrokenImage("The PNG file does not start with a valid header.")
    width, height, depth, colour, compression, filtering, interlace = source.unpack(">IIBBBBB", 16)
    if depth not in _DEPTHS.get(colour, ()) or compression or filtering or interlace > 1:
        raise BrokenImage("The PNG header names a combination of colour type and bit depth that does not exist.")
    if not 0 < width <= 0x7FFFFFFF or not 0 < height <= 0x7FFFFFFF:
        raise BrokenImage("The PNG header gives an image without pixels.")
    frames, transparent, metadata = 1, False, 0
    animated = default_shown = False
    for chunk in chunks(source):
        if chunk.kind == b"IDAT":
            break
        if chunk.kind == b"acTL" and chunk.size == 8:
            frames = max(1, source.unpack(">I", chunk.offset)[0])
            animated = source.unpack(">I", chunk.offset)[0] > 0
        default_shown |= chunk.kind == b"fcTL"
        transparent |= chunk.kind == b"tRNS"
        metadata += chunk.size
        limits.check_metadata(metadata)
    else:
        raise BrokenImage("The PNG file holds no image data.")
    return ImageInfo(
        format="png",
        width=width,
        height=height,
        channels=1 if colour in (GRAY, GRAY_ALPHA) else 3,
        dtype="uint16" if depth == 16 else "uint8",
        frames=frames + (animated and not default_shown),  # a default image outside the animation is a frame to us
        has_alpha=colour in (GRAY_ALPHA, RGBA) or transparent,
        bits=depth,
    )
