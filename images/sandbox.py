"""Decoding at arm's length: a helper process with limits on memory, CPU time and file size does it.

The helper stays up between files (starting one takes half a second) and is replaced when a file kills it, when it
overruns its time, and after a few hundred files: leaks stay small, and so does what breaks a process slowly (fuzzing
found that imagecodecs' PNG decoder gives up a reference to None with each bad file; after some 8,000 of them Python
3.11 dies). Pixels come back through a shared file, in memory or, for large stacks, on disk, so they are copied once or
not at all.
"""

from __future__ import annotations

import atexit
import mmap
import os
import pickle  # nosec B403  # read by a reader that knows our few classes only
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from images import scratch
from images.decoded import Decoded
from images.errors import BrokenImage
from images.limits import MIB, Limits
from images.messages import Place, Reply, Request, assemble, error_of, receive, send
from images.probe import probe
from images.source import Input

Array = NDArray[Any]
_RECYCLE_AFTER = 500
_BYTES_A_CPU_SECOND = 16 * MIB  # the slowest codec (LZMA TIFF) decodes about 40 MB/s
_WALL_OVER_CPU = 4  # on a busy machine; a decoder that waits rather than works is caught by this one


class Sandbox:
    """One helper process, used by one thread at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None
        self._served = 0
        self._owner = os.getpid()

    def decode(self, data: Input, limits: Limits) -> Decoded:
        """As `images.decode.decode`; a crash, a hang or a leak in the decoder is a `BrokenImage`."""
        info = probe(data, limits)
        cpu = limits.cpu_seconds + info.decoded_bytes // _BYTES_A_CPU_SECOND
        source, size = _input_file(data)
        target = _output_file(info.decoded_bytes)
        try:
            request = Request(size, limits, info.decoded_bytes, cpu)
            with self._lock:
                reply = self._ask(request, source, target, limits)
            error = error_of(reply)
            if error is not None:
                raise error
            return assemble(reply, lambda place: _view(target, place))
        finally:
            os.close(source)
            os.close(target)

    def start(self) -> None:
        """Start the helper if it is not up, so that the first file does not wait for it."""
        with self._lock:
            self._running()

    def close(self) -> None:
        """End the helper, if it is this process's own: a forked child inherits the object, and its exit handler."""
        if os.getpid() == self._owner:
            with self._lock:
                self._stop()

    def _ask(self, request: Request, source: int, target: int, limits: Limits) -> Reply:
        channel = self._running()
        channel.settimeout(_WALL_OVER_CPU * request.cpu_seconds)
        try:
            send(channel, request, (source, target))
            reply, extra = receive(channel, 4 * limits.max_metadata_bytes + 64 * MIB)
            for descriptor in extra:
                os.close(descriptor)
            if not isinstance(reply, Reply):
                raise ValueError("not a reply")
        except (OSError, EOFError, ValueError, pickle.UnpicklingError) as error:
            self._stop()
            slow = isinstance(error, TimeoutError)
            what = "takes too long to decode" if slow else "made its decoder fail"
            raise BrokenImage(f"The file {what}: it is damaged or built to do harm.") from error
        except BaseException:
            self._stop()  # an answer would be left in the channel for the next file
            raise
        self._served += 1
        if self._served >= _RECYCLE_AFTER:
            self._stop()
        return reply

    def _running(self) -> socket.socket:
        if self._process is not None and self._channel is not None and self._process.poll() is None:
            return self._channel
        self._stop()
        ours, theirs = socket.socketpair()
        root = str(Path(__file__).resolve().parent.parent)
        keep = {name: os.environ[name] for name in ("PATH", "LANG", "LD_LIBRARY_PATH") if name in os.environ}
        one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "images.guest"],
            stdin=theirs.fileno(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=keep | one_thread | {"PYTHONPATH": root},
            start_new_session=True,  # Ctrl-C on the worker is the worker's business
        )
        theirs.close()
        self._channel, self._served = ours, 0
        return ours

    def _stop(self) -> None:
        if self._channel is not None:
            self._channel.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._process = self._channel = None


def _input_file(data: Input) -> tuple[int, int]:
    """(descriptor, size) of the input: the file itself, or its bytes in memory."""
    if not isinstance(data, bytes | bytearray | memoryview):
        descriptor = os.open(data, os.O_RDONLY | os.O_CLOEXEC)
        return descriptor, os.fstat(descriptor).st_size
    descriptor = os.memfd_create("image", os.MFD_CLOEXEC)
    with open(descriptor, "wb", closefd=False) as file:
        file.write(data)
    return descriptor, memoryview(data).nbytes


def _output_file(size: int) -> int:
    """A descriptor for the pixels: memory, or an unnamed file on disk for what would fill memory."""
    if size <= scratch.LARGE:
        return os.memfd_create("pixels", os.MFD_CLOEXEC)
    with scratch.file() as file:
        return os.dup(file.fileno())


def _view(descriptor: int, place: Place) -> Array:
    """The array at `place`, mapped: ours alone, since the helper has let go of the file."""
    if place.offset < 0 or place.offset + place.size > os.fstat(descriptor).st_size:
        raise BrokenImage("The file made its decoder fail: it is damaged or built to do harm.")
    memory = mmap.mmap(descriptor, max(place.size, 1), offset=place.offset)
    count = int(np.prod(place.shape, dtype=np.int64))
    return np.frombuffer(memory, np.dtype(place.dtype), count=count).reshape(place.shape)


_shared: dict[int, Sandbox] = {}
_shared_lock = threading.Lock()


def shared() -> Sandbox:
    """This process's sandbox; a forked child gets its own."""
    with _shared_lock:
        pid = os.getpid()
        if pid not in _shared:
            _shared.clear()  # inherited over fork: the helper belongs to the parent
            _shared[pid] = Sandbox()
            atexit.register(_shared[pid].close)
        return _shared[pid]
