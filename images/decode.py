"""Bytes to arrays, with everything that must survive the trip."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module

import numpy as np

from images.decoded import Decoded, Metadata
from images.errors import BrokenImage, ImageError
from images.limits import Limits
from images.mosaic_split import Mosaic, split
from images.probe import DEFAULT_LIMITS, probe
from images.source import Input, Source
from images.working_stack import Allocate

__all__ = ["Decoded", "Metadata", "Mosaic", "decode", "decode_here", "decode_stored"]


def decode(
    data: Input,
    limits: Limits = DEFAULT_LIMITS,
    mosaic: Mosaic = "auto",
    check: Callable[[], None] = lambda: None,
) -> Decoded:
    """The image in `data` (see `Input`): probed, checked against `limits`, then decoded in a helper process.

    Returns pixels (N, H, W, C) uint8, uint16 or float32 without alpha; pixels lie as stored, so an orientation tag
    goes on to be a tag. A colour mosaic becomes four planes, see `images.mosaic_split.split`. Raises `ImageError` and
    nothing else, whatever the file holds; `DecoderKilled` if the system keeps ending the helper. `check` is called now
    and then while the helper works, and stops it by raising.
    """
    from images.sandbox import shared

    return split(shared().decode(data, limits, check), mosaic)


def decode_here(data: Input, limits: Limits = DEFAULT_LIMITS, mosaic: Mosaic = "auto") -> Decoded:
    """As `decode`, in this process: for files one trusts."""
    return split(decode_stored(data, limits), mosaic)


def decode_stored(data: Input, limits: Limits = DEFAULT_LIMITS, allocate: Allocate = np.empty) -> Decoded:
    """As `decode_here`, but a mosaic stays the one channel that it is in the file; for the helper.

    `allocate(shape, dtype)` makes the array that large stacks are read into.
    """
    info = probe(data, limits)
    codec = import_module(f"images.codecs.{info.format}")
    try:
        with Source(data) as source, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what libraries mutter about a file is not for the log
            if info.frames > 1 and hasattr(codec, "decode_stack"):
                decoded: Decoded = codec.decode_stack(source, info, limits, allocate)
            else:
                decoded = codec.decode(source, info, limits)
    except (ImageError, MemoryError):
        raise
    except Exception as error:  # a codec met something nobody foresaw: the file's fault, as far as the user can tell
        raise BrokenImage(f"The {info.format.upper()} file is damaged: its contents cannot be decoded.") from error
    if decoded.denoised_before:
        warning = f"This image was denoised before ({decoded.denoised_before}); doing it again takes detail, not noise."
        decoded = replace(decoded, warnings=(*decoded.warnings, warning))
    return decoded
