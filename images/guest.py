"""The process in which files are decoded: `python -m images.guest`, started and fed by `images.sandbox`.

It owns nothing: its file, its place for pixels and its limits come over a socket with each request. Whatever a file
does to a decoder (crash, hang, leak, a gigabyte out of a kilobyte) ends here and costs that one file an error.
"""

from __future__ import annotations

import mmap
import os
import resource
import socket
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from images import scratch
from images.decode import decode_here
from images.errors import BrokenImage, ImageError, ImageTooLarge
from images.limits import MIB
from images.messages import Place, Reply, Request, receive, send

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


def _restrict(request: Request) -> None:
    """Memory, CPU time and file size for this request, over what the process already uses."""
    used = int(Path("/proc/self/statm").read_text("ascii").split()[0]) * mmap.PAGESIZE
    space = used + request.limits.memory_bytes + 5 * request.decoded_bytes + 3 * request.size
    spent = resource.getrusage(resource.RUSAGE_SELF)
    seconds = int(spent.ru_utime + spent.ru_stime) + 1 + request.cpu_seconds
    files = 4 * request.decoded_bytes + request.limits.max_metadata_bytes + MIB
    for what, soft in ((resource.RLIMIT_AS, space), (resource.RLIMIT_CPU, seconds), (resource.RLIMIT_FSIZE, files)):
        hard = resource.getrlimit(what)[1]
        resource.setrlimit(what, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


def _input(descriptor: int, size: int) -> memoryview | Path:
    """The file mapped; a large one as a path, to be read piece by piece, so that it never stands in memory."""
    if size > scratch.LARGE:
        return Path(f"/proc/self/fd/{descriptor}")
    return memoryview(mmap.mmap(descriptor, size, access=mmap.ACCESS_READ))


def _answer(request: Request, source: int, target: int) -> Reply:
    _restrict(request)
    shared = SharedFile(target)
    try:
        decoded = decode_here(_input(source, request.size), request.limits, shared.empty)
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
        )
    except ImageError as error:
        return Reply(error=(error.code, str(error)))
    except MemoryError:
        return Reply(error=(ImageTooLarge.code, "Decoding the image needs more memory than is allowed here."))
    except OSError:  # the output file's size limit
        return Reply(error=(BrokenImage.code, "The file decodes to more than its header announces."))


def main() -> None:
    """Answer requests on the socket that is standard input, until it closes."""
    channel = socket.socket(fileno=os.dup(0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))
    warnings.simplefilter("ignore")
    while True:
        try:
            request, (source, target) = receive(channel, 1 << 20)
        except EOFError:
            return
        try:
            send(channel, _answer(request, source, target))
        finally:
            os.close(source)
            os.close(target)


if __name__ == "__main__":
    main()
