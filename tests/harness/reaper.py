"""A test run leaves no process behind, however it ends.

The run goes on in a child; this process waits for it, and then ends whatever it started and did not end itself. Orphans
and daemons come back to the waiting process (PR_SET_CHILD_SUBREAPER, prctl(2)), so none is missed.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType

SUBREAPER, DEATH_SIGNAL = 36, 1  # PR_SET_CHILD_SUBREAPER, PR_SET_PDEATHSIG of <sys/prctl.h>
TEARDOWN_SECONDS = 150.0
"""How long a run that was told to end may take to stop its servers."""
LAST_SECONDS = 5.0
"""How long what is left has to end by itself before it is killed."""


def outlive_the_run() -> None:
    """Fork: the child returns and goes on as the run; this process never does, and exits with the child's status.

    SIGTERM ends the run as Ctrl-C does, with its fixtures torn down; a second one, or `TEARDOWN_SECONDS`, kills it.
    Elsewhere than on Linux this does nothing.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(SUBREAPER, 1, 0, 0, 0)
    run = os.fork()
    if run == 0:
        libc.prctl(SUBREAPER, 0, 0, 0, 0)
        libc.prctl(DEATH_SIGNAL, signal.SIGINT, 0, 0, 0)
        return
    os._exit(_wait(run))


def _wait(run: int) -> int:
    """The run's exit status, once it has ended and nothing of it is left."""

    def stop(_signal: int, _frame: FrameType | None) -> None:
        # SIGINT, since tests in the run's own process put handlers of their own on SIGTERM.
        with suppress(ProcessLookupError):
            os.kill(run, signal.SIGKILL if told else signal.SIGINT)
        told.append(_signal)
        signal.alarm(round(TEARDOWN_SECONDS))

    told: list[int] = []
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to both
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGALRM):
        signal.signal(number, stop)
    while True:
        ended, status = os.waitpid(-1, 0)
        if ended == run:
            break
    signal.alarm(0)
    _end_the_rest()
    return os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)


def _end_the_rest() -> None:
    """End every process that has come to this one, and those that come while they end."""
    since, told = time.monotonic(), set[int]()
    while children := _children():
        late = time.monotonic() - since > LAST_SECONDS
        for child in children:
            if late or child not in told:
                told.add(child)
                with suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL if late else signal.SIGTERM)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(0.02)


def _children() -> list[int]:
    listed = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
    return [int(child) for child in listed.read_text().split()]
