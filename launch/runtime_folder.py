"""A short folder for sockets: the address of one holds about a hundred bytes, and a data folder may lie deeper."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from launch.checks import CannotStart

ADDRESS_BYTES = 104
"""`sun_path` of unix(7) with its ending zero: 108 on Linux, 104 on macOS and the BSDs."""
LONGEST_NAME = len("/redis.sock")
PRIVATE = 0o700


@contextmanager
def runtime_folder(service: Path) -> Iterator[Path]:
    """A folder that nobody but this user may enter, while the context lasts.

    It is the same one each time for one `service` (a resolved path), so that a worker which joined finds a restarted
    service again; another one if that is taken by a second run, or by another user who guessed its name.

    Raises:
        CannotStart: there is no place for it.
    """
    root = _root()
    digest = hashlib.sha256(os.fsencode(service)).hexdigest()[:12]
    folder = root / f"b2s-{os.geteuid()}-{digest}"
    lock = _taken(folder)
    if lock is None:
        folder = _another(root)
        lock = _taken(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def _root() -> Path:
    """Where it lies: the user's own folder of the session if there is one, else a temporary folder that is short."""
    longest = f"/b2s-{os.geteuid()}-{'x' * 12}"
    shortest = ADDRESS_BYTES - 1 - LONGEST_NAME - len(longest)
    session = os.environ.get("XDG_RUNTIME_DIR", "")
    own = [session] if session and _is_ours(session) else []
    for root in [*own, tempfile.gettempdir(), "/tmp", "/var/tmp"]:  # nosec B108  # made 0700 and checked for its owner
        if len(os.fsencode(root)) <= shortest and os.access(root, os.W_OK | os.X_OK):
            return Path(root)
    raise CannotStart(
        f"There is no folder for a socket with a path of at most {shortest} bytes; set TMPDIR to a short one, "
        "or B2S_REDIS_URL to a Redis that runs."
    )


def _another(root: Path) -> Path:
    try:
        return Path(tempfile.mkdtemp(prefix="b2s-", dir=root))  # mode 0700
    except OSError as error:
        raise CannotStart(
            f"No folder for a socket can be made in {root} ({error.strerror}); set TMPDIR to a short one, "
            "or B2S_REDIS_URL to a Redis that runs."
        ) from None


def _is_ours(folder: str) -> bool:
    """Whether it is this user's: after `sudo` the variable names a folder in which another one may rename ours."""
    with suppress(OSError):
        return Path(folder).stat().st_uid == os.geteuid()
    return False


def _taken(folder: Path) -> int | None:
    """Make the folder if need be and lock it: a descriptor that holds the lock; None: another run or user has it."""
    while True:
        try:
            with suppress(FileExistsError):
                folder.mkdir(mode=PRIVATE)
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except FileNotFoundError:
            continue  # its run has just ended
        except OSError:
            return None  # a link, a file, closed to us, or not to be made
        try:
            if os.fstat(handle).st_uid != os.geteuid():
                raise PermissionError
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.fchmod(handle, PRIVATE)
            if os.path.samestat(os.fstat(handle), folder.stat()):
                return handle
        except FileNotFoundError:
            pass  # removed between opening and locking
        except OSError:
            os.close(handle)
            return None
        os.close(handle)
