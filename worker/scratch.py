"""A folder for the images of one set, of a fine-tune or a batch. What a killed process left, the next one removes."""

from __future__ import annotations

import fcntl
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import structlog

PREFIX = "b2s-finetune-"
YOUNG_SECONDS = 5.0

log = structlog.get_logger(__name__)


@contextmanager
def scratch_folder(parent: str) -> Iterator[Path]:
    """An empty folder below `parent` ("": the temporary folder) that is gone when the block ends.

    It holds a lock for as long as its process lives, so that another one can tell a folder in use from a left one.
    """
    root = Path(parent or tempfile.gettempdir())
    root.mkdir(parents=True, exist_ok=True)
    _remove_left_behind(root)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=root))
    try:
        with (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_left_behind(root: Path) -> None:
    for folder in root.glob(f"{PREFIX}*"):
        if time.time() - folder.stat().st_mtime < YOUNG_SECONDS:
            continue  # perhaps made a moment ago, and not locked yet
        with suppress(OSError), (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # BlockingIOError: somebody works in it
            log.info("scratch_removed", folder=str(folder))
            shutil.rmtree(folder, ignore_errors=True)
