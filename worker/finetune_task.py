"""The task of fine-tune workers. torch comes with the first job: who never fine-tunes saves its memory."""

from __future__ import annotations

import os
from typing import Any

import structlog
from celery import shared_task, signals

from store.job import JobKind
from worker.tasks import answer, begin

log = structlog.get_logger(__name__)


@shared_task(name=JobKind.FINETUNE.value, ignore_result=True)
def finetune(job_id: str) -> None:
    """The doorbell of fine-tune jobs."""
    from worker.finetune_child import finetune_runner

    answer(finetune_runner, job_id)


@signals.worker_process_init.connect
def stand_back(**_: Any) -> None:
    """Let denoise jobs on the same cores go first, whatever this process does."""
    settings = begin(JobKind.FINETUNE)
    os.nice(settings.finetune_nice)
    log.info("child_ready")
