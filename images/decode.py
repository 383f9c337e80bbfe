"""Bytes to arrays, with everything that must survive the trip."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module

from images.decoded import Decoded, Metadata
from images.errors import BrokenImage, ImageError
from images.limits import Limits
from images.probe import DEFAULT_LIMITS, probe
from images.source import Input, Source

__all__ = ["Decoded", "Metadata", "decode"]


def decode(data: Input, limits: Limits = DEFAULT_LIMITS) -> Decoded:
    """The image in `data` (bytes, or a path): probed, checked against `limits`, then decoded.

    Returns pixels (N, H, W, C) uint8, uint16 or float32 without alpha; pixels lie as stored, so an orientation tag
    goes on to be a tag. Raises `ImageError` and nothing else, whatever the file holds.
    """
    info = probe(data, limits)
    codec = import_module(f"images.codecs.{info.format}")
    try:
        with Source(data) as source:
            decoded: Decoded = codec.decode(source, info, limits)
    except ImageError:
        raise
    except Exception as error:  # a codec met something nobody foresaw: the file's fault, as far as the user can tell
        raise BrokenImage(f"The {info.format.upper()} file is damaged: its contents cannot be decoded.") from error
    if decoded.denoised_before:
        warning = (
            f"This image was denoised before ({decoded.denoised_before}); doing it again removes detail, not noise."
        )
        decoded = replace(decoded, warnings=(*decoded.warnings, warning))
    return decoded
