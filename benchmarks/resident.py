"""What processes hold over a long time: resident memory and open files, sampled by role (Linux)."""

from __future__ import annotations

import os
import statistics
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

Roles = Mapping[str, Callable[[], list[int]]]
"""Process numbers by role, asked anew for each sample: a helper may be replaced."""

EVERY_SECONDS = 2.0
MOST_GROWTH = 0.05
FILES_SLACK = 3
"""Open files swing by a few: a connection, a temporary file."""


@dataclass(frozen=True)
class Sample:
    """What one role held at a time (seconds since the first sample)."""

    at: float
    role: str
    resident_bytes: int
    open_files: int


class Observer:
    """Samples in a thread while the context lasts, or until it is stopped."""

    def __init__(self, roles: Roles) -> None:
        self._roles = roles
        self._samples: list[Sample] = []
        self._over = threading.Event()
        self._begin = time.monotonic()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Observer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._over.set()
        self._thread.join()

    def judged(self, warm_up_seconds: float) -> dict[str, dict[str, float | bool]]:
        """Growth by role: the median of the last quarter behind the warm-up over that of the first."""
        return {role: self._judge(role, warm_up_seconds) for role in self._roles}

    def _judge(self, role: str, warm_up_seconds: float) -> dict[str, float | bool]:
        mine = [sample for sample in self._samples if sample.role == role and sample.at >= warm_up_seconds]
        quarter = max(1, len(mine) // 4)
        first, last = mine[:quarter], mine[-quarter:]
        memory = [statistics.median(sample.resident_bytes for sample in part) for part in (first, last)]
        files = [statistics.median(sample.open_files for sample in part) for part in (first, last)]
        growth = memory[1] / memory[0] - 1
        return {
            "samples": len(mine),
            "resident_mib_first": round(memory[0] / 2**20, 1),
            "resident_mib_last": round(memory[1] / 2**20, 1),
            "resident_mib_peak": round(max(sample.resident_bytes for sample in mine) / 2**20, 1),
            "growth_percent": round(100 * growth, 2),
            "open_files_first": files[0],
            "open_files_last": files[1],
            "flat": growth < MOST_GROWTH and files[1] <= files[0] + FILES_SLACK,
        }

    def _run(self) -> None:
        while not self._over.wait(EVERY_SECONDS):
            at = time.monotonic() - self._begin
            for role, pids in self._roles.items():
                held = [_held(pid) for pid in pids()]
                if held and all(memory for memory, _ in held):
                    self._samples.append(Sample(at, role, sum(m for m, _ in held), sum(f for _, f in held)))


def children(pid: int) -> list[int]:
    """Process numbers of the children of a process."""
    found = []
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += [int(child) for child in (task / "children").read_text().split()]
    except OSError:  # it ended meanwhile
        return []
    return found


def command(pid: int) -> str:
    """Command line of a process; empty when it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def _held(pid: int) -> tuple[int, int]:
    """Resident bytes and open files of a process; zeros when it has ended."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE"), len(list(Path(f"/proc/{pid}/fd").iterdir()))
    except OSError:
        return 0, 0
