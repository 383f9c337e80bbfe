"""BMP headers. Source: Microsoft's BITMAPCOREHEADER, BITMAPINFOHEADER, BITMAPV4HEADER and BITMAPV5HEADER pages."""

from __future__ import annotations

from images.errors import BrokenImage, UnsupportedFormat
from images.info import ImageInfo
from images.limits import Limits
from images.source import Source


def read(source: Source, limits: Limits) -> ImageInfo:
    """Facts from the bitmap header that follows the 14-byte file header."""
    (size,) = source.unpack("<I", 14)
    if size == 12:
        width, height, _, bits = source.unpack("<HHHH", 18)
        compression = 0
    elif 40 <= size <= 124:
        width, height, _, bits, compression = source.unpack("<iiHHI", 18)
    else:
        raise UnsupportedFormat("This BMP file has a header of a kind that is not read; save it as PNG.")
    height = abs(height)
    if width <= 0 or height <= 0:
        raise BrokenImage("The BMP header gives an image without pixels.")
    if bits not in (1, 2, 4, 8, 16, 24, 32) or compression > 6:
        raise UnsupportedFormat(f"This BMP file has {bits} bits a pixel or a rare compression; save it as PNG.")
    alpha = bits == 32 and compression == 3 and size >= 56 and source.unpack("<I", 66)[0] != 0
    channels = 1 if bits <= 8 and _gray_palette(source, size, bits) else 3
    return ImageInfo(format="bmp", width=width, height=height, channels=channels, has_alpha=alpha)


def _gray_palette(source: Source, header_size: int, bits: int) -> bool:
    """Whether every palette entry is a shade of gray."""
    width = 3 if header_size == 12 else 4
    count = 1 << bits
    if header_size >= 40:
        (used,) = source.unpack("<I", 46)
        count = used or count
    if count > 256:
        raise BrokenImage(f"The BMP header gives a palette of {count:,} colours, more than there can be.")
    entries = source.read(14 + header_size, count * width)
    source.step(count)
    return all(entries[i] == entries[i + 1] == entries[i + 2] for i in range(0, len(entries), width))
