"""Puts right what deaths and lost messages left: runs in a thread of every worker's main process, harmlessly often."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

import structlog
from sqlalchemy import Engine

from store import faults
from store.blobs import Blobs
from store.broker import Broker
from store.datasets import Datasets
from store.job import JobKind, JobState
from store.jobs import Jobs
from store.models import Models
from store.settings import Settings
from store.workers import Workers
from worker.leftovers import collect_unnamed, expire_datasets
from worker.metrics import WorkerMetrics

log = structlog.get_logger(__name__)

RINGS_PER_SWEEP = 500
ORPHAN_SECONDS = 24 * 3600.0
ORPHANS_EVERY_SECONDS = 3600.0


class Sweep:
    """Re-queues expired leases, rings for jobs whose ring was lost, removes what is past its time."""

    def __init__(
        self,
        engine: Engine,
        blobs: Blobs,
        broker: Broker,
        settings: Settings,
        metrics: WorkerMetrics,
        host: str | None = None,
    ) -> None:
        """`host` is this one's name if it takes denoise jobs: each sweep tells that it is still there."""
        self._jobs = Jobs(engine, settings)
        self._datasets = Datasets(engine, settings)
        self._models = Models(engine)
        self._workers = Workers(engine)
        self._host = host
        self._blobs = blobs
        self._broker = broker
        self._settings = settings
        self._metrics = metrics
        self._stop = threading.Event()
        self._orphans_due = time.monotonic() + ORPHANS_EVERY_SECONDS
        self._thread = threading.Thread(target=self._run, name="sweep", daemon=True)

    def start(self) -> None:
        """Sweep now and then every B2S_SWEEP_SECONDS."""
        self._thread.start()

    def stop(self) -> None:
        """End after the sweep that runs."""
        self._stop.set()
        self._thread.join(timeout=10.0)

    def once(self) -> None:
        """One sweep. A part that fails is logged and tried again the next time; the others run."""
        for part in (self._requeue, self._ring, self._tell, self._expire, self._forget, self._collect_orphans):
            self._guarded(part)

    def _run(self) -> None:
        while not self._stop.is_set():
            self.once()
            # Workers that started together must not sweep together.
            self._stop.wait(self._settings.sweep_seconds * random.uniform(0.8, 1.2))

    def _guarded(self, part: Callable[[], None]) -> None:
        try:
            part()
        except Exception as error:  # the sweep is the last net; nothing may end it
            log.warning("sweep_failed", part=part.__name__.strip("_"), reason=str(error))

    def _requeue(self) -> None:
        requeued = self._jobs.requeue_expired()
        faults.point("sweeping")
        for job in requeued:
            log.warning("lease_expired", job_id=job.id, request_id=job.request_id, attempt=job.attempt, now=job.state)
            self._metrics.observe_sweep("requeued" if job.state is JobState.QUEUED else job.state.value, 1)

    def _ring(self) -> None:
        """Ring as often as there are jobs to run without a message that says so."""
        for kind in JobKind:
            unheard = self._broker.unheard(kind)
            missing = 0 if unheard is None else self._jobs.due(kind) - unheard
            for job_id in self._jobs.next_due(kind, min(missing, RINGS_PER_SWEEP)) if missing > 0 else []:
                if not self._broker.ring(kind, job_id):
                    return
                self._metrics.observe_sweep("rung", 1)

    def _tell(self) -> None:
        if self._host is not None:
            self._workers.seen(self._host)

    def _expire(self) -> None:
        for job_id in self._jobs.expired():
            self._jobs.purge(job_id)
            self._blobs.delete_job(job_id)
            self._metrics.observe_sweep("expired", 1)
        self._metrics.observe_sweep("datasets_expired", expire_datasets(self._datasets, self._blobs))

    def _forget(self) -> None:
        self._metrics.observe_sweep("forgotten", self._jobs.forget_old())

    def _collect_orphans(self) -> None:
        """Now and then delete blobs that no row names: of uploads whose row was never written, of what was deleted."""
        if time.monotonic() < self._orphans_due:
            return
        self._orphans_due = time.monotonic() + ORPHANS_EVERY_SECONDS
        self._metrics.observe_sweep("orphaned", self._blobs.delete_torn(older_seconds=ORPHAN_SECONDS))
        for prefix, register in (("jobs", self._jobs), ("datasets", self._datasets), ("models", self._models)):
            unnamed = collect_unnamed(self._blobs, prefix, register.known_keys, ORPHAN_SECONDS)
            self._metrics.observe_sweep("orphaned", unnamed)
