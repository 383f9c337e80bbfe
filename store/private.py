"""What the service writes is for its own user alone: images of tenants, keys' digests, webhook secrets."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

UMASK = 0o077
FOLDER, FILE = 0o700, 0o600
OURS = ("b2s.sqlite3", "b2s.sqlite3-wal", "b2s.sqlite3-shm", "b2s.sqlite3-journal", "blobs", "redis")
"""All that an embedded installation keeps in its data folder."""
_OF_NOBODY = ("lost+found",)


def write_privately() -> None:
    """Close to other users whatever this process and its children make from now on."""
    os.umask(UMASK)


def private_folder(folder: Path) -> bool:
    """Make the data folder, or close that of an earlier version; whether other users are kept out of it.

    A folder that holds other people's things as well (`/tmp`, a home) keeps its mode; what is ours in it is closed.

    Raises:
        OSError: it cannot be made.
    """
    folder.mkdir(mode=FOLDER, parents=True, exist_ok=True)
    if not _is_open(folder):
        return True
    entries = {entry.name for entry in folder.iterdir()}
    for name in entries.intersection(OURS):
        _close(folder / name)
    if entries <= {*OURS, *_OF_NOBODY}:
        _close(folder)
    return not _is_open(folder)


def _is_open(path: Path) -> bool:
    return bool(stat.S_IMODE(path.stat().st_mode) & UMASK)


def _close(path: Path) -> None:
    """Take the rights of others, if it is ours; a link may lead to what is not."""
    with suppress(OSError):
        if not path.is_symlink():
            path.chmod(FOLDER if path.is_dir() else FILE)
