"""GIF headers. Source: GIF89a specification, sections 18-26."""

from __future__ import annotations

from images.errors import BrokenImage, ImageTooLarge
from images.info import ImageInfo
from images.limits import Limits
from images.source import Source

_EXTENSION, _IMAGE, _TRAILER = 0x21, 0x2C, 0x3B


def _after_blocks(source: Source, offset: int) -> int:
    """The end of a chain of blocks, each with its length in its first byte; one of length 0 ends it."""
    while True:
        start, data = source.window(offset)
        at, end, blocks, size = offset - start, len(data), 0, 1
        left = source.budget.left
        most = left + left // 4 + 4  # counted below, not one by one: a large GIF has a quarter of a million of them
        while size and at < end and blocks <= most:
            size = data[at]
            at += 1 + size
            blocks += 1
        source.step(blocks * 4 // 5)
        offset = start + at
        if not size:
            return offset


def _colour_table(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def read(source: Source, limits: Limits) -> ImageInfo:
    """Facts from the screen descriptor; frames are counted by walking the blocks."""
    width, height, flags = source.unpack("<HHB", 6)
    offset = 13 + _colour_table(flags)
    frames, transparent = 0, False
    while offset < source.size and (kind := source.unpack("B", offset)[0]) != _TRAILER:
        if kind == _EXTENSION:
            if source.read(offset + 1, 2) == b"\xf9\x04":
                transparent |= bool(source.unpack("B", offset + 3)[0] & 1)
            offset += 2
        elif kind == _IMAGE:
            left, top, wide, high, local = source.unpack("<HHHHB", offset + 1)
            width, height = max(width, left + wide), max(height, top + high)
            frames += 1
            if frames > limits.max_frames:
                raise ImageTooLarge(f"The file has more than {limits.max_frames:,} frames, which is the limit.")
            offset += 11 + _colour_table(local)
        else:
            raise BrokenImage("The GIF file is damaged.")
        offset = _after_blocks(source, offset)
    if not frames or not width or not height:
        raise BrokenImage("The GIF file holds no image.")
    return ImageInfo(format="gif", width=width, height=height, channels=3, frames=frames, has_alpha=transparent)
