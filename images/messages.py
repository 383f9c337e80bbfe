"""What `images.sandbox` and `images.guest` say to each other, and how: pickled, but only ever our own few classes."""

from __future__ import annotations

import array
import io
import pickle  # nosec B403  # read by a reader that knows our few classes only
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from images.archive import ArchiveLimits, Member
from images.decoded import Decoded, Metadata
from images.errors import (
    ArchiveTooLarge,
    BrokenArchive,
    BrokenImage,
    ImageError,
    ImageTooLarge,
    UnsupportedFormat,
)
from images.info import ImageInfo
from images.limits import BYTES_A_CPU_SECOND, MIB, Limits
from images.units import STORED, Units
from images.words import plain

Array = NDArray[Any]
LENGTH = struct.Struct("<Q")


@dataclass(frozen=True, slots=True)
class Place:
    """Where an array lies in the shared file."""

    offset: int
    shape: tuple[int, ...]
    dtype: str

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64)) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True, slots=True)
class Request:
    """One file to decode; its descriptor and that of the output file come with the message.

    Without `decoded_bytes` it is only looked at, and no output file comes.
    """

    size: int
    limits: Limits
    decoded_bytes: int | None = None

    @property
    def cpu_seconds(self) -> int:
        """CPU time that the answer may take."""
        return self.limits.cpu_seconds + (self.decoded_bytes or 0) // BYTES_A_CPU_SECOND


@dataclass(frozen=True, slots=True)
class Unpack:
    """An archive to unpack; its descriptor and that of the file for its members come with the message.

    Each `Next` is answered with a member, which then lies in that file, or with none at the archive's end.
    """

    size: int
    limits: Limits
    archive: ArchiveLimits

    @property
    def cpu_seconds(self) -> int:
        """CPU time that all members together may take."""
        return self.limits.cpu_seconds + (self.size + self.archive.max_bytes) // BYTES_A_CPU_SECOND

    @property
    def step_seconds(self) -> int:
        """CPU time until the next member: the whole archive may be read to come to it."""
        return self.limits.cpu_seconds + (self.size + self.archive.max_file_bytes) // BYTES_A_CPU_SECOND


@dataclass(frozen=True, slots=True)
class Next:
    """Asks for the next member."""


@dataclass(frozen=True, slots=True)
class Reply:
    """The decoded image with its arrays left in the shared file, a member, or what is wrong with the input."""

    error: tuple[str, str] | None = None
    member: Member | None = None
    info: ImageInfo | None = None
    metadata: Metadata | None = None
    warnings: tuple[str, ...] = ()
    denoised_before: str | None = None
    pixels: Place | None = None
    alpha: Place | None = None
    exact: Place | None = None
    significant_bits: int | None = None
    no_data: tuple[float, float] | None = None
    page_channels: tuple[int, ...] | None = None
    page_series: tuple[int, ...] | None = None
    pattern: str = ""
    units: Units = STORED


_CLASSES = (ArchiveLimits, ImageInfo, Limits, Member, Metadata, Next, Place, Reply, Request, Units, Unpack)
_MESSAGES = {cls.__name__: cls for cls in _CLASSES}
_ERRORS = (UnsupportedFormat, BrokenImage, ImageTooLarge, BrokenArchive, ArchiveTooLarge)
_LONGEST_ERROR = 1000


class _Reader(pickle.Unpickler):
    """Reads our own messages and no other class: a decoder under an attacker's control must not reach the parent."""

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("images.") and name in _MESSAGES:
            return _MESSAGES[name]
        raise pickle.UnpicklingError(f"{module}.{name} is not a message")


def send(channel: socket.socket, message: object, descriptors: tuple[int, ...] = ()) -> None:
    """One message, with file descriptors beside it."""
    body = pickle.dumps(message, protocol=5)
    if descriptors:
        socket.send_fds(channel, [LENGTH.pack(len(body))], list(descriptors))
    else:
        channel.sendall(LENGTH.pack(len(body)))
    channel.sendall(body)


def receive(
    channel: socket.socket, most: int, wait: Callable[[socket.socket], None] = lambda _: None
) -> tuple[Any, list[int]]:
    """(message, descriptors); `EOFError` when the other side is gone, `ValueError` over `most` bytes.

    `wait` is called before each read, and may raise instead of waiting on.
    """
    room = socket.CMSG_SPACE(2 * array.array("i").itemsize)
    wait(channel)
    head, ancillary, _, _ = channel.recvmsg(LENGTH.size, room)
    descriptors = array.array("i")
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
    head += _exactly(channel, LENGTH.size - len(head), wait) if head else b""
    if len(head) < LENGTH.size:
        raise EOFError
    (size,) = LENGTH.unpack(head)
    if size > most:
        raise ValueError("the message is longer than any answer can be")
    return _Reader(io.BytesIO(_exactly(channel, size, wait))).load(), list(descriptors)


def _exactly(channel: socket.socket, size: int, wait: Callable[[socket.socket], None]) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        wait(channel)
        part = channel.recv(min(size - len(parts), MIB))
        if not part:
            raise EOFError
        parts += part
    return bytes(parts)


def error_of(reply: Reply) -> ImageError | None:
    """The error in a reply as an exception; its words, too, may be under a file's control."""
    if reply.error is None:
        return None
    code, text = reply.error
    return next((kind for kind in _ERRORS if kind.code == code), ImageError)(plain(text, _LONGEST_ERROR))


def assemble(reply: Reply, view: Callable[[Place], Array]) -> Decoded:
    """The decoded image of a good reply; `view` maps a place to its array."""
    assert reply.info is not None and reply.metadata is not None and reply.pixels is not None
    return Decoded(
        pixels=view(reply.pixels),
        alpha=view(reply.alpha) if reply.alpha else None,
        info=reply.info,
        metadata=reply.metadata,
        warnings=reply.warnings,
        denoised_before=reply.denoised_before,
        exact=view(reply.exact) if reply.exact else None,
        significant_bits=reply.significant_bits,
        no_data=reply.no_data,
        page_channels=reply.page_channels,
        page_series=reply.page_series,
        pattern=reply.pattern,
        units=reply.units,
    )
