"""Gateways and workers as an operator runs them: processes on shared servers, to be stopped, frozen and killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from store.blobs import Blobs, file_key, input_key
from store.broker import Broker
from store.database import connect
from store.ids import new_id
from store.job import Job, JobFile, JobKind, JobState, NewJob
from store.jobs import Jobs
from store.migrate import upgrade
from store.options import KNOWS_BATCHES
from store.settings import Settings

ROOT = Path(__file__).parent.parent.parent
PATIENCE_SECONDS = 300.0
"""How long anything may take before a test gives up: many times what it takes on a busy machine."""


@dataclass
class Process:
    """One supervised process, its log, and the hands that harm it."""

    command: list[str]
    environment: dict[str, str]
    log: Path
    handle: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self.handle is not None
        return self.handle.pid

    @property
    def alive(self) -> bool:
        return self.handle is not None and self.handle.poll() is None

    def start(self) -> Process:
        with self.log.open("ab") as log:
            self.handle = subprocess.Popen(
                self.command, env=self.environment, stdout=log, stderr=log, cwd=ROOT, start_new_session=True
            )
        return self

    def send(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and wait for the end; the exit status."""
        assert self.handle is not None
        if self.alive:
            self.send(number)
        return self.handle.wait(PATIENCE_SECONDS)

    def logged(self, text: str) -> int:
        """How often a text is in the log."""
        return self.log.read_text().count(text)


@dataclass
class Cluster:
    """Processes on one store."""

    settings: Settings
    environment: dict[str, str]
    folder: Path
    processes: list[Process] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.engine = connect(self.settings.database)
        upgrade(self.engine)
        self.jobs = Jobs(self.engine, self.settings)
        self.blobs = Blobs(self.settings.blobs)
        self.broker = Broker(self.settings)

    def worker(self, kind: str = "denoise", **environment: str) -> Process:
        """Start a worker; use `ready` to wait for it."""
        return self._start(["-m", "worker", kind], environment)

    def gateway(self, port: int, **environment: str) -> Process:
        """Start a gateway on a port."""
        return self._start(["-m", "service"], {"PORT": str(port), **environment})

    def ready(self, worker: Process, children: int = 1) -> Process:
        """Wait until so many pool children of a worker were ready in its life."""
        self.wait(lambda: worker.logged("child_ready") >= children or not worker.alive)
        assert worker.alive, worker.log.read_text()
        return worker

    def store(self, data: bytes, **options: Any) -> Job:
        """Record a job as the gateway does, without a ring."""
        job_id = new_id("job")
        self.blobs.put(input_key(job_id), data)
        new = NewJob(job_id, JobKind.DENOISE, options, {}, input_key(job_id), pixels=1, request_id=f"req-{job_id}")
        return self.jobs.create(new).job

    def send(self, data: bytes, **options: Any) -> Job:
        """Record a job and ring."""
        job = self.store(data, **options)
        self.broker.ring(job.kind, job.id)
        return job

    def store_batch(self, images: Sequence[bytes]) -> Job:
        """Record a batch as the gateway does."""
        job_id = new_id("job")
        files = []
        for number, data in enumerate(images):
            key = file_key(job_id, number)
            self.blobs.put(key, data)
            files.append(JobFile(number, f"{number}.png", key, len(data), pixels=1))
        options, about = {"quality": "fast"}, {"files": len(files)}
        new = NewJob(job_id, JobKind.DENOISE, options, about, None, len(files), files=files, needs=KNOWS_BATCHES)
        return self.jobs.create(new).job

    def finished(self, job: Job) -> Job:
        """The job in its final state."""
        self.wait(lambda: self.jobs.get(job.id).state.final)
        return self.jobs.get(job.id)

    def taken(self, job: Job) -> Job:
        """The job once a worker has claimed it."""
        self.wait(lambda: self.jobs.get(job.id).state is not JobState.QUEUED)
        return self.jobs.get(job.id)

    def computing(self, job: Job) -> Job:
        """The job once a worker has told of its first tile."""
        self.wait(lambda: self.jobs.get(job.id).progress.done > 0 or self.jobs.get(job.id).state.final)
        return self.jobs.get(job.id)

    def wait(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition; a test that waits too long shows the logs."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError("waited in vain\n" + "\n".join(p.log.read_text()[-4000:] for p in self.processes))
            time.sleep(0.05)

    def close(self) -> None:
        """End what still runs."""
        for process in self.processes:
            if process.alive:
                process.send(signal.SIGCONT)
                process.stop(signal.SIGKILL)
        self.broker.close()
        self.engine.dispose()

    def _start(self, arguments: list[str], environment: dict[str, str]) -> Process:
        log = self.folder / f"process-{len(self.processes)}.log"
        process = Process([sys.executable, *arguments], {**self.environment, **environment}, log)
        self.processes.append(process)
        return process.start()


@contextmanager
def cluster(folder: Path, redis_url: str, **settings: str) -> Iterator[Cluster]:
    """A cluster without processes yet, quick to notice deaths. `settings`: B2S_ variables without their prefix."""
    variables = {
        "data_dir": str(folder),
        "redis_url": redis_url,
        "lease_seconds": "2",
        "heartbeat_seconds": "0.1",
        "sweep_seconds": "0.3",
        "shutdown_seconds": "1",
        "metrics_port": "0",
        "finetune_metrics_port": "0",
        "denoise_processes": "1",
        "denoise_threads": "1",
    }
    named = {f"B2S_{name.upper()}": value for name, value in (variables | settings).items()}
    cluster = Cluster(Settings(**(variables | settings)), {**os.environ, **named}, folder)  # type: ignore[arg-type]
    try:
        yield cluster
    finally:
        cluster.close()


def pool_child(job: Job) -> int:
    """Process number of the pool child that holds a job."""
    assert job.lease_owner is not None
    return int(job.lease_owner.rpartition(":")[2])
