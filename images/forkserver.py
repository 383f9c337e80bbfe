"""The parent of all helpers of one worker: `python -m images.forkserver images.guest`, started by `images.nursery`.

It has every codec loaded, so that a helper costs a fork and not half a second; one is always forked ahead. It never
sees a byte of a file, its environment is empty, and no descriptor of its worker's is open in it.

Source of the scheme: Android's zygote, and `multiprocessing.forkserver` of Python.
"""

from __future__ import annotations

import gc
import mmap
import os
import resource
import select
import signal
import socket
import struct
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import NoReturn

from images.lockdown import lock_down, prepare

Serve = Callable[[socket.socket, int], None]
"""Does a helper's work: answers on its channel; the number is how many bytes of address space it began with."""

ORDER = struct.Struct("=cid")
"""START, or END or DROP with a helper's process id and, for END, the seconds that it may take to end by itself."""

ANSWER = struct.Struct("=iid")
"""A helper's process id, its status as os.waitstatus_to_exitcode gives it, its CPU seconds; status and time for END."""

START, END, DROP = b"S", b"E", b"D"
"""DROP asks for no answer: the helper has done its work."""

ENDED_HERE = 1 << 16
"""Status of a helper that did not end by itself in time."""

UNLOCKED = os.EX_SOFTWARE
"""Status of a helper that could not give up what it must not have."""

_DESCRIPTORS = 256
_LOOK_SECONDS = 0.002
_LULL_MS = 5
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class ForkServer:
    """Forks helpers as its worker asks for them over `control`, and tells how they ended."""

    def __init__(self, control: socket.socket, serve: Serve) -> None:
        self._control = control
        self._serve = serve
        self._spare: tuple[int, socket.socket] | None = None
        self._children: set[int] = set()

    def run(self) -> None:
        """Until the worker's end of `control` is closed; no helper outlives that."""
        waiting = select.poll()
        waiting.register(self._control, select.POLLIN)
        while True:
            if self._spare is None and not waiting.poll(_LULL_MS):  # a small file is decoded sooner than one is forked
                self._spare = self._fork()
            order = self._control.recv(ORDER.size)
            if not order:
                break
            kind, pid, seconds = ORDER.unpack(order)
            if kind == START:
                self._hand_over()
                continue
            ended = self._end(pid, seconds)
            if kind == END:
                self._control.send(ANSWER.pack(pid, *ended))
        for pid in list(self._children):
            self._end(pid, 0)

    def _hand_over(self) -> None:
        spare = self._spare
        if spare is None or self._ended(spare[0]) is not None:
            spare = self._fork()
        self._spare = None
        pid, channel = spare
        with channel:
            socket.send_fds(self._control, [ANSWER.pack(pid, 0, 0)], [channel.fileno()])

    def _fork(self) -> tuple[int, socket.socket]:
        ours, theirs = socket.socketpair()
        server = os.getpid()
        pid = os.fork()
        if pid == 0:
            self._be_helper(theirs, server)
        theirs.close()
        self._children.add(pid)
        return pid, ours

    def _be_helper(self, channel: socket.socket, server: int) -> NoReturn:
        status = UNLOCKED
        try:
            used = int(Path("/proc/self/statm").read_text("ascii").split()[0]) * mmap.PAGESIZE
            number = lock_down(channel.detach(), server)
            status = 1
            self._serve(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, number), used)
            status = 0
        except BaseException:
            traceback.print_exc()  # to the worker's standard error until the helper is locked down, then to nowhere
        finally:
            os._exit(status)

    def _end(self, pid: int, seconds: float) -> tuple[int, float]:
        """(status, CPU seconds) of a helper, which is gone, and all of its process group with it."""
        if pid not in self._children:
            return ENDED_HERE, 0.0
        deadline = time.monotonic() + seconds
        while (ended := self._ended(pid)) is None and time.monotonic() < deadline:
            time.sleep(_LOOK_SECONDS)
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        if ended is not None:
            return ended
        os.kill(pid, signal.SIGKILL)  # it may not have come to have a group
        _, _, usage = os.wait4(pid, 0)
        self._children.discard(pid)
        return ENDED_HERE, usage.ru_utime + usage.ru_stime

    def _ended(self, pid: int) -> tuple[int, float] | None:
        """As `_end`, if the helper has ended by itself."""
        found, status, usage = os.wait4(pid, os.WNOHANG)
        if not found:
            return None
        self._children.discard(pid)
        return os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime


def main() -> None:
    """Load what files may need, then fork for the worker at the other end of standard input."""
    os.environ.update(dict.fromkeys(_ONE_THREAD, "1"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (_DESCRIPTORS, _DESCRIPTORS))
    control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, os.dup(0))
    import_module("images.warm").load()
    serve: Serve = import_module(sys.argv[1]).serve
    os.environ.clear()
    prepare()
    gc.collect()
    gc.freeze()  # a helper's collections leave these objects, and the pages that they are on, alone
    ForkServer(control, serve).run()


if __name__ == "__main__":
    main()
