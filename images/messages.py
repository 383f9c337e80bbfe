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

from images.decoded import Decoded, Metadata
from images.errors import BrokenImage, ImageError, ImageTooLarge, UnsupportedFormat
from images.info import ImageInfo
from images.limits import MIB, Limits

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
    """One file to decode; its descriptor and that of the output file come with the message."""

    size: int
    limits: Limits
    decoded_bytes: int
    cpu_seconds: int


@dataclass(frozen=True, slots=True)
class Reply:
    """The decoded image with its arrays left in the shared file, or what is wrong with the input."""

    error: tuple[str, str] | None = None
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


_MESSAGES = {cls.__name__: cls for cls in (ImageInfo, Metadata, Limits, Place, Request, Reply)}


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


def receive(channel: socket.socket, most: int) -> tuple[Any, list[int]]:
    """(message, descriptors); `EOFError` when the other side is gone, `ValueError` over `most` bytes."""
    room = socket.CMSG_SPACE(2 * array.array("i").itemsize)
    head, ancillary, _, _ = channel.recvmsg(LENGTH.size, room)
    descriptors = array.array("i")
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
    head += _exactly(channel, LENGTH.size - len(head)) if head else b""
    if len(head) < LENGTH.size:
        raise EOFError
    (size,) = LENGTH.unpack(head)
    if size > most:
        raise ValueError("the message is longer than any answer can be")
    return _Reader(io.BytesIO(_exactly(channel, size))).load(), list(descriptors)


def _exactly(channel: socket.socket, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        part = channel.recv(min(size - len(parts), MIB))
        if not part:
            raise EOFError
        parts += part
    return bytes(parts)


def error_of(reply: Reply) -> ImageError | None:
    """The error in a reply as an exception."""
    if reply.error is None:
        return None
    code, text = reply.error
    kinds: tuple[type[ImageError], ...] = (UnsupportedFormat, BrokenImage, ImageTooLarge)
    return next((kind for kind in kinds if kind.code == code), ImageError)(text)


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
    )
