"""Soft shutdown of a pool child: after SIGTERM the running job has some time to finish, then it is handed back."""

from __future__ import annotations

import signal
import time
from types import FrameType


class GracePeriod:
    """When a stopping child must let go of its job."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._deadline: float | None = None

    def install(self) -> None:
        """Make SIGTERM start the grace time. Celery's main process stays in charge of ending the child.

        Called with every job, from the main thread: billiard resets the signals after a child's last start-up hook.
        """
        if signal.getsignal(signal.SIGTERM) != self._on_signal:
            signal.signal(signal.SIGTERM, self._on_signal)

    def begin(self) -> None:
        """Start the grace time; a second call changes nothing."""
        if self._deadline is None:
            self._deadline = time.monotonic() + self._seconds

    @property
    def begun(self) -> bool:
        """Whether no new job should be started."""
        return self._deadline is not None

    @property
    def over(self) -> bool:
        """Whether the running job has to be handed back."""
        return self._deadline is not None and time.monotonic() >= self._deadline

    def _on_signal(self, _signal: int, _frame: FrameType | None) -> None:
        self.begin()
