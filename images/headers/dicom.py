"""DICOM headers. Source: DICOM PS3.5 section 7 (data elements) and PS3.10 section 7 (file meta information)."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from images.errors import BrokenImage, UnsupportedFormat
from images.info import ImageInfo
from images.limits import Limits
from images.source import Source

IMPLICIT, DEFLATED, BIG_ENDIAN = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"
TRANSFER, SAMPLES, PHOTOMETRIC, FRAMES = (0x0002, 0x0010), (0x0028, 0x0002), (0x0028, 0x0004), (0x0028, 0x0008)
ROWS, COLUMNS, ALLOCATED, STORED = (0x0028, 0x0010), (0x0028, 0x0011), (0x0028, 0x0100), (0x0028, 0x0101)
SIGNED, PIXELS = (0x0028, 0x0103), (0x7FE0, 0x0010)
_FLOAT_PIXELS = {(0x7FE0, 0x0008), (0x7FE0, 0x0009)}
_WANTED = {TRANSFER, SAMPLES, PHOTOMETRIC, FRAMES, ROWS, COLUMNS, ALLOCATED, STORED, SIGNED}
_LONG = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
_UNDEFINED = 0xFFFFFFFF
_HEAD = struct.Struct("<HH2sH")
_MAX_DEPTH = 16
_STEPS_AN_ELEMENT = 10


@dataclass(slots=True)
class _Walk:
    """A pass over the elements up to the pixel data, keeping the few that are wanted."""

    source: Source
    explicit: bool = True
    found: dict[tuple[int, int], bytes] = field(default_factory=dict)

    def element(self, offset: int) -> tuple[tuple[int, int], bytes, int, int]:
        """(tag, value representation, offset of the value, its length)."""
        self.source.step(_STEPS_AN_ELEMENT)
        head = self.source.read(offset, _HEAD.size)
        group, number, kind, short = _HEAD.unpack(head)
        if group == 0xFFFE or (not self.explicit and group != 0x0002):
            return (group, number), b"", offset + 8, int.from_bytes(head[4:], "little")
        if kind in _LONG:
            return (group, number), kind, offset + 12, self.source.unpack("<I", offset + 8)[0]
        return (group, number), kind, offset + 8, short

    def skip(self, offset: int, depth: int = 0) -> int:
        """The end of a sequence or item of undefined length that starts at `offset`."""
        if depth > _MAX_DEPTH:
            raise BrokenImage("The DICOM file's sequences are nested deeper than in any real one.")
        while True:
            tag, kind, start, size = self.element(offset)
            if tag in ((0xFFFE, 0xE0DD), (0xFFFE, 0xE00D)):
                return start
            offset = self.end(kind, start, size, depth + 1)
            if kind and offset > self.source.size:
                raise BrokenImage("The DICOM file is cut off, or one of its elements gives a wrong length.")

    def end(self, kind: bytes, start: int, size: int, depth: int = 0) -> int:
        """Where an element ends; inside an unknown one (UN) of undefined length, elements are implicit VR."""
        if size != _UNDEFINED:
            return start + size
        explicit, self.explicit = self.explicit, self.explicit and kind != b"UN"
        end = self.skip(start, depth)
        self.explicit = explicit
        return end

    def run(self) -> bool:
        """Walk from the file meta information to the pixels; False if there are none."""
        offset, meta = 132, True
        while offset + 8 <= self.source.size:
            if meta and self.source.unpack("<H", offset)[0] != 0x0002:
                meta = False
                syntax = self.text(TRANSFER)
                if syntax in (DEFLATED, BIG_ENDIAN):
                    raise UnsupportedFormat(
                        "This DICOM file is deflated or big-endian; save it as explicit VR little endian."
                    )
                self.explicit = syntax != IMPLICIT
            tag, kind, start, size = self.element(offset)
            if tag == PIXELS:
                return True
            if tag in _FLOAT_PIXELS:
                raise UnsupportedFormat("This DICOM file holds floating-point pixels, which are not read.")
            if tag in _WANTED and size <= 64:
                self.found.setdefault(tag, self.source.read(start, size))
            offset = self.end(kind, start, size)
        return False

    def text(self, tag: tuple[int, int]) -> str:
        return self.found.get(tag, b"").decode("ascii", "replace").strip(" \0")

    def number(self, tag: tuple[int, int], default: int) -> int:
        raw = self.found.get(tag, b"")
        return struct.unpack("<H", raw[:2])[0] if len(raw) >= 2 else default


def read(source: Source, limits: Limits) -> ImageInfo:
    """Facts of the image plane and pixel modules."""
    walk = _Walk(source)
    if not walk.run():
        raise UnsupportedFormat("The DICOM file holds no image.")
    width, height = walk.number(COLUMNS, 0), walk.number(ROWS, 0)
    samples, allocated = walk.number(SAMPLES, 1), walk.number(ALLOCATED, 16)
    frames = walk.text(FRAMES) or "1"
    if not width or not height or not frames.isascii() or not frames.isdigit() or not 0 < int(frames) < 1 << 31:
        raise BrokenImage("The DICOM file gives no valid size for its image.")
    if samples not in (1, 3) or allocated not in (8, 16, 32) or walk.text(PHOTOMETRIC) == "PALETTE COLOR":
        raise UnsupportedFormat(f"This DICOM image ({samples} samples of {allocated} bit, or a palette) is not read.")
    dtype = f"{'int' if walk.number(SIGNED, 0) else 'uint'}{allocated}"
    bits = walk.number(STORED, allocated)
    return ImageInfo("dicom", width, height, samples, dtype, int(frames), bits=bits)
