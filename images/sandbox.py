"""Decoding at arm's length: a helper process that has given up everything but computing does it, one for each file.

A helper is forked from a warmed parent (`images.forkserver`), locks itself in (`images.lockdown`), serves one file
(`images.guest`) and is killed with its whole group before its pixels are looked at. These come back through a shared
file, in memory or, for large stacks, on disk, so they are copied once or not at all.
"""

from __future__ import annotations

import atexit
import fcntl
import mmap
import os
import pickle  # nosec B403  # read by a reader that knows our few classes only
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from images import scratch
from images.archive import ArchiveLimits, Member
from images.decoded import Decoded
from images.errors import BrokenArchive, BrokenImage, DecoderKilled
from images.forkserver import UNLOCKED
from images.limits import MIB, Limits
from images.messages import Next, Place, Reply, Request, Unpack, assemble, error_of, receive, send
from images.nursery import KILLED, Helper, Nursery, Patience
from images.source import Input
from images.trust import sound_image, sound_info, sound_member

Array = NDArray[Any]
Check = Callable[[], None]
_FAILED = "The file made its decoder fail: it is damaged or built to do harm."
_SLOW = "The file takes too long to decode: it is damaged or built to do harm."
_TRIES = 2  # helpers that a file gets, if each is ended from outside
_OUTSIDE = frozenset({-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP, UNLOCKED})
"""Ends that a file does not bring about: the out-of-memory killer's, an operator's, a service manager's."""
_ASK_SECONDS = 0.2
_EXIT_SECONDS = 5.0  # from the end of its channel to its own
_WALL_OVER_CPU = 4  # on a busy machine; a decoder that waits rather than works is caught by this one


def _go_on() -> None:
    """Nobody asks the work to stop."""


class Sandbox:
    """Helper processes, one for a file; of threads that use it to decode, one does at a time."""

    def __init__(self, guest: str = "images.guest") -> None:
        """`guest` is the module whose `serve` does a helper's work."""
        self._turn = threading.Lock()
        self._nursery = Nursery(guest)
        self._owner = os.getpid()

    def decode(self, data: Input, limits: Limits, check: Check = _go_on) -> Decoded:
        """As `images.decode.decode`; a crash, a hang or a leak in the decoder is a `BrokenImage`.

        A helper that was killed from outside says nothing about the file, which gets a fresh one. `check` is called
        now and then, and stops the work by raising.

        Raises:
            DecoderKilled: that one was killed, too.
        """
        source, size = _input_file(data)
        try:
            limits.check_bytes(size)
            for _ in range(_TRIES - 1):
                with suppress(DecoderKilled):
                    return self._attempt(size, limits, source, check)
            return self._attempt(size, limits, source, check)
        finally:
            os.close(source)

    def unpack(
        self, source: Path, target: Path, limits: ArchiveLimits, check: Check = _go_on, bounds: Limits | None = None
    ) -> Iterator[Member]:
        """As `images.unpack.unpack`; `bounds` are those on memory and CPU time, of which more bytes may take more.

        A helper that is killed from outside before its first member is replaced.
        """
        given = 0
        for tries_left in reversed(range(_TRIES)):
            try:
                for member in self._unpacked(source, target, limits, check, bounds or Limits()):
                    given += 1
                    yield member
                return
            except DecoderKilled:
                if given or not tries_left:
                    raise

    def _unpacked(
        self, source: Path, target: Path, limits: ArchiveLimits, check: Check, bounds: Limits
    ) -> Iterator[Member]:
        with source.open("rb") as file, target.open("w+b") as out, self._helper(check) as helper:
            request = Unpack(os.fstat(file.fileno()).st_size, bounds, limits)
            try:
                send(helper.channel, request, (file.fileno(), out.fileno()))
            except OSError as error:  # it has seen nothing yet
                raise DecoderKilled(KILLED) from error
            files = size = 0
            left = float(_WALL_OVER_CPU * request.cpu_seconds)
            while True:
                begun = time.monotonic()
                member = self._member(helper, request, check, min(_WALL_OVER_CPU * request.step_seconds, left))
                left -= time.monotonic() - begun
                if member is None:
                    return
                one = 0 if member.refused else os.fstat(out.fileno()).st_size
                files, size = files + 1, size + one
                limits.check_files(files)
                limits.check_bytes(size)
                yield replace(member, size=one)

    def start(self) -> None:
        """Fork a first helper, so that no file waits until every codec is loaded."""
        with self._helper(_go_on):
            pass

    def close(self) -> None:
        """End all helpers, if they are this process's own: a forked child inherits the object, and its exit handler."""
        if os.getpid() == self._owner:
            self._nursery.close()

    def _attempt(self, size: int, limits: Limits, source: int, check: Check) -> Decoded:
        with self._in_turn(check), self._helper(check) as helper:
            request = self._announced(helper, Request(size, limits), source, check)
            return self._decoded(helper, request, source, check)

    @contextmanager
    def _in_turn(self, check: Check) -> Iterator[None]:
        while not self._turn.acquire(timeout=_ASK_SECONDS):
            check()
        try:
            yield
        finally:
            self._turn.release()

    @contextmanager
    def _helper(self, check: Check) -> Iterator[Helper]:
        helper = self._nursery.born(check)
        try:
            yield helper
        finally:
            self._nursery.drop(helper)

    def _announced(self, helper: Helper, request: Request, source: int, check: Check) -> Request:
        """What to ask next: the image decoded, within what its header says (which the helper reads) that it takes."""
        info = self._ask(helper, request, check, source).info
        if info is None or not sound_info(info):
            raise BrokenImage(_FAILED)
        request.limits.check(info)
        return replace(request, decoded_bytes=info.decoded_bytes)

    def _decoded(self, helper: Helper, request: Request, source: int, check: Check) -> Decoded:
        assert request.decoded_bytes is not None
        target = _output_file(request.decoded_bytes)
        try:
            reply = sound_image(self._ask(helper, request, check, source, target))
            if not _sealed(target):
                self._nursery.end(helper)  # or it might cut off the file under what is mapped here
            if reply is None:
                raise BrokenImage(_FAILED)
            return assemble(reply, lambda place: _view(target, place))
        finally:
            os.close(target)

    def _member(self, helper: Helper, request: Unpack, check: Check, seconds: float) -> Member | None:
        try:
            reply = self._ask(helper, request, check, message=Next(), seconds=seconds)
        except BrokenImage as error:
            raise BrokenArchive("The archive made its reader fail: it is damaged or built to do harm.") from error
        member = None if reply.member is None else sound_member(reply.member)
        if member is None and reply.member is not None:
            raise BrokenArchive("The archive made its reader fail: it is damaged or built to do harm.")
        return member

    def _ask(
        self,
        helper: Helper,
        request: Request | Unpack,
        check: Check,
        *descriptors: int,
        message: object = None,
        seconds: float | None = None,
    ) -> Reply:
        """The helper's answer. Raises the error that it found in the file, or as `_failure` if there is none."""
        wait = Patience(_WALL_OVER_CPU * request.cpu_seconds if seconds is None else seconds, check)
        try:
            helper.channel.settimeout(_EXIT_SECONDS)  # a request fits into the channel of a helper that is not read yet
            send(helper.channel, message or request, descriptors)
            reply, extra = receive(helper.channel, 4 * request.limits.max_metadata_bytes + 64 * MIB, wait)
            for descriptor in extra:
                os.close(descriptor)
            if not isinstance(reply, Reply):
                raise ValueError("not a reply")
            wrong = error_of(reply)
        except (OSError, EOFError, ValueError, TypeError, pickle.UnpicklingError) as error:
            raise self._failure(helper, request, error) from error
        if wrong is not None:
            raise wrong
        return reply

    def _failure(self, helper: Helper, request: Request | Unpack, error: Exception) -> BrokenImage | DecoderKilled:
        """Whose fault it is that no answer came, told by how the helper ended; it is gone after this."""
        if isinstance(error, TimeoutError):
            self._nursery.end(helper)
            return BrokenImage(_SLOW)
        if not isinstance(error, OSError | EOFError):
            self._nursery.end(helper)
            return BrokenImage(_FAILED)
        ended = self._nursery.end(helper, _EXIT_SECONDS)
        if ended is None or (ended.status in _OUTSIDE and ended.cpu_seconds < request.cpu_seconds):
            return DecoderKilled(KILLED)
        self._nursery.close()  # it crashed: whoever learns by crashes how memory is laid out has to begin anew
        return BrokenImage(_FAILED)


def _input_file(data: Input) -> tuple[int, int]:
    """(descriptor, size) of the input: the file itself, or its bytes in memory."""
    if isinstance(data, int):
        return os.dup(data), os.fstat(data).st_size
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
        return os.memfd_create("pixels", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with scratch.file() as file:
        return os.dup(file.fileno())


def _sealed(descriptor: int) -> bool:
    """Whether the file cannot become shorter any more, whoever has it open; one on a disk can."""
    try:
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
    except OSError:
        return False
    return True


def _view(descriptor: int, place: Place) -> Array:
    """The array at `place`, mapped: nobody can cut it off any more."""
    if place.offset < 0 or place.offset + place.size > os.fstat(descriptor).st_size:
        raise BrokenImage(_FAILED)
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
