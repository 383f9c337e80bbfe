"""WebP, still and animated. A lossless file stays lossless (exact, even under transparent pixels)."""

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
from images.headers import webp as header
from images.info import ImageInfo
from images.limits import Limits
from images.source import Source

Array = NDArray[Any]
_LOSSY = 97  # WebP does not record its quality; at 97 the loss is below any that the input can have had
_DELAY = 100


def decode(source: Source, info: ImageInfo, limits: Limits) -> Decoded:
    """Stills by libwebp itself (Pillow blanks colours under transparency), animations composited by Pillow."""
    found: dict[bytes, bytes] = {}
    lossless = False
    for kind, offset, size in header.chunks(source):
        lossless |= kind == b"VP8L"
        if kind in (b"ICCP", b"EXIF", b"XMP "):
            found.setdefault(kind, source.read(offset, size))
        if kind == b"ANMF" and size > 24:
            lossless |= source.read(offset + 16, 4) == b"VP8L"
    native: dict[str, Any] = {"lossless": lossless}
    if info.frames == 1 and not _animated(source):
        stored = _still(source, info)
    else:
        stored, native["durations"], native["loop"] = _animation(source, info)
    exif = found.get(b"EXIF", b"").removeprefix(b"Exif\0\0")
    metadata = Metadata(exif, found.get(b"ICCP", b""), found.get(b"XMP ", b""), native=native)
    return Decoded(
        pixels=np.ascontiguousarray(stored[..., :3]),
        alpha=np.ascontiguousarray(stored[..., 3]) if info.has_alpha else None,
        info=info,
        metadata=metadata,
        denoised_before=notes.find(metadata.xmp),
    )


def _animated(source: Source) -> bool:
    return any(kind == b"ANMF" for kind, _, _ in header.chunks(source))


def _still(source: Source, info: ImageInfo) -> Array:
    try:
        stored = np.asarray(imagecodecs.webp_decode(bytes(source.whole()), hasalpha=info.has_alpha))
    except Exception as error:
        raise BrokenImage("The WebP file's image data is damaged or cut off.") from error
    if stored.shape[:2] != (info.height, info.width) or stored.shape[2] < 3 + info.has_alpha:
        raise BrokenImage("The WebP file's image data does not fit its header.")
    return stored[None]


def _animation(source: Source, info: ImageInfo) -> tuple[Array, list[int], int]:
    image = pillow.opened(source, info, "WEBP")
    if getattr(image, "n_frames", 1) != info.frames:
        raise BrokenImage("The WebP file is cut off: frames are missing.")
    stored = pillow.frames(image, info, "RGBA" if info.has_alpha else "RGB")
    durations = []
    for index in range(info.frames):
        image.seek(index)
        image.load()
        durations.append(int(image.info.get("duration", _DELAY)))
    return stored, durations, int(image.info.get("loop", 0))


def encode(stored: Array, metadata: Metadata, info: ImageInfo, note: str | None) -> bytes:
    """A WebP of an (N, H, W, 3 | 4) uint8 array."""
    images = [Image.fromarray(frame) for frame in stored]
    lossless = bool(metadata.native.get("lossless", True)) if info.format == "webp" else True
    xmp = notes.into_xmp(metadata.xmp, note) if note else metadata.xmp
    options: dict[str, Any] = {"lossless": lossless, "exact": True, "quality": 50 if lossless else _LOSSY, "method": 2}
    options |= {"exif": metadata.exif, "icc_profile": metadata.icc, "xmp": xmp}
    if len(images) > 1:
        durations = metadata.native.get("durations") or [_DELAY] * len(images)
        options |= {"save_all": True, "append_images": images[1:], "duration": durations}
        options |= {"loop": metadata.native.get("loop", 0), "minimize_size": False, "kmin": 0, "kmax": 1}
    buffer = io.BytesIO()
    images[0].save(buffer, "WEBP", **options)
    return buffer.getvalue()
