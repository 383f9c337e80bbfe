"""What a pool child owns. torch is imported from here on, never before: a CUDA context must be born in the child."""

from __future__ import annotations

import os
import socket
from functools import cache

import torch

from images import sandbox
from images.archive import ArchiveLimits
from images.limits import Limits
from model.inference.backend import device_named
from store.blobs import Blobs
from store.broker import Broker
from store.database import connect
from store.job import JobKind
from store.job_files import JobFiles
from store.jobs import Jobs
from store.models import Models
from store.pictures import Pictures
from store.settings import Settings, load_settings
from store.shipped import register_shipped
from store.workers import Workers
from worker.batch import BatchWork
from worker.capacity import denoise_threads
from worker.denoise import DenoiseWork
from worker.drawing import Drawing
from worker.finetune import FineTuneWork
from worker.metrics import WorkerMetrics
from worker.runner import Runner
from worker.shutdown import GracePeriod
from worker.warm_models import WarmModels


@cache
def denoise_runner() -> Runner:
    """The runner of this process, with the shipped models registered and warm, and the decoder's helper up."""
    settings = load_settings()
    engine, blobs, metrics = connect(settings.database), Blobs(settings.blobs), WorkerMetrics()
    broker = Broker(settings)
    register = Models(engine)
    sandbox.shared().start()
    register_shipped(register, blobs)
    models = WarmModels(register, blobs, settings.device, settings.warm_models, settings.cpu_precision, metrics)
    Workers(engine).register(socket.gethostname(), models.warm_up(settings.quality))

    def take_cores(pixels: int) -> None:
        torch.set_num_threads(denoise_threads(settings, pixels, lambda: broker.unheard(JobKind.DENOISE) or 0))

    return Runner(
        kind=JobKind.DENOISE,
        owner=_lease_owner(),
        work=BatchWork(
            DenoiseWork(blobs, models, _limits(settings), take_cores, metrics),
            JobFiles(engine, settings),
            blobs,
            _limits(settings),
            ArchiveLimits(settings.max_set_images, settings.max_set_bytes, settings.most_upload_bytes),
            settings.scratch_dir,
        ),
        jobs=Jobs(engine, settings),
        blobs=blobs,
        broker=broker,
        settings=settings,
        metrics=metrics,
        grace=GracePeriod(settings.shutdown_seconds),
        device=str(device_named(settings.device)),
    )


@cache
def drawing() -> Drawing:
    """What draws this process's share of the pictures."""
    settings = load_settings()
    engine, blobs = connect(settings.database), Blobs(settings.blobs)
    return Drawing(Pictures(engine, settings), Jobs(engine, settings), blobs, Broker(settings), _limits(settings))


@cache
def finetune_runner() -> Runner:
    """The runner of this process, with the shipped models registered."""
    settings = load_settings()
    engine, blobs, metrics = connect(settings.database), Blobs(settings.blobs), WorkerMetrics()
    register = Models(engine)
    register_shipped(register, blobs)
    return Runner(
        kind=JobKind.FINETUNE,
        owner=_lease_owner(),
        work=FineTuneWork(blobs, register, settings, metrics),
        jobs=Jobs(engine, settings),
        blobs=blobs,
        broker=Broker(settings),
        settings=settings,
        metrics=metrics,
        grace=GracePeriod(settings.shutdown_seconds),
        device=str(device_named("auto")),  # as the fine-tuner loads its base
    )


def _lease_owner() -> str:
    """Name of this process in leases: host and process number."""
    return f"{socket.gethostname()}:{os.getpid()}"


def _limits(settings: Settings) -> Limits:
    return Limits(max_bytes=settings.most_upload_bytes, max_pixels=settings.max_pixels)
