"""A test run that is ended leaves no server behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PATIENCE_SECONDS = 240.0


@pytest.mark.server
@pytest.mark.skipif(sys.platform != "linux", reason="Linux brings orphans back to a process that asks for them")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_run_that_is_ended_leaves_no_process(tmp_path: Path, number: signal.Signals) -> None:
    ready = tmp_path / "ready"
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "tests/harness/leaving.py"]
    environment = os.environ | {"B2S_READY": str(ready)}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL) as run:
        _wait_for(lambda: ready.exists() or run.poll() is not None)
        started = [int(pid) for pid in ready.read_text().split()]
        assert len(started) == 4 and all(_runs(pid) for pid in started)
        run.send_signal(number)
        assert run.wait(PATIENCE_SECONDS) == pytest.ExitCode.INTERRUPTED
    assert [pid for pid in started if _runs(pid)] == []


def _runs(pid: int) -> bool:
    """Whether a process is there and has not ended; one that nobody has waited for yet has."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def _wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
