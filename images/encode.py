"""Arrays to bytes: the result looks like the upload in everything but its noise."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from io import BytesIO
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from images import scratch
from images.decoded import Decoded, Encoded, Keep
from images.errors import ImageError, UnsupportedFormat
from images.info import EXTENSIONS, MEDIA_TYPES

__all__ = ["Encoded", "encode", "encode_to"]

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Container:
    """What a format can hold. `samples` counts alpha in; `codec` names the module that writes it."""

    dtypes: frozenset[str]
    samples: frozenset[int]
    frames: bool


_EIGHT = frozenset({"uint8"})
_TIFF_TYPES = frozenset(
    {"uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64", "float16", "float32", "float64"}
)
_DEFAULTS = {"gif": "png", "raw": "dng"}  # read here, but written as what can hold the result
_PAGED = ("tiff", "npy", "fits")  # written page by page
_NEVER_CMYK = ("png", "webp", "bmp", "avif", "heic")  # four samples are RGBA there
CONTAINERS = {
    "png": Container(frozenset({"uint8", "uint16"}), frozenset({1, 2, 3, 4}), True),
    "jpeg": Container(_EIGHT, frozenset({1, 3, 4}), False),
    "webp": Container(_EIGHT, frozenset({3, 4}), True),
    "avif": Container(_EIGHT, frozenset({3, 4}), False),
    "heic": Container(frozenset({"uint8", "uint16"}), frozenset({1, 3, 4}), False),
    "npy": Container(_TIFF_TYPES, frozenset(range(1, 65)), True),
    "dicom": Container(_TIFF_TYPES, frozenset({1, 3}), True),
    "dng": Container(frozenset({"uint16"}), frozenset({4}), False),
    "fits": Container(_TIFF_TYPES, frozenset({1}), True),
    "bmp": Container(_EIGHT, frozenset({1, 3, 4}), False),
    "tiff": Container(_TIFF_TYPES, frozenset(range(1, 65)), True),
}


def encode(
    decoded: Decoded,
    pixels: Array,
    output_format: str | None = None,
    metadata: Keep = "keep",
    note: str | None = None,
) -> Encoded:
    """`pixels` (N, H, W, C), same shape and dtype as `decoded.pixels`, as a file of `output_format`.

    The default is the format that came in. `metadata`: `keep` all, `safe` drops places (GPS), `none` keeps only colour
    profile and orientation. `note` (see `images.note.compose`) is written where the format has a place for it.
    Raises `UnsupportedFormat` if the format cannot hold the image without loss of depth, channels or frames.
    """
    if pixels.shape != decoded.pixels.shape or pixels.dtype != decoded.pixels.dtype:
        raise ValueError(
            f"pixels are {pixels.shape} {pixels.dtype}; "
            f"the decoded image is {decoded.pixels.shape} {decoded.pixels.dtype}"
        )
    target = output_format or _default(decoded)
    if target not in CONTAINERS:
        raise UnsupportedFormat(f"{target!r} cannot be written; choose one of {', '.join(sorted(CONTAINERS))}.")
    stored = _stored(decoded, pixels)
    _check(target, stored, decoded)
    codec = import_module(f"images.codecs.{target}")
    about = decoded.metadata.kept(metadata), decoded.info, note
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data = _in_memory(codec.write, stored, *about) if target in _PAGED else codec.encode(stored, *about)
    except (ImageError, MemoryError):
        raise
    except Exception as error:  # what was carried over from the file is as odd as the file was
        raise UnsupportedFormat(
            f"The result cannot be written as {target.upper()} with this file's metadata; "
            "try metadata=none or another output_format."
        ) from error
    return Encoded(data, MEDIA_TYPES[target], EXTENSIONS[target])


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
) -> tuple[str, str]:
    """As `encode`, into an open file: (media type, extension). TIFF, NPY and FITS stacks go page by page.

    With `images.scratch` for the pixels and the file, a stack of any size passes through little memory.
    """
    target = output_format or _default(decoded)
    if target not in _PAGED or len(pixels) == 1:
        encoded = encode(decoded, pixels, output_format, metadata, note)
        file.write(encoded.data)
        return encoded.media_type, encoded.extension
    _check(target, decoded.restore(pixels[:1], page=0), decoded)
    module = import_module(f"images.codecs.{target}")
    size = decoded.info.decoded_bytes
    module.write(file, _pages(decoded, pixels), size, decoded.metadata.kept(metadata), decoded.info, note)
    return MEDIA_TYPES[target], EXTENSIONS[target]


def _pages(decoded: Decoded, pixels: Array) -> Iterator[Array]:
    """(H, W, S) samples as the file holds them, one page after the other."""
    for index in range(len(pixels)):
        page = decoded.restore(pixels[index : index + 1], page=index)[0]
        if decoded.alpha is not None:
            alpha = decoded.alpha[index][..., None].astype(page.dtype, copy=False)
            page = np.concatenate([page, alpha], axis=2)
        yield page
        scratch.release(pixels)


def _default(decoded: Decoded) -> str:
    """The format that came in, or the one that can hold what came in where that one is not written."""
    name = decoded.info.format
    if name == "avif" and decoded.info.dtype != "uint8":
        return "png"
    return _DEFAULTS.get(name, name)


def _stored(decoded: Decoded, pixels: Array) -> Array:
    """Samples as the file holds them: own dtype, alpha behind the colours."""
    stored = decoded.restore(pixels)
    if decoded.alpha is None:
        return stored
    return np.concatenate([stored, decoded.alpha[..., None].astype(stored.dtype, copy=False)], axis=3)


def _check(target: str, stored: Array, decoded: Decoded) -> None:
    """Refuse what the container would lose without a word."""
    container = CONTAINERS[target]
    frames, _, _, samples = stored.shape
    name = target.upper()
    if stored.dtype.name not in container.dtypes:
        raise UnsupportedFormat(
            f"{name} cannot hold {stored.dtype.name} samples; choose tiff, or leave output_format out."
        )
    if frames > 1 and not container.frames:
        raise UnsupportedFormat(
            f"{name} holds one image, this file has {frames}; choose tiff, or leave output_format out."
        )
    if target == "jpeg" and decoded.alpha is not None:
        raise UnsupportedFormat("JPEG has no transparency; choose png, webp or tiff.")
    if samples not in container.samples or (samples == 4 and decoded.info.channels == 4 and target in _NEVER_CMYK):
        raise UnsupportedFormat(f"{name} cannot hold {samples} channels; choose tiff, or leave output_format out.")
