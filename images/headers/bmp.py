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
    return ImageInfo(format="bmp", width=width, height=height, channels=3, bits=8)
