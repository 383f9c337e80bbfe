"""Headers are looked at two at a time, and nothing else waits for them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from images.headers import bmp
from images.info import ImageInfo
from images.limits import Limits
from images.source import Source
from service.intake.probes import AT_A_TIME
from tests.harness.gateway import Running, running_gateway


def bitmap() -> bytes:
    buffer = BytesIO()
    Image.new("L", (8, 8)).save(buffer, "BMP")
    return buffer.getvalue()


class Held:
    """A parser that takes as long as the test wants."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.at_once = self.most = 0
        self._lock = threading.Lock()
        self._read = bmp.read

    def read(self, source: Source, limits: Limits) -> ImageInfo:
        with self._lock:
            self.at_once += 1
            self.most = max(self.most, self.at_once)
        assert self.go_on.wait(30)
        with self._lock:
            self.at_once -= 1
        return self._read(source, limits)


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Running]:
    with running_gateway(tmp_path) as running:
        yield running


def test_key_checks_and_downloads_do_not_wait_for_probes(gateway: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    done = gateway.done()
    held = Held()
    monkeypatch.setattr(bmp, "read", held.read)
    dataset = gateway.http.post("/datasets").json()["id"]
    with ThreadPoolExecutor(60) as pool:
        posts = [pool.submit(gateway.http.post, "/denoise", files={"image": bitmap()}, timeout=60) for _ in range(40)]
        posts += [pool.submit(gateway.http.post, "/finetune", files={"images": bitmap()}, timeout=60) for _ in range(5)]
        posts += [
            pool.submit(gateway.http.put, f"/datasets/{dataset}/images/{n}.bmp", content=bitmap(), timeout=60)
            for n in range(5)
        ]
        try:
            deadline = time.monotonic() + 30
            while held.at_once < AT_A_TIME:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            for path in ("/livez", "/jobs", f"/jobs/{done['id']}", f"/jobs/{done['id']}/result", "/usage"):
                assert gateway.http.get(path).status_code == 200, path
            assert held.at_once == AT_A_TIME and not any(post.done() for post in posts)
        finally:
            held.go_on.set()
        assert {post.result().status_code for post in posts} <= {201, 202}
    assert held.most == AT_A_TIME
