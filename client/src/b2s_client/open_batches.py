"""The batches that a run has under way, so that whoever interrupts it can have them canceled."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from .errors import B2SError
from .sync import Client


class OpenBatch:
    """One batch, from before it is sent until its results are read."""

    def __init__(self, all_of_them: OpenBatches) -> None:
        self.job_id = ""
        self._all = all_of_them

    def begun(self, client: Client, job_id: str) -> None:
        """The service has made its job; if the run was interrupted meanwhile, that is canceled."""
        self.job_id = job_id
        if self._all.canceling:
            _cancel(client, job_id)


class OpenBatches:
    """Those of one run; safe from any thread."""

    def __init__(self) -> None:
        self.canceling = False
        self._open: set[OpenBatch] = set()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        with self._lock:
            return len(self._open)

    @contextmanager
    def one(self) -> Iterator[OpenBatch]:
        """A batch that is open within the context."""
        batch = OpenBatch(self)
        with self._lock:
            self._open.add(batch)
        try:
            yield batch
        finally:
            with self._lock:
                self._open.discard(batch)

    def cancel(self, client: Client) -> None:
        """Cancel the jobs of all that are open, and of those that are just being sent, once they are there."""
        self.canceling = True
        with self._lock:
            begun = [batch.job_id for batch in self._open if batch.job_id]
        for job_id in begun:
            _cancel(client, job_id)


def _cancel(client: Client, job_id: str) -> None:
    with suppress(B2SError):  # it has ended, or the service is away: its results are read, or not, as they are
        client.cancel(job_id)
