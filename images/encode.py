"""Arrays to bytes: the result looks like the upload in everything but its noise."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import import_module
from io import BytesIO
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from images import scratch
from images.decoded import Decoded, Dtype, Encoded, Keep
from images.errors import ImageError, UnsupportedFormat
from images.formats import FORMATS
from images.info import ImageInfo
from images.writable import require_writable

__all__ = ["Encoded", "encode", "encode_to", "lost"]

Array = NDArray[Any]


def encode(
    decoded: Decoded,
    pixels: Array,
    output_format: str | None = None,
    metadata: Keep = "keep",
    note: str | None = None,
    output_dtype: Dtype | None = None,
) -> Encoded:
    """`pixels` (N, H, W, C), same shape and dtype as `decoded.pixels`, as a file of `output_format`.

    With `output_dtype` the file holds samples of that type, and pixels may be float32 that were never rounded.

    The default is the format that came in. `metadata`: `keep` all, `safe` drops places (GPS), `none` keeps only colour
    profile and orientation. `note` (see `images.note.compose`) is written where the format has a place for it.
    Raises `UnsupportedFormat` if the format cannot hold the image without loss of depth, channels or frames.
    """
    types = (decoded.pixels.dtype,) if output_dtype is None else (decoded.pixels.dtype, np.float32)
    if pixels.shape != decoded.pixels.shape or pixels.dtype not in types:
        raise ValueError(
            f"pixels are {pixels.shape} {pixels.dtype}; "
            f"the decoded image is {decoded.pixels.shape} {decoded.pixels.dtype}"
        )
    target = output_format or decoded.info.result_format
    require_writable(decoded.info, target, metadata, output_dtype=output_dtype)
    row = FORMATS[target]
    stored = _stored(decoded, pixels, output_dtype)
    codec = import_module(f"images.codecs.{target}")
    about = decoded.metadata.kept(metadata), _written(decoded, output_dtype), note
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data = _in_memory(codec.write, stored, *about) if row.paged else codec.encode(stored, *about)
    except (ImageError, MemoryError):
        raise
    except Exception as error:  # what was carried over from the file is as odd as the file was
        raise UnsupportedFormat(
            f"The result cannot be written as {target.upper()} with this file's metadata; "
            "try metadata=none or another output_format."
        ) from error
    return Encoded(data, row.media_type, row.extension)


def _written(decoded: Decoded, output_dtype: Dtype | None) -> ImageInfo:
    return decoded.info if output_dtype is None else replace(decoded.info, dtype=output_dtype)


def lost(
    decoded: Decoded,
    output_format: str | None = None,
    metadata: Keep = "keep",
    output_dtype: Dtype | None = None,
) -> tuple[str, ...]:
    """Warnings about what the file has and a result with these options has not, beyond what they say themselves."""
    if decoded.info.format != "tiff":
        return ()
    codec = import_module("images.codecs.tiff")
    target = output_format or decoded.info.result_format
    same = output_dtype in (None, decoded.info.dtype)
    warning: tuple[str, ...] = codec.lost(
        decoded.metadata, decoded.metadata.kept(metadata), decoded.info, target if same else ""
    )
    return warning


def _in_memory(write: Callable[..., None], stored: Array, *about: object) -> bytes:
    """What a codec that writes page by page makes of all pages."""
    buffer = BytesIO()
    write(buffer, stored, stored.nbytes, *about)
    return buffer.getvalue()


def encode_to(
    file: IO[bytes],
    decoded: Decoded,
    pixels: Array,
    output_format: str | None = None,
    metadata: Keep = "keep",
    note: str | None = None,
    output_dtype: Dtype | None = None,
) -> tuple[str, str]:
    """As `encode`, into an open file: (media type, extension). TIFF, NPY and FITS stacks go page by page.

    With `images.scratch` for the pixels and the file, a stack of any size passes through little memory.
    """
    target = output_format or decoded.info.result_format
    if not FORMATS[target].paged or len(pixels) == 1:
        encoded = encode(decoded, pixels, output_format, metadata, note, output_dtype)
        file.write(encoded.data)
        return encoded.media_type, encoded.extension
    require_writable(decoded.info, target, metadata, output_dtype=output_dtype)
    module = import_module(f"images.codecs.{target}")
    info = _written(decoded, output_dtype)
    pages = _pages(decoded, pixels, output_dtype)
    module.write(file, pages, info.decoded_bytes, decoded.metadata.kept(metadata), info, note)
    return FORMATS[target].media_type, FORMATS[target].extension


def _pages(decoded: Decoded, pixels: Array, dtype: Dtype | None) -> Iterator[Array]:
    """(H, W, S) samples as the file holds them, one page after the other."""
    for index in range(len(pixels)):
        page = decoded.restore(pixels[index : index + 1], index, dtype)[0]
        if decoded.alpha is not None:
            alpha = decoded.alpha[index][..., None].astype(page.dtype, copy=False)
            page = np.concatenate([page, alpha], axis=2)
        yield page
        scratch.release(pixels)


def _stored(decoded: Decoded, pixels: Array, dtype: Dtype | None) -> Array:
    """Samples as the file holds them: own dtype, alpha behind the colours."""
    stored = decoded.restore(pixels, dtype=dtype)
    if decoded.alpha is None:
        return stored
    return np.concatenate([stored, decoded.alpha[..., None].astype(stored.dtype, copy=False)], axis=3)
