"""A worker's hold on its fork server (`images.forkserver`): helpers are born, and their ends are told."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from images.errors import DecoderKilled
from images.forkserver import ANSWER, DROP, END, ENDED_HERE, ORDER, START

_ROOT = Path(__file__).resolve().parent.parent
_BIRTH_SECONDS = 60.0  # the fork server loads every codec first
_ASK_SECONDS = 0.2
KILLED = "The system ended the process that decoded the image."


class Patience:
    """Waits until a channel can be read, so many seconds in all; asks `check`, which may raise, now and then.

    Raises:
        TimeoutError: the time is over.
    """

    def __init__(self, seconds: float, check: Callable[[], None] = lambda: None) -> None:
        self._deadline = time.monotonic() + seconds
        self._check = check
        self._asked = time.monotonic()

    def __call__(self, channel: socket.socket) -> None:
        poll = select.poll()
        poll.register(channel, select.POLLIN)
        while True:
            now = time.monotonic()
            if now - self._asked >= _ASK_SECONDS:
                self._asked = now
                self._check()
            if now >= self._deadline:
                raise TimeoutError
            if poll.poll(1000 * max(min(self._deadline - now, _ASK_SECONDS), 0.001)):
                return


@dataclass(frozen=True, slots=True)
class End:
    """How a helper ended: its exit status or minus a signal, None if only when it was told to; its CPU seconds."""

    status: int | None
    cpu_seconds: float


@dataclass
class Helper:
    """A process for one file: its id, which is its group's, too, and the channel to it."""

    pid: int
    channel: socket.socket
    ended: End | None = None


class Nursery:
    """The fork server, started when first needed and anew when it is gone; for threads that call it in turn."""

    def __init__(self, guest: str) -> None:
        """`guest` is the module whose `serve` does a helper's work."""
        self._guest = guest
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    @property
    def server(self) -> int | None:
        """Process id of the fork server, if it was started."""
        return None if self._process is None else self._process.pid

    def born(self, check: Callable[[], None] = lambda: None) -> Helper:
        """A helper that has seen no file yet. Raises DecoderKilled, and what `check` raises."""
        with self._lock:
            control = self._running()
            try:
                control.send(ORDER.pack(START, 0, 0))
                Patience(_BIRTH_SECONDS, check)(control)
                answer, descriptors, _, _ = socket.recv_fds(control, ANSWER.size, 1)
                if len(answer) != ANSWER.size or not descriptors:
                    raise EOFError
            except (OSError, EOFError) as error:
                self._stop()
                raise DecoderKilled(KILLED) from error
            except BaseException:
                self._stop()  # its answer would be taken for that to the next order
                raise
            return Helper(ANSWER.unpack(answer)[0], socket.socket(fileno=descriptors[0]))

    def end(self, helper: Helper, seconds: float = 0.0) -> End | None:
        """How it ended, in so many seconds or killed then, with its whole group; None: its fork server is gone, too."""
        if helper.ended is not None:
            return helper.ended
        helper.channel.close()
        with self._lock:
            control = self._control
            if control is None:
                return None
            try:
                control.send(ORDER.pack(END, helper.pid, seconds))
                Patience(seconds + _BIRTH_SECONDS)(control)
                answer = control.recv(ANSWER.size)
                if len(answer) != ANSWER.size:
                    raise EOFError
            except (OSError, EOFError):
                self._stop()
                return None
        _, status, cpu_seconds = ANSWER.unpack(answer)
        helper.ended = End(None if status == ENDED_HERE else status, cpu_seconds)
        return helper.ended

    def drop(self, helper: Helper) -> None:
        """Have a helper killed that has done its work, with its whole group, and do not wait for it."""
        if helper.ended is None:
            helper.channel.close()
            helper.ended = End(None, 0.0)
            with self._lock, suppress(OSError):  # the fork server is gone, and its helpers with it
                if self._control is not None:
                    self._control.send(ORDER.pack(DROP, helper.pid, 0))

    def close(self) -> None:
        """End the fork server and every helper of it; the next one has its memory laid out anew."""
        with self._lock:
            self._stop()

    def _running(self) -> socket.socket:
        if self._process is not None and self._control is not None and self._process.poll() is None:
            return self._control
        self._stop()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # The linker's path is where the interpreter may lie; everything else of the environment is the worker's.
        keep = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "images.forkserver", self._guest],
            stdin=theirs.fileno(),
            stdout=subprocess.DEVNULL,
            cwd=_ROOT,
            env=keep,
            start_new_session=True,  # Ctrl-C on the worker is the worker's business
        )
        theirs.close()
        self._control = ours
        return ours

    def _stop(self) -> None:
        if self._control is not None:
            self._control.close()
        if self._process is not None:
            try:
                self._process.wait(1.0)  # it ends its helpers first
            except subprocess.TimeoutExpired:
                self._process.send_signal(signal.SIGKILL)  # and they end with it
                self._process.wait()
        self._process = self._control = None
