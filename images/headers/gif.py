"""GIF headers. Source: GIF89a specification, sections 18-26."""

from __future__ import annotations

from images.errors import BrokenImage, ImageTooLarge
from images.info import ImageInfo
from images.limits import Limits
from images.source import Source

_EXTENSION, _IMAGE, _TRAILER = 0x21, 0x2C, 0x3B
_MAX_BLOCKS = 1_000_000  # of at most 255 bytes


def _colour_table(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def read(source: Source, limits: Limits) -> ImageInfo:
    """Facts from the screen descriptor; frames are counted by walking the blocks."""
    width, height, flags = source.unpack("<HHB", 6)
    offset = 13 + _colour_table(flags)
    frames, blocks, transparent = 0, 0, False
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
        while size := source.unpack("B", offset)[0]:
            offset += 1 + size
            blocks += 1
            if blocks > _MAX_BLOCKS:
                raise BrokenImage("The GIF file is split into more parts than any real image has.")
        offset += 1
    if not frames or not width or not height:
        raise BrokenImage("The GIF file holds no image.")
    return ImageInfo(format="gif", width=width, height=height, channels=3, frames=frames, has_alpha=transparent)
