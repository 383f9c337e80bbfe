"""What a helper does that a file has taken over: it tries everything, and reports what it reached.

The file that it is sent names its targets (JSON); the report comes back as the words of an error.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from images.messages import Reply, receive, send

_CLONE_NEWUSER, _PTRACE_ATTACH, _IO_URING_SETUP, _PTRACE, _UNSHARE, _KEYCTL = 0x1000_0000, 16, 425, 101, 272, 250
WORDS: tuple[str, ...] = ()
"""Of files that were seen before, were there any."""


def serve(channel: socket.socket, used: int) -> None:
    """Answer every request with what was reached."""
    request, descriptors = receive(channel, 1 << 20)
    targets = json.loads(os.pread(descriptors[0], request.size, 0))
    if targets.get("end") == "sleep":
        time.sleep(1000)
    send(channel, Reply(error=("broken_image", json.dumps(_reached(targets, descriptors)))))
    if targets.get("end") == "stay":
        signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals))
        while True:
            sum(range(10000))


def _reached(targets: dict[str, Any], descriptors: list[int]) -> dict[str, str]:
    libc = ctypes.CDLL(None, use_errno=True)
    worker, secret, weights = targets["worker"], targets["secret"], targets["weights"]
    tries: dict[str, Callable[[], object]] = {
        "environment of the worker": lambda: Path(f"/proc/{worker}/environ").read_bytes(),
        "memory of the worker": lambda: os.open(f"/proc/{worker}/mem", os.O_RDONLY),
        "descriptors of the worker": lambda: list(Path(f"/proc/{worker}/fd").iterdir()),
        "another's upload": lambda: Path(secret).read_bytes(),
        "that there is one": lambda: Path(secret).stat(),
        "the weights": lambda: os.write(os.open(weights, os.O_WRONLY), b"x"),
        "their mode": lambda: Path(weights).chmod(0o777),
        "their name": lambda: Path(weights).rename(f"{weights}.x"),
        "a new file": lambda: Path(targets["folder"], "left").write_bytes(b"x"),
        "a list of files": lambda: list(Path("/").iterdir()),
        "a TCP socket": lambda: socket.create_connection(("127.0.0.1", targets["port"]), 2),
        "a Unix socket": lambda: socket.socketpair(),
        "a process": _forked,
        "a program": lambda: subprocess.run(["/bin/true"], check=False),
        "execution": lambda: os.execv(sys.executable, [sys.executable, "-c", "print(1)"]),
        "the worker's end": lambda: os.kill(worker, 0),
        "its group's end": lambda: os.killpg(os.getpgid(worker), 0),
        "its parent's end": lambda: os.kill(os.getppid(), 0),
        "root": lambda: os.setuid(0),
        "higher limits": lambda: _raised_limits(),
        "limits of the worker": lambda: _other_limits(worker),
        "tracing": lambda: _call(libc, _PTRACE, _PTRACE_ATTACH, worker, 0, 0),
        "a user namespace": lambda: _call(libc, _UNSHARE, _CLONE_NEWUSER),
        "io_uring": lambda: _call(libc, _IO_URING_SETUP, 4, 0),
        "keys": lambda: _call(libc, _KEYCTL, 0, -3, 0),
        "memory files": lambda: os.memfd_create("more"),
        "signals by descriptor": lambda: _owned(descriptors[0], worker),
        "a second file": lambda: Path(f"/proc/self/fd/{descriptors[0]}").readlink(),
    }  # fmt: skip
    reached = {}
    for name, attempt in tries.items():
        try:
            reached[name] = repr(attempt())[:200]
        except Exception:
            continue
    environment = {name: os.environ[name] for name in os.environ}
    if environment or WORDS:
        reached["words"] = repr((environment, WORDS))
    if found := [number for number in range(256) if _open(number) and number > 3 and number not in descriptors]:
        reached["descriptors"] = repr(found)
    if threading.active_count() != 1:
        reached["threads"] = repr(threading.enumerate())
    globals()["WORDS"] = (*WORDS, str(targets["secret"]))
    return reached


def _forked() -> int:
    pid = os.fork()
    if pid == 0:
        time.sleep(600)
        os._exit(0)
    return pid


def _call(libc: ctypes.CDLL, *numbers: int) -> int:
    found: int = libc.syscall(*(ctypes.c_long(number) for number in numbers))
    if found < 0:
        raise OSError(ctypes.get_errno())
    return found


def _raised_limits() -> None:
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard + 1, hard + 1))


def _other_limits(worker: int) -> object:
    import resource

    return resource.prlimit(worker, resource.RLIMIT_CPU)


def _owned(descriptor: int, worker: int) -> object:
    import fcntl

    return fcntl.fcntl(descriptor, fcntl.F_SETOWN, worker)


def _open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True
