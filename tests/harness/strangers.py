"""Another user of the machine, for tests that run as root: code of its own that has given root's rights away."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

NOBODY = 65534
AS_NOBODY = f"import os, socket; os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})\n"
"""The imports come first: the interpreter may lie where only root may look."""


def needs_root() -> None:
    """Skip where nobody else can be played."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")


def as_stranger(code: str) -> str:
    """Run code (it has `os` and `socket`) as a user who owns nothing; what it prints, or the name of the OSError."""
    body = "\n".join(f"    {line}" for line in code.splitlines())
    program = f"{AS_NOBODY}try:\n{body}\nexcept OSError as error:\n    print(type(error).__name__)\n"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.strip()


def listing(folder: object) -> str:
    """Code that tells what lies in a folder."""
    return f"print(sorted(os.listdir({str(folder)!r})))"


def connecting(socket_path: object) -> str:
    """Code that connects to a Unix socket and asks Redis for a PONG."""
    return (
        "client = socket.socket(socket.AF_UNIX); client.settimeout(10)\n"
        f"client.connect({str(socket_path)!r}); client.sendall(b'PING\\r\\n'); print(client.recv(64).decode().strip())"
    )
