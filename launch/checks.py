"""What can be checked before anything starts, so that a mistake is answered with one sentence that says what to do."""

from __future__ import annotations

import os
import secrets
import socket
import sys
from pathlib import Path

from store.private import private_folder


class CannotStart(Exception):
    """The installation cannot start; the text says why and what to do, in one sentence."""


def check_folder(folder: Path) -> None:
    """Make the data folder, closed to other users, and write into it once.

    Raises:
        CannotStart: it cannot be written.
    """
    try:
        closed = private_folder(folder)
        probe = folder / f".{secrets.token_hex(8)}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise CannotStart(
            f"The folder {folder.resolve()} cannot be written ({error.strerror}); set B2S_DATA_DIR to one that can."
        ) from None
    if not closed:
        print(
            f"Other users may look into {folder.resolve()}, which holds other things, too; not into what the service "
            "keeps there. A folder of its own in B2S_DATA_DIR is safer.",
            file=sys.stderr,
        )


def check_port(host: str, port: int, variable: str) -> None:
    """Listen on a port for a moment.

    Raises:
        CannotStart: something listens there already, or it may not be used; `variable` is what sets another one.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        with socket.create_server((host, port), family=family):
            return
    except OSError as error:
        reason = os.strerror(error.errno) if isinstance(error.errno, int) and error.errno > 0 else str(error)
        raise CannotStart(
            f"{host}:{port} cannot be listened on ({reason}); stop what uses it, or set {variable} to a free port."
        ) from None
