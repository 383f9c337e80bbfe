"""Debian's Prometheus and its kind, run for a test."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.docker.queries import ROOT
from tests.harness.ports import free_port

PATIENCE_SECONDS = 90.0

needs_prometheus = pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="no prometheus here (Debian: apt install)"
)


def running_prometheus(folder: Path, config: Mapping[str, Any], *options: str) -> AbstractContextManager[httpx.Client]:
    """A Prometheus with this configuration and its data in `folder`, from the moment that it is ready."""
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    address = f"127.0.0.1:{free_port()}"
    command = [
        "prometheus", f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'tsdb'}",
        f"--web.listen-address={address}", "--log.level=error", *options,
    ]  # fmt: skip
    return running(command, f"http://{address}")


@contextmanager
def running(command: list[str], url: str) -> Iterator[httpx.Client]:
    """A program, from the moment that it says it is ready."""
    process = subprocess.Popen(command, cwd=ROOT)
    try:
        with httpx.Client(base_url=url, timeout=60) as client:
            until(lambda: ready(client))
            yield client
    finally:
        process.terminate()
        process.wait()


def ready(client: httpx.Client) -> bool:
    try:
        return client.get("/-/ready").status_code == 200
    except httpx.TransportError:
        return False


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, condition
        time.sleep(0.1)
