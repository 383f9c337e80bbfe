"""GIF frames, composited to RGB. 256 colours cannot hold a denoised image, so the result is a PNG or APNG."""

from __future__ import annotations

import struct

import numpy as np

from images import note as notes
from images.codecs import pillow
from images.decoded import Decoded, Metadata
from images.errors import BrokenImage
from images.info import ImageInfo
from images.limits import Limits
from images.source import Source


def decode(source: Source, info: ImageInfo, limits: Limits) -> Decoded:
    """(N, H, W, 3) uint8, alpha where a frame declares a transparent colour; delays and loop count are kept."""
    image = pillow.opened(source, info, "GIF")
    if getattr(image, "n_frames", 1) != info.frames:
        raise BrokenImage("The GIF file is cut off: frames are missing.")
    comment = image.info.get("comment", b"")
    loops = int(image.info.get("loop", 1))
    stored = pillow.frames(image, info, "RGBA" if info.has_alpha else "RGB")
    delays = []
    for index in range(info.frames):
        image.seek(index)
        delays.append(struct.pack(">HH", min(int(image.info.get("duration", 100)), 65_535), 1000))
    kind = "PNG" if info.frames == 1 else "animated PNG"
    text = comment.decode("utf-8", "replace") if isinstance(comment, bytes) else str(comment)
    return Decoded(
        pixels=np.ascontiguousarray(stored[..., :3]),
        alpha=np.ascontiguousarray(stored[..., 3]) if info.has_alpha else None,
        info=info,
        metadata=Metadata(comments=(text,) if text else (), native={"delays": delays, "loops": loops}),
        warnings=(f"GIF holds 256 colours at most; the result is an RGB {kind}.",),
        denoised_before=notes.find(text),
    )
