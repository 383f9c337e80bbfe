"""How many images a second many machines give: `python -m benchmarks.capacity`, a simulation from measured constants.

Closed queueing network (Lazowska et al., "Quantitative System Performance", 1984): enough clients keep every worker
fed; a job goes through gateway, database, Redis and a worker, and back. A database visit takes a core of the database;
the part of it from a tenant's row of the day to the commit excludes that tenant's other jobs. `--check` runs the real
service with one and with two worker processes beside the simulation of the same.
"""

from __future__ import annotations

import heapq
import json
import random
import tempfile
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from statistics import fmean
from typing import Annotated

import httpx
import typer

from benchmarks.core_time import core_seconds
from benchmarks.job_cost import WAIT, noisy_png
from tests.harness.service_process import ROOT, running_service

JOBS, SKIPPED = 6000, 2000  # counted at the least, and not counted at the start, until queues have settled


@dataclass(frozen=True)
class Constants:
    """Milliseconds a job, but for the last three; 64 x 64 pixels with report.

    Attributes:
        gateway: CPU of the gateway. `python -m benchmarks.job_cost`.
        worker: CPU of a worker, its decoder's helper and Celery's main process. The same.
        redis: CPU of Redis, which has one thread. The same.
        database: CPU of PostgreSQL for the statements of a whole job: 300 of them one after the other on this machine.
        held: from a tenant's row of the day to the end of the commit, twice a job. Not measured: two round trips of
            0.5 ms and a flush of 1.5.
        away: of a worker between two computations, in which its process waits for stores. Not measured.
        cores: of a machine; one gateway process and the rest workers, in proportion to what they cost.
        database_cores: of the machine of PostgreSQL.
        tenants: that send at the same time, equally much.
    """

    gateway: float = 7.8
    worker: float = 35.0
    redis: float = 0.4
    database: float = 2.1
    held: float = 2.5
    away: float = 5.0
    cores: float = 8
    database_cores: float = 32
    tenants: float = 100


Then = Callable[[], None]


class Station:
    """Servers with one queue, first come, first served."""

    def __init__(self, servers: int) -> None:
        self.servers = self.free = servers
        self.queue: deque[Then] = deque()
        self.busy = 0.0  # milliseconds of all servers; of those that are busy now, less the time of their beginning

    def forget(self, now: float) -> None:
        """Count busy time from now on."""
        self.busy = -now * (self.servers - self.free)

    def share(self, begun: float, now: float) -> float:
        """Of the time since `begun`, in which it was busy."""
        return (self.busy + now * (self.servers - self.free)) / self.servers / (now - begun)


class Simulation:
    """Jobs of clients that each send the next one when one is done; twice as many of them as workers."""

    def __init__(self, machines: float, of: Constants) -> None:
        cores = max(2, round(machines * of.cores))
        gateways = max(1, round(cores * of.gateway / (of.gateway + of.worker)))
        self._of = of
        self.gateways, self.workers = Station(gateways), Station(cores - gateways)
        self.redis, self.database = Station(1), Station(round(of.database_cores))
        self.rows = [Station(1) for _ in range(round(of.tenants))]
        self._random = random.Random(0)
        self._now, self._order, self._done = 0.0, 0, 0
        self._events: list[tuple[float, int, Then]] = []
        for client in range(2 * self.workers.servers + 8):
            self._send(self.rows[client % len(self.rows)])

    def run(self) -> dict[str, float]:
        """Images a second, and the share of the time that stations of each kind are busy."""
        settled = 3 * self.workers.servers + SKIPPED
        self._until(settled)
        every = {"gateways": [self.gateways], "workers": [self.workers], "redis": [self.redis]}
        every |= {"database": [self.database], "row of the day": self.rows}
        for station in chain.from_iterable(every.values()):
            station.forget(self._now)
        begun = self._now
        self._until(settled + max(JOBS, 3 * self.workers.servers))
        rate = 1000 * max(JOBS, 3 * self.workers.servers) / (self._now - begun)
        shares = {name: fmean(one.share(begun, self._now) for one in those) for name, those in every.items()}
        return {"images_per_second": rate} | shares

    def _until(self, done: int) -> None:
        while self._done < done:
            self._now, _, then = heapq.heappop(self._events)
            then()

    def _send(self, row: Station) -> None:
        of = self._of

        def recorded(then: Then) -> None:
            self._visit(self.database, of.database / 3, lambda: self._visit(row, of.held, then))

        def sent() -> None:
            recorded(lambda: self._visit(self.redis, of.redis, lambda: self._enter(self.workers, taken)))

        def taken() -> None:  # the worker's process stays with its job until the end is recorded
            self._visit(self.database, of.database / 3, lambda: self._after(of.away + of.worker, computed))

        def computed() -> None:
            recorded(done)

        def done() -> None:
            self._leave(self.workers)
            self._done += 1
            self._send(row)

        self._visit(self.gateways, of.gateway, sent)

    def _visit(self, station: Station, mean: float, then: Then) -> None:
        """Wait for a server of the station, be served for an exponential time, go on."""

        def served() -> None:
            self._leave(station)
            then()

        self._enter(station, lambda: self._after(self._random.expovariate(1 / mean), served))

    def _after(self, delay: float, then: Then) -> None:
        self._order += 1
        heapq.heappush(self._events, (self._now + delay, self._order, then))

    def _enter(self, station: Station, then: Then) -> None:
        if not station.free:
            station.queue.append(then)
            return
        station.free -= 1
        station.busy -= self._now
        then()

    def _leave(self, station: Station) -> None:
        if station.queue:
            station.queue.popleft()()  # the server goes from one to the next
        else:
            station.busy += self._now
            station.free += 1


def main(
    check: Annotated[bool, typer.Option(help="Compare with the real service of one and two worker processes.")] = False,
    machines: Annotated[str, typer.Option(help="Numbers of machines.")] = "1,10,100,1000",
) -> None:
    """Simulate and print."""
    if check:
        for processes in (1, 2):
            typer.echo(json.dumps(checked(processes)))
        return
    counts = [int(count) for count in machines.split(",")]
    for of in (Constants(), Constants(tenants=1)):
        for count in counts:
            told(f"{count} machines, {of.tenants:g} tenants", Simulation(count, of).run())
    for count in counts[1:]:
        whole = Simulation(count, Constants()).run()["images_per_second"]
        for name, value in asdict(Constants()).items():
            half = Simulation(count, replace(Constants(), **{name: value / 2})).run()["images_per_second"]
            typer.echo(f"{count} machines, {name} halved: {half / whole:.2f} times")


def told(name: str, found: dict[str, float]) -> None:
    """A line of the table."""
    rate = found.pop("images_per_second")
    shares = ", ".join(f"{what} {100 * share:.0f} %" for what, share in found.items())
    typer.echo(f"{name}: {rate:.0f} images/s; busy: {shares}")


def checked(processes: int, clients: int = 8, images: int = 160) -> dict[str, float]:
    """Images a second of the real service, and of a machine in the model that has the cores which it was given.

    A busy machine gives a service as many cores as others leave it: what it used is read from its processes.
    """
    picture = noisy_png(64)
    environment = {"B2S_DENOISE_PROCESSES": str(processes), "B2S_DENOISE_THREADS": "1"}
    with tempfile.TemporaryDirectory() as folder, running_service(Path(folder), ROOT, **environment) as service:
        http = httpx.Client(base_url=service.url, timeout=150, limits=httpx.Limits(max_connections=clients))

        def ask(_: int) -> None:
            assert http.post("/denoise", content=picture, headers=WAIT).status_code == 200

        with http, ThreadPoolExecutor(clients) as pool:
            list(pool.map(ask, range(4 * clients)))
            spent, begin = core_seconds(service.process.pid), time.perf_counter()
            list(pool.map(ask, range(images)))
            seconds = time.perf_counter() - begin
            spent = core_seconds(service.process.pid) - spent
    of = Constants()
    cpu = of.gateway + of.worker + of.redis
    used = sum(spent.values()) / seconds
    return {
        "processes": processes,
        "images_per_second": round(images / seconds, 1),
        "cores_used": round(used, 2),
        "cpu_ms": round(1000 * sum(spent.values()) / images, 1),
        "model_images_per_second": round(1000 * used / cpu, 1),
    }


if __name__ == "__main__":
    typer.run(main)
