"""The clients of `benchmarks.soak`: they send images and fine-tunes without end and look hard at what comes back."""

from __future__ import annotations

import hashlib
import json
import random
import threading
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.harness.images_of import noisy, png

SIZES = {"64": (64, 64, 8), "256": (256, 256, 5), "512": (512, 512, 2), "768x1024": (768, 1024, 1)}
"""Height, width and how often it is sent."""

CANCELED_SHARE = 0.1
PNG = b"\x89PNG\r\n\x1a\n"
DRAWN_SHARE = 0.2  # of finished jobs of which a picture is asked for
DELETED_SHARE = 0.3
PATIENCE_SECONDS = 600.0
TUNE_SETTINGS = {
    "finetune_threads": "1",
    "finetune_nice": "0",  # on a crowded machine a polite fine-tune never ends
    "checkpoint_seconds": "5",
    "min_set_pixels": "16384",
}
TUNE_STEPS = 30
TUNE_IMAGES = [png(noisy(96, 96, seed=seed)) for seed in range(8)]


@dataclass
class Findings:
    """What all clients saw; guarded by `lock`."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    counts: Counter[str] = field(default_factory=Counter)
    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    job_ids: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def count(self, what: str) -> None:
        with self.lock:
            self.counts[what] += 1

    def broken(self, remark: str) -> None:
        """A promise was broken."""
        with self.lock:
            self.counts["broken"] += 1
            self.remarks.append(remark)

    def took(self, size: str, seconds: float) -> None:
        with self.lock:
            self.seconds[size].append(seconds)

    def accepted(self, job_id: str) -> None:
        with self.lock:
            self.job_ids.append(job_id)


@dataclass(frozen=True)
class Picture:
    """An image to send, and the SHA-256 of what it gives when nothing goes wrong."""

    size: str
    data: bytes
    expected: str


def pictures() -> dict[str, bytes]:
    """One image a size."""
    return {name: png(noisy(height, width, seed=height)) for name, (height, width, _) in SIZES.items()}


class SoakClient(threading.Thread):
    """Sends one image after the other until it is told to stop."""

    def __init__(self, number: int, seed: int, addresses: list[str], found: Findings, sent: list[Picture]) -> None:
        super().__init__(name=f"client-{number}", daemon=True)
        self._rng = random.Random(f"{seed}/{number}")
        self._addresses = addresses
        self._found = found
        self._pictures = sent
        self._turn = 0
        self.over = threading.Event()

    def run(self) -> None:
        weights = [SIZES[picture.size][2] for picture in self._pictures]
        with httpx.Client(timeout=120) as self._http:
            while not self.over.is_set():
                self._turn += 1
                [picture] = self._rng.choices(self._pictures, weights)
                try:
                    self._order(picture)
                except AssertionError as broken:
                    self._found.broken(f"{self.name}: {broken}")

    def _order(self, picture: Picture) -> None:
        """Send an image, perhaps cancel it, wait for its end, and check what came of it."""
        begin = time.monotonic()
        key = f"{self.name}-{self._turn}-{self._rng.random()}"
        job = self._ask("POST", "/denoise", 202, files={"image": picture.data}, headers={"Idempotency-Key": key}).json()
        self._found.accepted(job["id"])
        canceled = self._rng.random() < CANCELED_SHARE
        if canceled:
            self._ask("POST", job["links"]["cancel"], 202, 409)
        ended = self._ended(job["links"]["self"])
        self._check_history(ended)
        if ended["state"] == "canceled" and canceled:
            self._found.count("canceled")
            return
        assert ended["state"] == "succeeded", f"{ended['id']} {ended['state']}: {ended['error']}"
        data = self._ask("GET", ended["links"]["result"], 200).content
        assert hashlib.sha256(data).hexdigest() == picture.expected, f"{ended['id']} has other bytes"
        self._found.count("succeeded")
        self._found.took(picture.size, time.monotonic() - begin)
        if self._rng.random() < DRAWN_SHARE:
            self._look(ended)
        if self._rng.random() < DELETED_SHARE:
            self._ask("DELETE", ended["links"]["self"], 204)
            self._ask("GET", f"/jobs/{ended['id']}/result", 410)
            self._found.count("deleted")

    def _ended(self, link: str) -> dict[str, Any]:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            job: dict[str, Any] = self._ask("GET", f"{link}?wait=30", 200).json()
            if job["state"] in ("succeeded", "failed", "canceled"):
                return job
        raise AssertionError(f"{link} is stuck")

    def _check_history(self, job: dict[str, Any]) -> None:
        stream = self._ask("GET", job["links"]["events"], 200).text
        data = [json.loads(line.removeprefix("data: ")) for line in stream.splitlines() if line.startswith("data: ")]
        finals = [event["state"] for event in data if event.get("state") in ("succeeded", "failed", "canceled")]
        assert finals == [job["state"]], f"{job['id']} ended as {finals}"

    def _look(self, ended: dict[str, Any]) -> None:
        """Have a picture drawn, unless the job's bytes have expired meanwhile."""
        answer = self._ask("GET", ended["links"][self._rng.choice(("preview", "report_picture"))], 200, 410)
        if answer.status_code == 200:
            assert answer.content.startswith(PNG), f"a picture of {ended['id']} is none"
            self._found.count("drawn")

    def _ask(self, method: str, path: str, *expected: int, **request: Any) -> httpx.Response:
        """Ask any gateway, again and again while one is away or says when to come back, as a good client does."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            try:
                answer = self._http.request(method, self._rng.choice(self._addresses) + path, **request)
            except httpx.TransportError:
                self._found.count("connections_broken")
                time.sleep(0.2)
                continue
            if answer.status_code in expected:
                return answer
            retry_after = answer.headers.get("retry-after")
            if answer.status_code not in (429, 503, 409) or retry_after is None:
                raise AssertionError(f"{method} {path}: {answer.status_code} {answer.text[:300]}")
            self._found.count(f"come_back_later_{answer.status_code}")
            time.sleep(float(retry_after))
        raise AssertionError(f"{method} {path}: no gateway answered for {PATIENCE_SECONDS:g} s")


class SoakTuner(SoakClient):
    """Sends one fine-tune after the other; half of them are canceled, and the models of the others deleted."""

    def _order(self, picture: Picture) -> None:
        files = [("images", (f"{number}.png", image)) for number, image in enumerate(TUNE_IMAGES)]
        key = f"{self.name}-{self._turn}-{self._rng.random()}"
        options = {"max_steps": str(TUNE_STEPS), "seed": str(self._turn)}
        job = self._ask("POST", "/finetune", 202, files=files, data=options, headers={"Idempotency-Key": key}).json()
        self._found.accepted(job["id"])
        canceled = self._rng.random() < 0.5
        if canceled:
            time.sleep(self._rng.uniform(0, 20))
            self._ask("POST", job["links"]["cancel"], 202, 409)
        ended = self._ended(job["links"]["self"])
        self._check_history(ended)
        if ended["state"] == "canceled" and canceled:
            self._found.count("finetunes_canceled")
            return
        assert ended["state"] == "succeeded", f"{ended['id']} {ended['state']}: {ended['error']}"
        self._ask("GET", f"/models/{ended['result']['model']}", 200)
        self._ask("DELETE", f"/models/{ended['result']['model']}", 204)
        self._found.count("finetunes_succeeded")
