"""Ports of 127.0.0.1 for the servers of tests, each handed out once."""

from __future__ import annotations

import fcntl
import os
import socket
import tempfile
from pathlib import Path

FIRST, LAST = 16_000, 32_000
"""Below the kernel's ephemeral ports (32768 on Linux): no outgoing connection and no `port=0` gets one of these."""


def free_port() -> int:
    """A port that nothing listens on and that no other test of this machine was given.

    A port that the kernel chose and that was closed again can be chosen again before its server starts: a gateway
    then answers on a worker's metrics port. So all test processes share one counter.

    Raises:
        RuntimeError: every port of the range is in use.
    """
    counter = Path(tempfile.gettempdir(), f"b2s-test-ports-{os.getuid()}")
    counter.touch(0o600)
    with counter.open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        port = int(file.read() or FIRST)
        for _ in range(FIRST, LAST):
            port = port + 1 if FIRST <= port < LAST else FIRST
            if _is_free(port):
                file.seek(0)
                file.truncate()
                file.write(str(port))
                return port
    raise RuntimeError(f"No port from {FIRST} to {LAST} is free.")


def _is_free(port: int) -> bool:
    try:
        with socket.create_server(("127.0.0.1", port)):
            return True
    except OSError:
        return False
