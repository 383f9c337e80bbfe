"""The main process of a worker, `python -m worker denoise`; it never imports torch.

Celery, whose pool children work; a sweep thread that mends; /metrics, which speaks for all of them.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys
import tempfile
import warnings
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog
from celery import signals
from celery.exceptions import SecurityWarning

from images import lockdown
from store.blobs import Blobs
from store.broker import Broker, celery_app
from store.database import connect
from store.errors import StoreError
from store.job import JobKind
from store.jobs import Jobs
from store.logs import configure_logs
from store.private import write_privately
from store.settings import Settings, load_settings
from worker.capacity import denoise_processes

if TYPE_CHECKING:
    from worker.sweep import Sweep

log = structlog.get_logger("worker")

ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": 128 * 2**20, "MALLOC_TRIM_THRESHOLD_": 256 * 2**20}
"""glibc's, for the pool's children: how large an array gets pages of its own, and how much a child keeps for the next.

By default a layer's output goes back to the kernel and the next one's comes from there, page by page: a tenth of the
time of 12 megapixels in bfloat16.
"""


def main(arguments: Sequence[str] = sys.argv[1:]) -> int:
    """Run a worker until it is told to stop; the exit status."""
    if list(arguments) not in [[kind] for kind in JobKind]:
        print(f"usage: python -m worker {'|'.join(JobKind)}", file=sys.stderr)
        return 2
    write_privately()  # the pool's children inherit it
    folder = Path(tempfile.mkdtemp(prefix="b2s-metrics-"))
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
    if "OMP_WAIT_POLICY" not in os.environ:
        # Threads that wait by spinning take the cores from the other process that computes: 2 to 4 times slower when
        # measured. A spin this short outlasts the gaps between two layers and no more.
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    for variable, size in ALLOCATOR.items():
        os.environ.setdefault(variable, str(size))
    try:
        return run(load_settings(), JobKind(arguments[0]))
    except (StoreError, OSError) as error:
        print(f"worker: {error}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run(settings: Settings, kind: JobKind) -> int:
    """Run a worker for one kind of job until SIGTERM or SIGINT.

    Raises:
        StoreError: a setting cannot work.
        OSError: the port of /metrics is in use.
    """
    # Not before `main` has named the folder: prometheus_client decides at import whether it keeps values in files.
    from worker.metrics import WorkerMetrics, serve_metrics
    from worker.sweep import Sweep

    configure_logs(settings)
    # Celery warns root of pickled messages; this app accepts JSON only, and containers run as root.
    warnings.filterwarnings("ignore", category=SecurityWarning)
    lockdown.set_dumpable(settings.debuggable)
    if lacking := lockdown.missing():
        log.warning(
            "decoders_less_isolated", missing=list(lacking), reason="this kernel does not have it, or forbids it"
        )
    engine = connect(settings.database)
    jobs = Jobs(engine, settings)
    metrics = WorkerMetrics()
    port = settings.finetune_metrics_port if kind == JobKind.FINETUNE else settings.metrics_port
    if port:
        serve_metrics(jobs, settings.metrics_host, port)
    host = socket.gethostname() if kind == JobKind.DENOISE else None
    sweep = Sweep(engine, Blobs(settings.blobs), Broker(settings), settings, metrics, host)
    app = celery_app(settings)
    # spawn, not fork: the children inherit no thread's lock, and CUDA works in them
    app.conf.update(imports=("worker.tasks",), worker_pool_start_method="spawn", b2s_kind=kind.value)
    receivers = _Receivers(sweep)
    receivers.connect()
    try:
        app.start(["--quiet", "worker", *_options(settings, kind)])
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else 0
    finally:
        sweep.stop()
    return 0


def _options(settings: Settings, kind: JobKind) -> list[str]:
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


if __name__ == "__main__":
    raise SystemExit(main())
