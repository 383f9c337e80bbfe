"""JPEG headers. Source: ITU-T T.81, annex B (markers and frame header)."""

from __future__ import annotations

from collections.abc import Iterator

from images.errors import BrokenImage, UnsupportedFormat
from images.info import ImageInfo
from images.limits import Limits
from images.source import Source

SIGNATURE = b"\xff\xd8\xff"
SOS, EOI, COM, DQT, APP0, APP1, APP2, APP13, APP14 = 0xDA, 0xD9, 0xFE, 0xDB, 0xE0, 0xE1, 0xE2, 0xED, 0xEE
_STANDALONE = {0x01, *range(0xD0, 0xD9)}
_FRAMES = {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}
_DECODABLE = {0xC0, 0xC1, 0xC2}  # baseline, extended sequential, progressive; all Huffman
_MAX_SEGMENTS = 20_000


def segments(source: Source) -> Iterator[tuple[int, int, int]]:
    """(marker, offset of the payload, payload size) up to the start of the first scan."""
    offset = 2
    for _ in range(_MAX_SEGMENTS):
        first, marker = source.unpack("BB", offset)
        if first != 0xFF:
            raise BrokenImage("The JPEG file is damaged before its image data.")
        if marker == 0xFF:  # fill byte
            offset += 1
            continue
        if marker in _STANDALONE:
            offset += 2
            continue
        if marker == EOI:
            return
        (size,) = source.unpack(">H", offset + 2)
        if size < 2 or offset + 2 + size > source.size:
            raise BrokenImage("The JPEG file is cut off, or one of its parts gives a wrong length.")
        yield marker, offset + 4, size - 2
        if marker == SOS:
            return
        offset += 2 + size
    raise BrokenImage("The JPEG file has more parts than any real image has.")


def frame_pixels(source: Source) -> int:
    """Width x height as the first frame header gives them, whatever the coding; 0 if there is none before the scan."""
    for marker, offset, size in segments(source):
        if marker in _FRAMES and size >= 6:
            height, width = source.unpack(">HH", offset + 1)
            return int(height * width)
    return 0


def read(source: Source, limits: Limits) -> ImageInfo:
    """Facts from the frame header (SOFn)."""
    metadata = 0
    for marker, offset, size in segments(source):
        metadata += size
        limits.check_metadata(metadata)
        if marker not in _FRAMES:
            continue
        if size < 6:
            break
        precision, height, width, components = source.unpack(">BHHB", offset)
        if marker not in _DECODABLE or precision != 8:
            raise UnsupportedFormat(
                f"This JPEG is {precision} bit or uses a rare coding (lossless or arithmetic); save it as TIFF or PNG."
            )
        if width == 0 or height == 0 or size < 6 + 3 * components:
            break
        if components not in (1, 3, 4):
            raise UnsupportedFormat(f"This JPEG has {components} channels; gray, RGB and CMYK are read.")
        return ImageInfo(format="jpeg", width=width, height=height, channels=components)
    raise BrokenImage("The JPEG file has no valid frame header: it is damaged or gives no size.")
