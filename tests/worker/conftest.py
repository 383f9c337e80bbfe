"""A runner as a pool child has it, on real stores and a real Redis, in this process."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from redis import Redis

from images.limits import Limits
from store.blobs import input_key
from store.broker import Broker
from store.ids import new_id
from store.job import Job, JobKind
from store.shipped import register_shipped
from tests.harness.stores import Store
from worker.denoise import DenoiseWork
from worker.metrics import WorkerMetrics
from worker.runner import Runner, Work
from worker.shutdown import GracePeriod
from worker.warm_models import WarmModels


@dataclass
class Bench:
    """A runner and what it works on."""

    store: Store
    broker: Broker
    grace: GracePeriod
    metrics: WorkerMetrics
    models: WarmModels

    def runner(
        self, work: Work | None = None, device: str = "cpu", kind: JobKind = JobKind.DENOISE, **settings: Any
    ) -> Runner:
        """A runner; of denoise jobs unless it is given other work."""
        return Runner(
            kind=kind,
            owner="test:1",
            work=work or DenoiseWork(self.store.blobs, self.models, Limits(), metrics=self.metrics),
            jobs=self.store.with_settings(**settings),
            blobs=self.store.blobs,
            broker=self.broker,
            settings=self.store.settings.model_copy(update=settings),
            metrics=self.metrics,
            grace=self.grace,
            device=device,
        )

    def send(self, data: bytes, **values: Any) -> Job:
        """Queue a job with an input, as the gateway does."""
        job_id = new_id("job")
        self.store.blobs.put(input_key(job_id), data)
        return self.store.queued(id=job_id, input_key=input_key(job_id), **{"options": {}, **values})

    def run(self, data: bytes, **values: Any) -> Job:
        """Send a job, run it, and read it again."""
        job = self.send(data, **values)
        assert self.runner().run_next()
        return self.store.jobs.get(job.id)


@pytest.fixture
def bench(store: Store, redis_url: str) -> Iterator[Bench]:
    Redis.from_url(redis_url).flushall()
    broker = Broker(store.settings.model_copy(update={"redis_url": redis_url}))
    register_shipped(store.models, store.blobs)
    metrics = WorkerMetrics()
    models = WarmModels(store.models, store.blobs, "cpu", capacity=2, metrics=metrics)
    yield Bench(store, broker, GracePeriod(9), metrics, models)
    broker.close()
