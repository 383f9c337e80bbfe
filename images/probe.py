"""What is this file? Headers only: the kind is read from the content, a file name is never trusted.

Light on purpose: the gateway imports this module and nothing else of the room, so no codec and no NumPy here.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from images.errors import BrokenImage, ImageError, UnsupportedFormat
from images.headers.raw import is_raw
from images.info import ImageInfo
from images.limits import Limits
from images.source import Input, Source

__all__ = ["ImageError", "ImageInfo", "Limits", "probe", "sniff", "sniff_archive"]

DEFAULT_LIMITS = Limits()
READ_FORMATS = (
    "PNG, JPEG, WebP, TIFF, BMP, GIF, AVIF, HEIC, DICOM, FITS, NPY or camera raw (DNG and makers' own formats)"
)


def sniff(head: bytes) -> str | None:
    """The name of the header parser for a file that starts with `head` (132 bytes suffice), or None."""
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if head.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if head[128:132] == b"DICM":  # before TIFF: DICOM allows a TIFF header in its preamble
        return "dicom"
    if is_raw(head[:16]):  # before TIFF and HEIF: CR2 and CR3 start as those do
        return "raw"
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "tiff"
    if head[:6] in (b"GIF87a", b"GIF89a"):
        return "gif"
    if head[:2] == b"BM":
        return "bmp"
    if head[4:8] == b"ftyp":
        return "heif"
    if head.startswith(b"\x93NUMPY"):
        return "npy"
    if head.startswith(b"SIMPLE  ="):
        return "fits"
    return None


def sniff_archive(head: bytes) -> str | None:
    """`zip`, `tar` or `gzip` for a file that starts with `head` (512 bytes suffice), or None."""
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return "zip"
    if head.startswith(b"\x1f\x8b"):
        return "gzip"
    return "tar" if head[257:262] == b"ustar" else None


def probe(data: Input, limits: Limits = DEFAULT_LIMITS) -> ImageInfo:
    """Facts about the image in `data` (bytes, or a path), checked against `limits`; no pixel is decoded.

    Raises `UnsupportedFormat`, `BrokenImage` or `ImageTooLarge`, with a text for the user.
    """
    with Source(data) as source:
        limits.check_bytes(source.size)
        if source.size == 0:
            raise BrokenImage("The file is empty.")
        kind = sniff(source.head(132))
        if kind is None:
            raise UnsupportedFormat(f"This is not an image that is read here. Send {READ_FORMATS}.")
        info = _reader(kind)(source, limits)
    limits.check(info)
    return info


def _reader(kind: str) -> Callable[[Source, Limits], ImageInfo]:
    reader: Callable[[Source, Limits], ImageInfo] = import_module(f"images.headers.{kind}").read
    return reader
