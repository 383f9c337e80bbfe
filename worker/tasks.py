"""The Celery tasks. A message brings a job id that only the log reads: which job runs, the database decides."""

from __future__ import annotations

import os
from typing import Any

import structlog
from celery import shared_task, signals

from store.job import JobKind
from store.logs import configure_logs
from store.settings import load_settings

log = structlog.get_logger(__name__)


@shared_task(name=JobKind.DENOISE.value, ignore_result=True)
def denoise(job_id: str) -> None:
    """The doorbell of denoise jobs."""
    from worker.child import denoise_runner  # imports torch: in the pool child only
    from worker.errors import Retriable

    try:
        found = denoise_runner().run_next()
    except Retriable:
        log.critical("exiting", reason="the device cannot be used by this process any more")
        os._exit(1)  # Celery starts another child
    if not found:
        log.debug("nothing_to_do", rung_for=job_id)


@signals.setup_logging.connect
def keep_our_logs(**_: Any) -> None:
    """A receiver here keeps Celery from setting up logs of its own in the child."""


@signals.worker_process_init.connect
def warm_up(**_: Any) -> None:
    """Load torch and the models before the first job comes."""
    configure_logs(load_settings())
    from worker.child import denoise_runner

    denoise_runner()
    log.info("child_ready")
