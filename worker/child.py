"""What a pool child owns. torch is imported from here on, never before: a CUDA context must be born in the child."""

from __future__ import annotations

import os
import socket
from functools import cache

import torch

from images import sandbox
from images.limits import Limits
from model.denoiser import device_named
from store.blobs import Blobs
from store.broker import Broker
from store.database import connect
from store.job import JobKind
from store.jobs import Jobs
from store.models import Models
from store.settings import Settings, load_settings
from store.shipped import register_shipped
from worker.capacity import denoise_threads
from worker.denoise import DenoiseWork
from worker.metrics import WorkerMetrics
from worker.runner import Runner
from worker.shutdown import Grace
from worker.warm_models import WarmModels


@cache
def denoise_runner() -> Runner:
    """The runner of this process, with the shipped models registered and warm, and the decoder's helper up."""
    settings = load_settings()
    engine, blobs, metrics = connect(settings.database), Blobs(settings.blobs), WorkerMetrics()
    broker = Broker(settings)
    register = Models(engine)
    sandbox.shared().start()
    shipped = register_shipped(register, blobs)
    models = WarmModels(register, blobs, settings.device, settings.warm_models)
    for model_id in shipped[: settings.warm_models]:
        models.get(register.get(model_id, tenant=""))

    def take_cores() -> None:
        torch.set_num_threads(denoise_threads(settings, broker.unheard(JobKind.DENOISE) or 0))

    return Runner(
        kind=JobKind.DENOISE,
        owner=lease_owner(os.getpid()),
        work=DenoiseWork(blobs, models, _limits(settings), take_cores),
        jobs=Jobs(engine, settings),
        blobs=blobs,
        broker=broker,
        settings=settings,
        metrics=metrics,
        grace=Grace(settings.shutdown_seconds),
        device=str(device_named(settings.device)),
    )


def lease_owner(pid: int) -> str:
    """Name of a process in leases: host and process number."""
    return f"{socket.gethostname()}:{pid}"


def _limits(settings: Settings) -> Limits:
    return Limits(max_bytes=settings.max_upload_bytes, max_pixels=settings.max_pixels)
