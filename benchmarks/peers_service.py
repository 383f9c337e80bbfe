"""The service beside LitServe and BentoML around the same `Denoiser`: `python -m benchmarks.peers_service --python P`.

P is the interpreter of an environment of its own that holds litserve, bentoml and what the product needs. All three run
at once and take turns, so that a shared machine's mood strikes all; the ratios count. The peers store nothing, forget
everything and decode where they compute; the service records each job, isolates its decoder, keeps result and report.

Printed a side: milliseconds a lone request waits (median), CPU a request in all processes of a server, and images a
second from `--clients` at once.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer

from benchmarks.core_time import core_seconds
from benchmarks.job_cost import noisy_png
from tests.harness.ports import free_port
from tests.harness.service_process import ROOT, running_service

START_SECONDS = 180.0
WARM_UP = 5


@dataclass(frozen=True)
class Server:
    """One of the servers: the process above all of its processes, and how an image is sent."""

    pid: int
    url: str
    request: Callable[[bytes], dict[str, Any]]

    def ask(self, http: httpx.Client, picture: bytes) -> None:
        """One image there and back."""
        answer = http.post(f"{self.url}/denoise", **self.request(picture))
        assert answer.status_code == 200, answer.text
        assert answer.content.startswith(b"\x89PNG"), answer.content[:80]


def main(
    python: Annotated[Path, typer.Option(help="Interpreter of the peers' environment.")],
    sides: Annotated[str, typer.Option(help="Sides of the images in pixels.")] = "64,512",
    requests: Annotated[int, typer.Option(help="Requests a turn and server.")] = 20,
    turns: Annotated[int, typer.Option(help="Turns of each server.")] = 3,
    clients: Annotated[int, typer.Option(help="Clients at once for the throughput.")] = 8,
) -> None:
    """Measure and print a line of JSON a side."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # end as an exception does, servers included
    lit = [str(python), "-m", "benchmarks.peers_endpoints", "litserve"]
    bento = [str(python), "-m", "bentoml", "serve", "benchmarks.peers_endpoints:Bento", "--host", "127.0.0.1", "--port"]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ours = stack.enter_context(running_service(folder))
        servers = {
            "service": Server(ours.process.pid, ours.url, _as_body),
            "litserve": stack.enter_context(_peer(lit, folder / "litserve.log")),
            "bentoml": stack.enter_context(_peer(bento, folder / "bentoml.log")),
        }
        for side in map(int, sides.split(",")):
            found = compared(servers, noisy_png(side), requests, turns, clients)
            typer.echo(json.dumps({"side": side} | found))


def compared(servers: dict[str, Server], picture: bytes, requests: int, turns: int, clients: int) -> dict[str, Any]:
    """Of each server, the median over the turns."""
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in servers}
    with httpx.Client(timeout=300, limits=httpx.Limits(max_connections=clients)) as http:
        for server in servers.values():
            for _ in range(WARM_UP):
                server.ask(http, picture)
        for _ in range(turns):
            for name, server in servers.items():
                found[name].append(_turn(server, http, picture, requests, clients))
    names = ("latency_ms", "cpu_ms", "images_per_second")
    return {
        name: {
            what: round(statistics.median(of), 1) for what, of in zip(names, zip(*turns_of, strict=True), strict=True)
        }
        for name, turns_of in found.items()
    }


def _turn(
    server: Server, http: httpx.Client, picture: bytes, requests: int, clients: int
) -> tuple[float, float, float]:
    """Median latency and CPU of lone requests in milliseconds, and images a second in a crowd."""
    before, waits = sum(core_seconds(server.pid).values()), []
    for _ in range(requests):
        begin = time.perf_counter()
        server.ask(http, picture)
        waits.append(time.perf_counter() - begin)
    cpu = (sum(core_seconds(server.pid).values()) - before) / requests
    begin = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(lambda _: server.ask(http, picture), range(2 * requests)))
    return 1000 * statistics.median(waits), 1000 * cpu, 2 * requests / (time.perf_counter() - begin)


@contextmanager
def _peer(command: list[str], log: Path) -> Iterator[Server]:
    """A peer on a free port until the block ends."""
    port = free_port()
    quiet = {"GOMP_SPINCOUNT": "1000", "BENTOML_DO_NOT_TRACK": "true", "LITSERVE_DISABLE_VERSION_CHECK": "1"}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, str(port)], cwd=ROOT, env=os.environ | quiet | {"PYTHONPATH": str(ROOT)}, stdout=output,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    try:
        server = Server(process.pid, f"http://127.0.0.1:{port}", _as_form)
        _await(server, process, log)
        yield server
    finally:
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(30)
        with suppress(ProcessLookupError):  # what it started may stay when it goes
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _await(server: Server, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with httpx.Client(timeout=60) as http:
                server.ask(http, noisy_png(64))
            return
        except (httpx.TransportError, AssertionError):
            time.sleep(0.5)
    raise SystemExit(f"a peer did not start:\n{log.read_text()[-3000:]}")


def _as_body(picture: bytes) -> dict[str, Any]:
    return {"content": picture, "headers": {"Content-Type": "image/png", "Prefer": "wait=120", "Accept": "image/*"}}


def _as_form(picture: bytes) -> dict[str, Any]:
    return {"files": {"image": ("image.png", picture, "image/png")}}


if __name__ == "__main__":
    typer.run(main)
