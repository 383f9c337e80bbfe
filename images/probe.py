"""What is this file? Headers only: the kind is read from the content, a file name is never trusted.

Light on purpose: the gateway imports this module and nothing else of the room, so no codec and no NumPy here.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from images.budget import Budget
from images.errors import BrokenImage, ImageError, UnsupportedFormat
from images.formats import READ_FORMATS, READ_TYPES, WRITTEN_TYPES, header_of
from images.info import ImageInfo
from images.limits import Limits
from images.source import Input, Source
from images.writable import require_writable

__all__ = [
    "READ_FORMATS",
    "READ_TYPES",
    "WRITTEN_TYPES",
    "ImageError",
    "ImageInfo",
    "Limits",
    "probe",
    "require_writable",
    "sniff_archive",
]

DEFAULT_LIMITS = Limits()


def sniff_archive(head: bytes) -> str | None:
    """`zip`, `tar` or `gzip` for a file that starts with `head` (512 bytes suffice), or None."""
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return "zip"
    if head.startswith(b"\x1f\x8b"):
        return "gzip"
    return "tar" if head[257:262] == b"ustar" else None


def probe(data: Input, limits: Limits = DEFAULT_LIMITS) -> ImageInfo:
    """Facts about the image in `data` (see `Input`), checked against `limits`; no pixel is decoded.

    Raises `UnsupportedFormat`, `BrokenImage` or `ImageTooLarge`, with a text for the user.
    """
    with Source(data) as source:
        return probe_source(source, limits)


def probe_source(source: Source, limits: Limits) -> ImageInfo:
    """As `probe`, within what `images.budget` lets a probe of a file of this size cost."""
    limits.check_bytes(source.size)
    if source.size == 0:
        raise BrokenImage("The file is empty.")
    source.budget = Budget.of_probe(source.size)
    kind = header_of(source.head(132))
    if kind is None:
        raise UnsupportedFormat(f"This is not an image that is read here. Send {READ_FORMATS}.")
    try:
        info = _reader(kind)(source, limits)
        limits.check(info)
    except (ImageError, MemoryError, OSError):  # the last two are the machine's
        raise
    except Exception as error:  # a parser met something nobody foresaw: the file's fault, as far as the user can tell
        raise BrokenImage("The file's header says things about the image that cannot be true.") from error
    return info


def _reader(kind: str) -> Callable[[Source, Limits], ImageInfo]:
    reader: Callable[[Source, Limits], ImageInfo] = import_module(f"images.headers.{kind}").read
    return reader
