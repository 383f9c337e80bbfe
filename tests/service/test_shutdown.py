"""A stopping gateway: nobody who waits holds it up, and nobody is left without an answer."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from store.database import connect
from store.migrate import upgrade
from store.settings import Settings
from tests.harness.gateway import png
from tests.harness.ports import free_port

ROOT = Path(__file__).parents[2]


@pytest.fixture
def process(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`python -m service` as a process of its own, and its address."""
    upgrade(connect(Settings(data_dir=tmp_path).database))
    port = free_port()
    environment = {
        "PATH": os.environ["PATH"], "PORT": str(port), "B2S_DATA_DIR": str(tmp_path), "TMPDIR": str(tmp_path),
        "B2S_REDIS_URL": f"redis://127.0.0.1:{free_port()}/0",
    }  # fmt: skip
    with subprocess.Popen(
        [sys.executable, "-m", "service"], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    ) as running:
        url = f"http://127.0.0.1:{port}"
        try:
            await_answer(running, url)
            yield running, url
        finally:
            running.kill()


def await_answer(process: subprocess.Popen[str], url: str) -> None:
    while True:
        assert process.poll() is None
        try:
            httpx.get(f"{url}/livez")
            return
        except httpx.TransportError:
            time.sleep(0.05)


def test_sigterm_answers_those_who_wait_and_ends(process: tuple[subprocess.Popen[str], str]) -> None:
    running, url = process
    with ThreadPoolExecutor() as pool, httpx.Client(base_url=url, timeout=60) as http:
        job = http.post("/denoise", files={"image": png()}).json()["id"]
        waiting = pool.submit(http.post, "/denoise?wait=60", files={"image": png()})
        stream = pool.submit(http.get, f"/jobs/{job}/events")
        while "b2s_waiting_requests 2.0" not in http.get("/metrics").text:
            time.sleep(0.05)
        running.send_signal(signal.SIGTERM)
        assert waiting.result(timeout=120).status_code == 202
        assert "queued" in stream.result(timeout=120).text
    assert running.wait(timeout=120) in (0, -signal.SIGTERM)
    assert running.stdout is not None and "Traceback" not in running.stdout.read()


def memory(process: subprocess.Popen[str]) -> int:
    """Bytes that the process holds."""
    shown = subprocess.run(["ps", "-o", "rss=", "-p", str(process.pid)], capture_output=True, text=True, check=True)
    return int(shown.stdout) * 1024


@pytest.mark.parametrize("way", ["raw", "form"])
def test_memory_stays_flat_under_large_uploads(process: tuple[subprocess.Popen[str], str], way: str) -> None:
    running, url = process
    image = png() + bytes(60_000_000)
    before = memory(running)
    with httpx.Client(base_url=url, timeout=60) as http:
        for _ in range(4):
            if way == "raw":
                answer = http.post("/denoise", content=image, headers={"Content-Type": "image/png"})
            else:
                answer = http.post("/denoise", files={"image": image})
            assert answer.status_code == 202
            assert memory(running) - before < 90_000_000
