"""HEIC through libheif (the pillow-heif wheel): 8, 10 and 12 bit in and out."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pillow_heif
from numpy.typing import NDArray

from images import exif as exif_block
from images import note as notes
from images.decoded import Decoded, Metadata
from images.errors import BrokenImage
from images.info import ImageInfo
from images.limits import Limits
from images.source import Source

Array = NDArray[Any]
_QUALITY = 95
_PRESET = (
    "ultrafast"  # x265's own choice takes 8 times the CPU for a file a fifth smaller and 3 dB further from the result
)


def decode(source: Source, info: ImageInfo, limits: Limits) -> Decoded:
    """(1, H, W, 3) uint8, or uint16 scaled to the whole range; rotation properties are applied by the decoder."""
    try:
        file = pillow_heif.open_heif(bytes(source.whole()), convert_hdr_to_8bit=False, bgr_mode=False)
        image = file[file.primary_index]
        data = np.asarray(image)
    except Exception as error:
        raise BrokenImage("The HEIC file's image data is damaged or cut off.") from error
    if data.shape[:2] != (info.height, info.width):
        raise BrokenImage("The HEIC file's image data does not fit its header.")
    data = data[..., None] if data.ndim == 2 else data
    alpha = data.shape[2] in (2, 4)
    found: dict[str, Any] = dict(image.info)
    # libheif has turned the pixels already: the tag must not turn them again in a viewer.
    exif = exif_block.upright((found.get("exif") or b"").removeprefix(b"Exif\0\0"))
    xmp = found.get("xmp") or b""
    colours = data[..., : data.shape[2] - alpha]
    info = replace(info, channels=colours.shape[2], dtype=data.dtype.name, has_alpha=alpha)
    return Decoded(
        pixels=np.array(colours)[None],
        alpha=np.array(data[..., -1])[None] if alpha else None,
        info=info,
        metadata=Metadata(exif, found.get("icc_profile") or b"", xmp),
        denoised_before=notes.find(xmp),
    )


def encode(stored: Array, metadata: Metadata, info: ImageInfo, note: str | None) -> bytes:
    """A HEIC of a (1, H, W, 1 | 3 | 4) uint8 or uint16 (written as 10 bit) array, without colour subsampling."""
    xmp = notes.into_xmp(metadata.xmp, note) if note else metadata.xmp
    _, height, width, samples = stored.shape
    mode = {1: "L", 3: "RGB", 4: "RGBA"}[samples] + (";16" if stored.dtype == np.uint16 else "")
    image = pillow_heif.from_bytes(mode=mode, size=(width, height), data=np.ascontiguousarray(stored[0]).tobytes())
    options: dict[str, Any] = {
        "quality": _QUALITY,
        "chroma": 444,
        "enc_params": {"preset": _PRESET},
        "exif": metadata.exif,
        "xmp": xmp,
    }
    if metadata.icc:
        image.info["icc_profile"], image.info["icc_profile_type"] = metadata.icc, "prof"
    buffer = io.BytesIO()
    image.save(buffer, **{k: v for k, v in options.items() if v})
    return buffer.getvalue()
