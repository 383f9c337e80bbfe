"""BMP through Pillow. The format has no place for profiles, texts or our note."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from images.codecs import pillow
from images.decoded import Decoded, Metadata
from images.info import ImageInfo
from images.limits import Limits
from images.source import Source

Array = NDArray[Any]
_BITFIELDS, _METRE = 3, 39.3700787


def decode(source: Source, info: ImageInfo, limits: Limits) -> Decoded:
    """(1, H, W, 1 | 3) uint8; a palette of grays is gray, any other palette RGB."""
    image = pillow.opened(source, info, "BMP")
    dpi = pillow.dpi_of(image)
    palette = image.mode == "P"
    mode = {1: "L", 3: "RGB"}[info.channels] + ("A" if info.has_alpha else "")
    stored = pillow.frames(image, info, mode)
    return Decoded(
        pixels=np.ascontiguousarray(stored[..., : info.channels]),
        alpha=np.ascontiguousarray(stored[..., -1]) if info.has_alpha else None,
        info=info,
        metadata=Metadata(dpi=dpi),
        warnings=("The image had a colour palette; the result is stored as RGB.",) if palette else (),
    )


def encode(stored: Array, metadata: Metadata, info: ImageInfo, note: str | None) -> bytes:
    """A BMP of a (1, H, W, 1 | 3 | 4) uint8 array; the note has no place here."""
    if stored.shape[3] == 4:
        return _with_alpha(stored[0], metadata)
    image = Image.fromarray(stored[0, :, :, 0] if stored.shape[3] == 1 else stored[0])
    buffer = io.BytesIO()
    image.save(buffer, "BMP", **({"dpi": metadata.dpi} if metadata.dpi else {}))
    return buffer.getvalue()


def _with_alpha(frame: Array, metadata: Metadata) -> bytes:
    """A BMP with a BITMAPV4HEADER, the first that knows alpha; Pillow writes none."""
    height, width, _ = frame.shape
    metre = [round(value * _METRE) for value in metadata.dpi or (0.0, 0.0)]
    header = struct.pack("<IiiHHIIiiII", 108, width, height, 1, 32, _BITFIELDS, frame.nbytes, *metre, 0, 0)
    header += struct.pack("<IIII4s", 0xFF0000, 0xFF00, 0xFF, 0xFF000000, b"BGRs") + bytes(48)
    data = np.ascontiguousarray(frame[::-1, :, [2, 1, 0, 3]]).tobytes()
    return b"BM" + struct.pack("<IHHI", 14 + len(header) + len(data), 0, 0, 14 + len(header)) + header + data
