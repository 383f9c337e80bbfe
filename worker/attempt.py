"""One claimed job while it is worked on: a thread renews the lease, the work asks at every tile whether to go on."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import suppress
from types import TracebackType
from typing import NoReturn

import structlog
from sqlalchemy.exc import SQLAlchemyError

from store import faults
from store.blobs import attempt_key
from store.job import Job, Progress, Signal
from store.jobs import Jobs
from worker.errors import Canceled, LeaseLost, ShuttingDown
from worker.shutdown import GracePeriod

log = structlog.get_logger(__name__)


class Attempt:
    """A context around the work. Short jobs end before the first heartbeat and cost the database nothing here.

    Work that is told to stop and does not come back in `stuck_seconds` ends with its process, which the pool replaces.
    So does work that does not even let this thread run, by an alarm that every heartbeat puts off.
    """

    def __init__(
        self, jobs: Jobs, job: Job, heartbeat_seconds: float, grace: GracePeriod, stuck_seconds: float = 30.0
    ) -> None:
        self.job = job
        self.progress = job.progress
        self._jobs = jobs
        self._heartbeat_seconds = heartbeat_seconds
        self._grace = grace
        self._stuck_seconds = stuck_seconds
        self._came_back = False
        self._signal = Signal.CONTINUE
        self._ended = threading.Event()
        self._writing = threading.Lock()  # of two threads, so that no older progress lands after a newer one
        self._told = job.progress
        self._thread = threading.Thread(target=self._beat, name=f"lease-{job.id}", daemon=True)

    def __enter__(self) -> Attempt:
        self._put_off_the_alarm()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        signal.setitimer(signal.ITIMER_REAL, 0)

    def on_tile(self, done: int, total: int) -> None:
        """Note progress, and stop if the job should; handed to the model, which calls it after each tile."""
        self.progress = Progress(done, total, self.job.progress.unit)
        faults.point("tile")
        self.check()

    def on_tile_of_page(self, done: int, total: int) -> None:
        """As `on_tile` for a stack, whose progress is counted in pages."""
        faults.point("tile")
        self.check()

    def on_page(self, done: int, total: int) -> None:
        """Note progress in pages; handed to the model, which calls it after each page of a stack."""
        self.progress = Progress(done, total, "page")
        self.check()

    def enter(self, phase: str, progress: Progress) -> None:
        """Begin a phase of a long job, told at once; raises as `check`."""
        self.progress = progress
        self._renew(phase)
        self.check()

    def tell(self, progress: Progress) -> None:
        """Note progress for the next heartbeat, unless newer progress comes first; raises as `check`."""
        self.progress = progress
        self.check()

    def tell_now(self, progress: Progress) -> None:
        """Write progress that no newer one may displace; raises as `check`."""
        self.progress = progress
        self._renew()
        self.check()

    def told(self, progress: Progress, signal: Signal = Signal.CONTINUE) -> None:
        """Take over what somebody else wrote of this job, with the answer that a renewal would have had."""
        with self._writing:
            self.progress = self._told = progress
            if signal is not Signal.CONTINUE:
                self._signal = signal

    def key(self, name: str) -> str:
        """Blob key of a file that this attempt makes."""
        return attempt_key(self.job.id, self.job.attempt, name)

    def settle_pixels(self, pixels: int) -> None:
        """Count the pixels that a set turned out to have. Raises QuotaExceeded."""
        self._jobs.settle_pixels(self.job, pixels)

    def got_further(self, step: int) -> None:
        """Tell that another attempt would go on from `step`. While the database is away the next one may tell it."""
        try:
            self._jobs.got_further(self.job, step)
        except SQLAlchemyError as error:
            log.warning("checkpoint_not_told", reason=str(error))

    @property
    def stopping(self) -> bool:
        """Whether long work should let go of the job: told to, or this worker has begun to stop."""
        return self._signal is not Signal.CONTINUE or self._grace.begun

    def stop(self) -> NoReturn:
        """Raise the reason of `stopping`, as `check`."""
        self.check()
        raise ShuttingDown

    def check(self) -> None:
        """Raise if the work should stop.

        Raises:
            Canceled, LeaseLost, ShuttingDown: as `worker.errors` says.
        """
        self._came_back = self._signal is not Signal.CONTINUE
        if self._signal is Signal.CANCEL:
            raise Canceled
        if self._signal is Signal.LOST:
            raise LeaseLost
        if self._grace.over:
            raise ShuttingDown

    def _beat(self) -> None:
        while not self._ended.wait(self._heartbeat_seconds):
            self._put_off_the_alarm()
            try:
                self._renew()
            except SQLAlchemyError as error:
                # The work goes on: the database may be back before the lease is over, and decides at the end anyway.
                log.warning("lease_not_renewed", reason=str(error))
                continue
            if self._signal is not Signal.CONTINUE:
                self._await_the_end()
                return

    def _put_off_the_alarm(self) -> None:
        """SIGALRM ends a process that handles it not, whatever it does; a lease is over by then."""
        signal.setitimer(signal.ITIMER_REAL, self._heartbeat_seconds + 2 * self._stuck_seconds)

    def _await_the_end(self) -> None:
        """End this process if the work does not hear what it was told; a cancel is written first."""
        while not self._ended.wait(self._stuck_seconds):
            self._put_off_the_alarm()
            if self._came_back:  # it is writing how it ended, which may take as long as the database is away
                continue
            log.critical("exiting", reason="the work was told to stop and does not come back", job_id=self.job.id)
            if self._signal is Signal.CANCEL:
                with suppress(SQLAlchemyError):  # else the job ends as canceled when its lease does
                    self._jobs.canceled(self.job)
            os._exit(1)

    def _renew(self, phase: str | None = None) -> None:
        with self._writing:
            progress = self.progress
            self._signal = self._jobs.renew(self.job, progress if progress != self._told else None, phase)
            self._told = progress
