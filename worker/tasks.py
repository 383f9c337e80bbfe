"""What the Celery tasks share. A message brings a job id that only the log reads: the database decides which job runs.

`denoise_task` and `finetune_task` hold one task each; a worker imports the one of its kind.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import structlog
from celery import signals

from store.job import JobKind
from store.logs import configure_logs
from store.settings import Settings, load_settings
from store.traces import flush_traces, start_traces

if TYPE_CHECKING:
    from worker.runner import Runner

log = structlog.get_logger(__name__)


def begin(kind: JobKind) -> Settings:
    """What every pool child does first: logs and traces as the settings say, which it gives."""
    settings = load_settings()
    configure_logs(settings)
    start_traces(settings, kind)
    return settings


def answer(runner: Callable[[], Runner], rung_for: str) -> None:
    """Run the next job, and more while messages wait.

    A process whose device is broken ends here; Celery starts another one.
    """
    from worker.errors import Retriable  # with torch behind it: in the pool child only

    try:
        done = runner().run_while_rung()
    except Retriable:
        log.critical("exiting", reason="the device cannot be used by this process any more")
        os._exit(1)
    if not done:
        log.debug("nothing_to_do", rung_for=rung_for)


@signals.worker_process_shutdown.connect
def send_the_last_spans(**_: Any) -> None:
    """A batch of spans waits for seconds; this process does not."""
    flush_traces()


@signals.setup_logging.connect
def keep_our_logs(**_: Any) -> None:
    """A receiver here keeps Celery from setting up logs of its own in the child."""
