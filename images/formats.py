"""The image formats, a row each. A new format is a row here, a header parser and a codec of its name.

Light on purpose: the gateway reads this table.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_NONE: frozenset[int] = frozenset()
_EIGHT = frozenset({"uint8"})
_SIXTEEN = frozenset({"uint8", "uint16"})
_ANY = frozenset(f"{kind}{bits}" for kind in ("uint", "int") for bits in (8, 16, 32, 64)) | {
    "float16",
    "float32",
    "float64",
}
_INTEGERS = frozenset(f"{kind}{bits}" for kind in ("uint", "int") for bits in (8, 16, 32))
_MANY = frozenset(range(1, 65))
_TIFF = rb"(?!.{128}DICM|II\*\0.{4}CR)(?:II[*+]\0|MM\0[*+])"  # DICOM allows one in its preamble, and CR2 is one
_HEIF = rb".{4}ftyp(?!crx )"  # CR3's brand
_RAW = rb"FUJIFILMCCD-RAW|II(?:U\0|RO|RS)|MMOR|\0MRM|II\*\0.{4}CR|.{4}ftypcrx |.{6}HEAPCCDR|FOVb"


@dataclass(frozen=True, slots=True)
class Format:
    """One format: how it is known, called, and what a file of it can hold as it is written here.

    Attributes:
        name: also the module in `images.codecs`.
        title: what people call it.
        magic: regular expression that the first 132 bytes of a file match; formats that share one share a header.
        header: the module in `images.headers` that reads its header.
        dtypes: NumPy names of the sample types; empty where the format is only read.
        channels: numbers of colours without alpha; `with_alpha`, those that an alpha channel may stand beside.
        frames: whether it holds several; `paged`, whether those are read and written one by one, never all in memory.
        result: the format in which its images come back.
    """

    name: str
    title: str
    media_type: str
    extension: str
    magic: bytes
    header: str
    result: str
    dtypes: frozenset[str] = frozenset()
    channels: frozenset[int] = _NONE
    with_alpha: frozenset[int] = _NONE
    frames: bool = False
    paged: bool = False


_ROWS = (
    Format(
        "png", "PNG", "image/png", ".png", rb"\x89PNG\r\n\x1a\n", "png", "png",
        _SIXTEEN, frozenset({1, 3}), frozenset({1, 3}), frames=True,
    ),
    Format(
        "jpeg", "JPEG", "image/jpeg", ".jpg", rb"\xff\xd8\xff", "jpeg", "jpeg",
        _EIGHT, frozenset({1, 3, 4}),
    ),
    Format(
        "webp", "WebP", "image/webp", ".webp", rb"RIFF.{4}WEBP", "webp", "webp",
        _EIGHT, frozenset({3}), frozenset({3}), frames=True,
    ),
    Format(
        "tiff", "TIFF", "image/tiff", ".tif", _TIFF, "tiff", "tiff",
        _ANY, _MANY, _MANY, frames=True, paged=True,
    ),
    Format(
        "bmp", "BMP", "image/bmp", ".bmp", rb"BM", "bmp", "bmp",
        _EIGHT, frozenset({1, 3}), frozenset({3}),
    ),
    Format("gif", "GIF", "image/gif", ".gif", rb"GIF8[79]a", "gif", "png"),
    Format(
        "avif", "AVIF", "image/avif", ".avif", _HEIF, "heif", "avif",
        _EIGHT, frozenset({3}), frozenset({3}),
    ),
    Format(
        "heic", "HEIC", "image/heic", ".heic", _HEIF, "heif", "heic",
        _SIXTEEN, frozenset({1, 3}), frozenset({3}),
    ),
    Format(
        "dicom", "DICOM", "application/dicom", ".dcm", rb".{128}DICM", "dicom", "dicom",
        _INTEGERS, frozenset({1, 3}), frames=True,
    ),
    Format(
        "fits", "FITS", "image/fits", ".fits", rb"SIMPLE  =", "fits", "fits",
        _ANY, frozenset({1}), frames=True, paged=True,
    ),
    Format(
        "npy", "NPY", "application/x-npy", ".npy", rb"\x93NUMPY", "npy", "npy",
        _ANY, _MANY, _MANY, frames=True, paged=True,
    ),
    Format(
        "dng", "DNG", "image/x-adobe-dng", ".dng", _TIFF, "tiff", "dng",
        frozenset({"uint16"}), frozenset({1}),
    ),
    Format("raw", "cameras' own raw formats", "image/x-dcraw", ".raw", _RAW, "raw", "dng"),
)  # fmt: skip
FORMATS = {row.name: row for row in _ROWS}
_TITLES = [row.title for row in _ROWS]
READ_FORMATS = f"{', '.join(_TITLES[:-1])} or {_TITLES[-1]}"
"""What may be sent, for people."""
READ_TYPES = tuple(row.media_type for row in _ROWS)
"""The media types of what may be sent."""
WRITTEN_TYPES = tuple(row.media_type for row in _ROWS if row.dtypes)
"""The media types of what may come back."""


def header_of(head: bytes) -> str | None:
    """The name of the header parser for a file that starts with `head` (132 bytes suffice), or None."""
    return next((row.header for row in _ROWS if re.match(row.magic, head, re.DOTALL)), None)
