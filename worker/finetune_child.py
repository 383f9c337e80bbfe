"""What the pool child of a fine-tune worker owns."""

from __future__ import annotations

import os
from functools import cache

from model.denoiser import device_named
from store.blobs import Blobs
from store.broker import Broker
from store.database import connect
from store.job import JobKind
from store.jobs import Jobs
from store.models import Models
from store.settings import load_settings
from store.shipped import register_shipped
from worker.child import lease_owner
from worker.finetune import FineTuneWork
from worker.metrics import WorkerMetrics
from worker.runner import Runner
from worker.shutdown import Grace


@cache
def finetune_runner() -> Runner:
    """The runner of this process, with the shipped models registered."""
    settings = load_settings()
    engine, blobs, metrics = connect(settings.database), Blobs(settings.blobs), WorkerMetrics()
    register = Models(engine)
    register_shipped(register, blobs)
    return Runner(
        kind=JobKind.FINETUNE,
        owner=lease_owner(os.getpid()),
        work=FineTuneWork(blobs, register, settings, metrics),
        jobs=Jobs(engine, settings),
        blobs=blobs,
        broker=Broker(settings),
        settings=settings,
        metrics=metrics,
        grace=Grace(settings.shutdown_seconds),
        device=str(device_named("auto")),  # as the fine-tuner loads its base
    )
