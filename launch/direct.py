"""A process of the Procfile whose lines nobody relays: only a terminal shows the prefix and colour that honcho adds."""

from __future__ import annotations

import signal
import subprocess
from typing import Any

from honcho.process import Popen, Process


class DirectProcess(Process):  # type: ignore[misc]  # honcho is not typed
    """honcho's process without the relay: a line through its pipe, pickle and queue costs half a millisecond of CPU."""

    def run(self, events: Any = None, ignore_signals: bool = False) -> None:
        """Run the command to its end, and tell the manager of both."""
        self._events = events
        child = Popen(self.cmd, env=self.env, cwd=self.cwd, stdout=None, stderr=subprocess.STDOUT)
        self._send_message({"pid": child.pid}, type="start")
        if ignore_signals:  # this process ends when its child does, which the manager sees to
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        child.wait()
        self._send_message({"returncode": child.returncode}, type="stop")
