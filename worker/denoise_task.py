"""The task of denoise workers."""

from __future__ import annotations

from typing import Any

import structlog
from celery import shared_task, signals

from store.job import JobKind
from worker.tasks import answer, begin

log = structlog.get_logger(__name__)


@shared_task(name=JobKind.DENOISE.value, ignore_result=True)
def denoise(job_id: str) -> None:
    """The doorbell of denoise jobs."""
    from worker.child import denoise_runner  # imports torch: in the pool child only

    answer(denoise_runner, job_id)


@signals.worker_process_init.connect
def warm_up(**_: Any) -> None:
    """Load torch and the models before the first job comes."""
    begin(JobKind.DENOISE)
    from worker.child import denoise_runner

    log.info("child_ready", device=denoise_runner().device)
