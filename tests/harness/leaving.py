"""No test of the suite: a run that `tests/test_reaper.py` ends in the middle, with servers of every kind up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from redis import Redis

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(600)"


def test_that_is_ended(redis_url: str, postgres_url: str) -> None:
    """Servers, a process in a session of its own that minds no SIGTERM, and its like without a parent."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    redis = int(Redis.from_url(redis_url).info("server")["process_id"])
    postgres = _postmaster(postgres_url)
    stubborn = _started(STUBBORN)
    parent = _started(
        f"import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', {STUBBORN!r}]).pid, flush=True)"
    )
    orphan = int(parent.stdout.readline())  # type: ignore[union-attr]
    parent.wait()
    ready = Path(os.environ["B2S_READY"])
    ready.with_suffix(".part").write_text(" ".join(map(str, (redis, postgres, stubborn.pid, orphan))))
    ready.with_suffix(".part").rename(ready)
    time.sleep(600)


def _postmaster(url: str) -> int:
    folder = Path(url.partition("host=")[2])
    return int((folder / "postmaster.pid").read_text().split()[0])


def _started(code: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True)
