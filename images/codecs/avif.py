"""AVIF. 8 bit goes in and out as AVIF; 10 and 12 bit are read whole, and come back as a 16-bit PNG.

No encoder that ships in a wheel writes deep AVIF together with its profile, and depth must not be lost without a word.
"""

from __future__ import annotations

import io
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from images import note as notes
from images.codecs import pillow
from images.decoded import Decoded, Metadata
from images.errors import BrokenImage
from images.info import ImageInfo
from images.limits import Limits
from images.samples import scaled_up
from images.source import Source

Array = NDArray[Any]
_QUALITY = 95


def decode(source: Source, info: ImageInfo, limits: Limits) -> Decoded:
    """(1, H, W, 3) uint8, or uint16 scaled to the whole range."""
    image = pillow.opened(source, info, "AVIF")
    exif, icc, xmp = (image.info.get(name) or b"" for name in ("exif", "icc_profile", "xmp"))
    metadata = Metadata(exif.removeprefix(b"Exif\0\0"), icc, xmp)
    warnings: tuple[str, ...] = ()
    if info.bits > 8:
        warnings = (f"AVIF of {info.bits} bit is not written here; the result is a 16-bit PNG.",)
        stored = _deep(source, info)
    else:
        stored = pillow.frames(image, info, "RGBA" if info.has_alpha else "RGB")
    return Decoded(
        pixels=np.ascontiguousarray(stored[..., :3]),
        alpha=np.ascontiguousarray(stored[..., 3]) if info.has_alpha else None,
        info=info,
        metadata=metadata,
        warnings=warnings,
        denoised_before=notes.find(xmp),
    )


def _deep(source: Source, info: ImageInfo) -> Array:
    try:
        data = np.asarray(imagecodecs.avif_decode(bytes(source.whole()), numthreads=1))
    except Exception as error:
        raise BrokenImage("The AVIF file's image data is damaged or cut off.") from error
    data = data[..., None] if data.ndim == 2 else data
    if data.dtype != np.uint16 or data.shape[:2] != (info.height, info.width):
        raise BrokenImage("The AVIF file's image data does not fit its header.")
    if data.shape[2] < 3:
        data = np.concatenate([data[..., :1]] * 3 + [data[..., 1:]], axis=2)
    return scaled_up(data[None, ..., : 3 + info.has_alpha], info.bits)


def encode(stored: Array, metadata: Metadata, info: ImageInfo, note: str | None) -> bytes:
    """An AVIF of a (1, H, W, 3 | 4) uint8 array, without colour subsampling, at quality 95."""
    xmp = notes.into_xmp(metadata.xmp, note) if note else metadata.xmp
    buffer = io.BytesIO()
    options: dict[str, Any] = {"quality": _QUALITY, "subsampling": "4:4:4", "speed": 8, "max_threads": 1}
    options |= {"exif": metadata.exif or None, "icc_profile": metadata.icc or None, "xmp": xmp or None}
    Image.fromarray(stored[0]).save(buffer, "AVIF", **{k: v for k, v in options.items() if v is not None})
    return buffer.getvalue()
