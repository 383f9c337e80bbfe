"""Which files go together: small ones as batches, since a job of its own costs more than their pixels."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from .batches import Limits
from .inputs import STDIO, Task
from .suffixes import RESULT_OF

SMALL_BYTES = 64 * 1024
"""Files up to this go into batches. Of larger ones each is a job, which any worker may take (benchmarks/README.md)."""

FEWEST = 8
"""Fewer small files than this are sent one by one, all at once."""

MOST_FILES = 50
MOST_BYTES = 2 * 2**20
"""Of one batch, so that the first results come early."""

AT_ONCE = 4
SHARE = 16
"""A batch is worked on by one worker at a time: up to so many of them at first, if each has so many files."""


def small(tasks: Sequence[Task], overwrite: bool) -> list[Task]:
    """Those that are better sent together; none if they are few."""
    found = [task for task in tasks if _is_small(task) and (overwrite or not _is_done(task))]
    return found if len(found) >= FEWEST else []


def loads(tasks: Sequence[Task], limits: Limits) -> list[list[Task]]:
    """The tasks in order, in groups as even as they can be, none larger than a batch may be."""
    most = max(min(MOST_FILES, limits.files), 1)
    count = max(-(-len(tasks) // most), min(AT_ONCE, len(tasks) // SHARE))
    made: list[list[Task]] = []
    for number in range(count):
        share = tasks[number * len(tasks) // count : (number + 1) * len(tasks) // count]
        made += _split(share, min(MOST_BYTES, limits.bytes))
    return made


def is_archive(data: bytes) -> bool:
    """Whether the service would unpack it instead: a zip, gzip or tar, whatever its name."""
    return data.startswith((b"PK\x03\x04", b"PK\x05\x06", b"\x1f\x8b")) or data[257:262] == b"ustar"


def _split(tasks: Sequence[Task], most_bytes: int) -> list[list[Task]]:
    groups: list[list[Task]] = [[]]
    size = 0
    for task in tasks:
        own = _size(task.source)
        if groups[-1] and size + own > most_bytes:
            groups.append([])
            size = 0
        groups[-1].append(task)
        size += own
    return groups


def _is_small(task: Task) -> bool:
    if STDIO in (task.source, task.target) or task.source.suffix.lower() not in RESULT_OF:
        return False
    return 0 < _size(task.source) <= SMALL_BYTES


def _is_done(task: Task) -> bool:
    with suppress(OSError):  # what cannot even be looked for fails later, with words
        return task.found is not None
    return True


def _size(path: Path) -> int:
    """In bytes; 0 for a file that is not there."""
    try:
        return path.stat().st_size
    except OSError:
        return 0
