"""What a helper does: one file looked at and decoded, or one archive unpacked, for the other end of its channel.

It owns nothing: its file, its place for pixels and its limits come over the channel. Whatever a file does to a decoder
(crash, hang, leak, a gigabyte out of a kilobyte, a stranger's code) ends here and costs that one file an error.
"""

from __future__ import annotations

import mmap
import os
import resource
import socket
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from images import scratch
from images.archive import ArchiveTooLarge, members
from images.decode import decode_stored
from images.errors import BrokenArchive, BrokenImage, ImageError, ImageTooLarge
from images.limits import BYTES_A_CPU_SECOND, MIB
from images.messages import Next, Place, Reply, Request, Unpack, receive, send
from images.probe import probe
from images.warm import touch

Array = NDArray[Any]


class SharedFile:
    """The output file: arrays are made in it, or copied to it, one after the other."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._end = 0
        self._maps: list[tuple[int, mmap.mmap]] = []

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """A new array whose memory is the file's."""
        size = max(int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize, 1)
        offset = -(-self._end // mmap.ALLOCATIONGRANULARITY) * mmap.ALLOCATIONGRANULARITY
        self._end = offset + size
        os.ftruncate(self._descriptor, self._end)
        memory = mmap.mmap(self._descriptor, size, offset=offset)
        self._maps.append((offset, memory))
        return np.frombuffer(memory, dtype, count=int(np.prod(shape, dtype=np.int64))).reshape(shape)

    def place(self, data: Array | None) -> Place | None:
        """Where `data` lies in the file; it is copied there if it was made elsewhere."""
        if data is None:
            return None
        start = data.__array_interface__["data"][0] if data.flags["C_CONTIGUOUS"] else -1
        for offset, memory in self._maps:
            if start == np.frombuffer(memory, np.uint8).__array_interface__["data"][0]:
                return Place(offset, data.shape, data.dtype.str)
        copy = self.empty(data.shape, data.dtype)
        copy[...] = data
        return Place(self._maps[-1][0], data.shape, data.dtype.str)


def serve(channel: socket.socket, used: int) -> None:
    """Answer requests until the channel closes; `used` is the address space that this process began with, in bytes."""
    warnings.simplefilter("ignore")
    touch()
    while True:
        try:
            request, descriptors = receive(channel, MIB)
        except EOFError:
            return
        try:
            if isinstance(request, Unpack):
                _serve_members(channel, request, used, *descriptors)
            else:
                send(channel, _answer(request, used, *descriptors))
        finally:
            for descriptor in descriptors:
                os.close(descriptor)


def _answer(request: Request, used: int, source: int, target: int | None = None) -> Reply:
    _restrict_to(request, used)
    try:
        if target is None:
            return Reply(info=probe(_input(source, request.size), request.limits))
        shared = SharedFile(target)
        decoded = decode_stored(_input(source, request.size), request.limits, shared.empty)
        return Reply(
            info=decoded.info,
            metadata=decoded.metadata,
            warnings=decoded.warnings,
            denoised_before=decoded.denoised_before,
            pixels=shared.place(decoded.pixels),
            alpha=shared.place(decoded.alpha),
            exact=shared.place(decoded.exact),
            significant_bits=decoded.significant_bits,
            no_data=decoded.no_data,
            page_channels=decoded.page_channels,
            page_series=decoded.page_series,
            pattern=decoded.pattern,
            units=decoded.units,
        )
    except ImageError as error:
        return Reply(error=(error.code, str(error)))
    except MemoryError:
        return Reply(error=(ImageTooLarge.code, "Decoding the image needs more memory than is allowed here."))
    except OSError:  # the output file's size limit
        return Reply(error=(BrokenImage.code, "The file decodes to more than its header announces."))


def _input(descriptor: int, size: int) -> memoryview | int:
    """The file mapped; a large one as it is, to be read piece by piece, so that it never stands in memory."""
    if not size:
        return memoryview(b"")  # nothing can be mapped
    if size > scratch.LARGE:
        return descriptor
    return memoryview(mmap.mmap(descriptor, size, access=mmap.ACCESS_READ))


def _serve_members(channel: socket.socket, request: Unpack, used: int, source: int, target: int) -> None:
    """A member for each `Next` that comes; the channel closes when nobody asks any more."""
    _restrict(
        used + request.limits.memory_bytes + request.archive.directory_bytes,
        request.cpu_seconds,
        request.archive.max_file_bytes + MIB,
    )
    with open(source, "rb", closefd=False) as file, open(target, "r+b", buffering=0, closefd=False) as out:
        coming = members(file, out, request.archive)
        while isinstance(receive(channel, MIB)[0], Next):
            send(channel, _next(coming))


def _next(coming: Iterator[Any]) -> Reply:
    try:
        return Reply(member=next(coming, None))
    except ImageError as error:
        return Reply(error=(error.code, str(error)))
    except MemoryError:
        return Reply(error=(ArchiveTooLarge.code, "Opening the archive needs too much memory; split it."))
    except OSError:
        return Reply(error=(BrokenArchive.code, "The archive is damaged or cut off; make it anew."))


def _restrict_to(request: Request, used: int) -> None:
    """Memory, CPU time and file size for this request; while it is looked at, as for the largest image for good."""

    def bounds(decoded: int) -> tuple[int, int, int]:
        limits = request.limits
        space = used + limits.memory_bytes + 5 * decoded + 3 * request.size
        return space, limits.cpu_seconds + decoded // BYTES_A_CPU_SECOND, 4 * decoded + limits.max_metadata_bytes + MIB

    if request.decoded_bytes is None:
        _restrict(*bounds(0), *bounds(request.limits.max_decoded_bytes))
    else:
        _restrict(*bounds(request.decoded_bytes))


def _restrict(space: int, seconds: int, file: int, *most: int) -> None:
    """Bytes of address space, CPU seconds from now, bytes of a file; `most`, if given, is what they may be set to."""
    spent = resource.getrusage(resource.RUSAGE_SELF)
    begun = int(spent.ru_utime + spent.ru_stime) + 1
    soft = (space, begun + seconds, file)
    hard = (most[0], begun + most[1] + 1, most[2]) if most else (space, begun + seconds + 1, file)
    kinds = (resource.RLIMIT_AS, resource.RLIMIT_CPU, resource.RLIMIT_FSIZE)
    for what, wanted, bound in zip(kinds, soft, hard, strict=True):
        before = resource.getrlimit(what)[1]
        if before != resource.RLIM_INFINITY:
            bound = min(bound, before)
        # at the hard limit of CPU time comes SIGKILL, which does not say whose fault it was
        resource.setrlimit(what, (min(wanted, bound - (what == resource.RLIMIT_CPU)), bound))
