"""Celery's main process: its pool children work, its sweep thread mends, its /metrics speaks for all of them."""

from __future__ import annotations

import os
import signal
import socket
import warnings
from contextlib import suppress
from typing import Any

import structlog
from celery import signals
from celery.exceptions import SecurityWarning

from store.blobs import Blobs
from store.broker import Broker, celery_app
from store.database import connect
from store.job import JobKind
from store.jobs import Jobs
from store.logs import configure_logs
from store.settings import Settings
from worker.capacity import denoise_processes
from worker.metrics import WorkerMetrics, serve_metrics
from worker.sweep import Sweep

log = structlog.get_logger(__name__)


def run(settings: Settings, kind: str) -> int:
    """Run a worker for one kind of job until SIGTERM or SIGINT.

    Raises:
        StoreError: a setting cannot work.
        OSError: the port of /metrics is in use.
    """
    configure_logs(settings)
    # Celery warns root of pickled messages; this app accepts JSON only, and containers run as root.
    warnings.filterwarnings("ignore", category=SecurityWarning)
    engine = connect(settings.database)
    jobs = Jobs(engine, settings)
    metrics = WorkerMetrics()
    port = settings.finetune_metrics_port if kind == JobKind.FINETUNE else settings.metrics_port
    if port:
        serve_metrics(jobs, settings.metrics_host, port)
    sweep = Sweep(engine, Blobs(settings.blobs), Broker(settings), settings, metrics)
    app = celery_app(settings)
    # spawn, not fork: the children inherit no thread's lock, and CUDA works in them
    app.conf.update(imports=(f"worker.{kind}_task",), worker_pool_start_method="spawn")
    receivers = _Receivers(sweep)
    receivers.connect()
    try:
        app.start(["--quiet", "worker", *_options(settings, kind)])
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else 0
    finally:
        sweep.stop()
    return 0


def _options(settings: Settings, kind: str) -> list[str]:
    return [
        f"--queues={kind}",
        f"--hostname={kind}-{os.getpid()}@{socket.gethostname()}",
        f"--concurrency={denoise_processes(settings) if kind == JobKind.DENOISE else 1}",
        f"--loglevel={settings.log_level}",
        "--without-gossip",
        "--without-mingle",
        "--without-heartbeat",
    ]


class _Receivers:
    """What happens at the turns of Celery's life."""

    def __init__(self, sweep: Sweep) -> None:
        self._sweep = sweep
        self._worker: Any = None

    def connect(self) -> None:
        """Celery keeps weak references: hold on to this object."""
        signals.setup_logging.connect(self._keep_our_logs)
        signals.worker_init.connect(self._remember)
        signals.worker_before_create_process.connect(self._keep_births_quiet)
        signals.worker_ready.connect(self._start)
        signals.worker_shutting_down.connect(self._tell_children)

    def _keep_our_logs(self, **_: Any) -> None:
        """A receiver here keeps Celery from setting up logs of its own."""

    def _keep_births_quiet(self, **_: Any) -> None:
        """billiard hands its children a log format of Celery's through this variable; a line of it is no JSON."""
        os.environ.pop("_MP_FORK_LOGLEVEL_", None)

    def _remember(self, sender: Any, **_: Any) -> None:
        self._worker = sender

    def _start(self, **_: Any) -> None:
        self._sweep.start()
        log.info("worker_ready")

    def _tell_children(self, **_: Any) -> None:
        """Start the grace time of the children: `docker stop` sends SIGTERM to this process alone."""
        if getattr(self._worker.pool, "_pool", None) is None:
            return  # told to stop while starting
        for pid in self._worker.pool.info["processes"]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
