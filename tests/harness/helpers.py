"""The decoders' helper processes, and how they end in the middle of a file."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from images import sandbox
from images.sandbox import Sandbox


def server(box: Sandbox) -> int:
    """The process id of the running fork server."""
    found = box._nursery.server
    assert found is not None
    return found


def fork_servers(of_worker: int) -> dict[int, int]:
    """Process ids of a worker's fork servers, by those of its pool's children."""
    found = {server: child for child in children(of_worker) for server in children(child)}
    return {child: server for server, child in found.items() if _is_fork_server(server)}


def children(of: int) -> list[int]:
    """Process ids of a process's children, whichever of its threads started them; none once it is gone."""
    try:
        tasks = list(Path(f"/proc/{of}/task").iterdir())
        return [int(pid) for task in tasks for pid in (task / "children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def _is_fork_server(pid: int) -> bool:
    try:
        return b"images.forkserver" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False


def helpers(of_server: int) -> list[int]:
    """Process ids of a fork server's helpers, the one forked ahead among them."""
    return children(of_server)


def watched(patch: pytest.MonkeyPatch, box: Sandbox) -> list[int]:
    """Process ids of helpers, as files get them from now on."""
    seen: list[int] = []
    real = box._nursery.born

    def born(*arguments: Any) -> Any:
        found = real(*arguments)
        seen.append(found.pid)
        return found

    patch.setattr(box._nursery, "born", born)
    return seen


def ending_helpers(patch: pytest.MonkeyPatch, box: Sandbox, end: signal.Signals, at: set[int]) -> list[int]:
    """From now on the requests of these numbers end the helper that has them, by a signal; who was ended so far.

    It is stopped while the request goes out, so that it has it and cannot have answered.
    """
    ended: list[int] = []
    sent = iter(range(1 << 30))
    real, seen = sandbox.send, watched(patch, box)

    def send(*arguments: object) -> None:
        victim = seen[-1] if next(sent) in at else None
        if victim is not None:
            ended.append(victim)
            os.kill(victim, signal.SIGSTOP)
        real(*arguments)  # type: ignore[arg-type]
        if victim is not None:
            os.kill(victim, end)
            os.kill(victim, signal.SIGCONT)

    patch.setattr(sandbox, "send", send)
    return ended


def bounds(pid: int, what: str) -> tuple[int, int]:
    """Soft and hard limit of a process, as /proc names it."""
    text = Path(f"/proc/{pid}/limits").read_text().split(what)[1].split()
    return int(text[0]), int(text[1])


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def gone(*pids: int) -> None:
    """Wait until none of these processes runs."""
    wait_for(lambda: not any(runs(pid) for pid in pids))


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
