"""How much slower is a denoise request while a fine-tune trains on the same machine?

    python -m benchmarks.interference [--seconds 60] [--threads 0] [--nice 10] [--output FILE]

Starts the real service (gateway, denoise worker, fine-tune worker), times requests one after the other through HTTP
while nothing else runs, then while a fine-tune trains; prints the medians and their ratio, and how many steps a second
the training made meanwhile.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image

from tests.harness.service_process import running_service

SIDE = 512


def main() -> None:
    """Measure and print."""
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # end as an exception does, service included
    settings = {"B2S_FINETUNE_THREADS": str(options.threads), "B2S_FINETUNE_NICE": str(options.nice)}
    with tempfile.TemporaryDirectory() as folder, running_service(Path(folder), **settings) as service:
        numbers = measure(service.url, options.seconds)
    numbers |= {"cores": os.cpu_count(), "threads": options.threads, "nice": options.nice}
    print(json.dumps(numbers, indent=1))
    if options.output:
        options.output.write_text(json.dumps(numbers, indent=1) + "\n")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to time requests, alone and together")
    parser.add_argument("--threads", type=int, default=0, help="B2S_FINETUNE_THREADS")
    parser.add_argument("--nice", type=int, default=10, help="B2S_FINETUNE_NICE")
    parser.add_argument("--output", type=Path)
    return parser.parse_args()


def measure(url: str, seconds: float) -> dict[str, Any]:
    """Medians of a request's time in milliseconds, alone and beside a training."""
    image = png(noisy(0))
    with httpx.Client(base_url=url, timeout=600) as http:
        times(http, image, seconds / 6)  # warm
        alone = times(http, image, seconds)
        job = start(http)
        begin, first = time.monotonic(), steps(http, job)
        beside = times(http, image, seconds)
        rate = (steps(http, job) - first) / (time.monotonic() - begin)
        http.post(job["links"]["cancel"])
    medians = {"alone_ms": statistics.median(alone), "beside_ms": statistics.median(beside)}
    return {
        **{name: round(value, 1) for name, value in medians.items()},
        "alone_p95_ms": round(float(np.percentile(alone, 95)), 1),
        "beside_p95_ms": round(float(np.percentile(beside, 95)), 1),
        "ratio": round(medians["beside_ms"] / medians["alone_ms"], 2),
        "requests": [len(alone), len(beside)],
        "steps_per_second_beside": round(rate, 2),
    }


def times(http: httpx.Client, image: bytes, seconds: float) -> list[float]:
    """Milliseconds of denoise requests, one after the other."""
    found: list[float] = []
    end = time.monotonic() + seconds
    headers = {"Content-Type": "image/png", "Accept": "image/*"}
    while time.monotonic() < end or len(found) < 5:
        begin = time.perf_counter()
        http.post("/denoise", params={"wait": 120}, content=image, headers=headers).raise_for_status()
        found.append(1e3 * (time.perf_counter() - begin))
    return found


def start(http: httpx.Client) -> dict[str, Any]:
    """A fine-tune that trains by now."""
    files = [("images", (f"{seed}.png", png(noisy(seed)))) for seed in range(8)]
    answer = http.post("/finetune", files=files, data={"max_minutes": 60, "max_steps": 1_000_000})
    answer.raise_for_status()
    job: dict[str, Any] = answer.json()
    while steps(http, job) == 0:
        time.sleep(0.2)
    return job


def steps(http: httpx.Client, job: dict[str, Any]) -> int:
    """Training steps done."""
    now = http.get(job["links"]["self"]).json()
    if now["state"] not in ("queued", "running"):
        raise SystemExit(f"the fine-tune {now['state']}: {now['error']}")
    return int(now["progress"]["done"]) if now["phase"] == "training" else 0


def noisy(seed: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Waves with Gaussian noise of standard deviation 18."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIDE, :SIDE]
    clean = 120 + 60 * np.sin(x / (17 + seed)) * np.cos(y / (19 + seed))
    return (clean + rng.normal(0, 18, clean.shape)).clip(0, 255).astype(np.uint8)


def png(pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


if __name__ == "__main__":
    main()
