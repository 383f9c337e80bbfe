"""The whole service as `make run` starts it, on free ports over an empty folder."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from store.blobs import Blobs
from tests.harness.ports import free_port

ROOT = Path(__file__).parents[2]
START_SECONDS = 300.0
STOP_SECONDS = 120.0


@dataclass(frozen=True)
class Service:
    """A running service."""

    url: str
    process: subprocess.Popen[bytes]
    data_dir: Path
    log: Path
    blobs: Blobs


@contextmanager
def running_service(data_dir: Path, checkout: Path = ROOT, **environment: str) -> Iterator[Service]:
    """Run `python -m launch` of a checkout until the block ends, as Ctrl-C ends it."""
    port = free_port()
    own = {
        "PORT": str(port),
        "B2S_DATA_DIR": str(data_dir),
        "B2S_METRICS_PORT": str(free_port()),
        "B2S_FINETUNE_METRICS_PORT": str(free_port()),
        "B2S_COURIER_METRICS_PORT": str(free_port()),
        "PYTHONUNBUFFERED": "1",
    }
    log = data_dir / "service.log"
    inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "launch"], cwd=checkout, env=inherited | own | environment, stdout=output,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    try:
        blobs = Blobs((data_dir.resolve() / "blobs").as_uri())
        service = Service(f"http://127.0.0.1:{port}", process, data_dir, log, blobs)
        _await_ready(service)
        yield service
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(STOP_SECONDS)


def _await_ready(service: Service) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        assert service.process.poll() is None, service.log.read_text()
        try:
            if httpx.get(f"{service.url}/readyz").json()["status"] == "ok":
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise AssertionError(f"the service did not get ready:\n{service.log.read_text()}")
