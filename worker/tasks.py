"""What Celery loads in a worker: the tasks, and how a pool child begins and ends.

A message brings a job id that only the log reads: the database decides which job runs. The main process loads this
module, too, so `worker.child`, with torch behind it, is imported when a child first needs it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import structlog
from celery import current_app, shared_task, signals

from images.lockdown import set_dumpable
from store.job import JobKind
from store.logs import configure_logs
from store.settings import load_settings
from store.traces import flush_traces, start_traces

if TYPE_CHECKING:
    from worker.runner import Runner

log = structlog.get_logger(__name__)


@shared_task(name=JobKind.DENOISE.value, ignore_result=True)
def denoise(job_id: str) -> None:
    """The doorbell of denoise jobs."""
    from worker.child import denoise_runner

    _answer(denoise_runner, job_id)


@shared_task(name=JobKind.FINETUNE.value, ignore_result=True)
def finetune(job_id: str) -> None:
    """The doorbell of fine-tune jobs."""
    from worker.child import finetune_runner

    _answer(finetune_runner, job_id)


@signals.worker_process_init.connect
def begin(**_: Any) -> None:
    """Logs and traces as the settings say; then what the kind of worker asks for before its first job."""
    settings, kind = load_settings(), JobKind(current_app.conf["b2s_kind"])
    set_dumpable(settings.debuggable)
    configure_logs(settings)
    start_traces(settings, kind)
    if kind is JobKind.DENOISE:  # torch and the models, before the first job comes
        from worker.child import denoise_runner, drawing

        device = denoise_runner().device
        drawing().start()
        log.info("child_ready", device=device)
    else:  # denoise jobs on the same cores go first; torch comes with the first job: who never fine-tunes saves it
        os.nice(settings.finetune_nice)
        log.info("child_ready")


@signals.worker_process_shutdown.connect
def end(**_: Any) -> None:
    """A picture is drawn to its end; and a batch of spans waits for seconds, which this process does not."""
    if JobKind(current_app.conf["b2s_kind"]) is JobKind.DENOISE:
        from worker.child import drawing

        drawing().stop()
    flush_traces()


@signals.setup_logging.connect
def keep_our_logs(**_: Any) -> None:
    """A receiver here keeps Celery from setting up logs of its own in the child."""


def _answer(runner: Callable[[], Runner], rung_for: str) -> None:
    """Run the next job, and more while messages wait.

    A process whose device is broken ends here; Celery starts another one.
    """
    from worker.errors import Retriable

    try:
        done = runner().run_while_rung()
    except Retriable:
        log.critical("exiting", reason="the device cannot be used by this process any more")
        os._exit(1)
    if not done:
        log.debug("nothing_to_do", rung_for=rung_for)
