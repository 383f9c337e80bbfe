"""What the service costs on top of the model: `python -m benchmarks.service`, or `make bench`.

It starts the whole service on free ports (or uses --url), and prints

(a) latency: the median `POST /denoise` with `Prefer: wait` of a 512x512 gray PNG, less decode + model + encode of the
    same bytes in one process of this run;
(b) throughput: 500 images from 64 clients at once, over what one process alone gives on the same cores;
(c) CPU time an image under that load, by the role of the process (not with --url).
"""

import asyncio
import io
import json
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import httpx
import numpy as np
import typer
from PIL import Image

from benchmarks.core_time import core_seconds
from tests.harness.service_process import running_service

SIDE = 512
WARM_UP = 5
PAUSE = 0.01  # seconds between two turns, so that no thread of the last one still spins


def main(
    repeats: Annotated[int, typer.Option(help="Requests for (a).")] = 50,
    images: Annotated[int, typer.Option(help="Images for (b).")] = 500,
    clients: Annotated[int, typer.Option(help="Clients at once for (b).")] = 64,
    report: Annotated[bool, typer.Option(help="With the noise report, as the service does by default.")] = True,
    url: Annotated[str | None, typer.Option(help="A running service; default: start one.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure and print."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # end as an exception does, service included
    picture = noisy_png()
    with tempfile.TemporaryDirectory() as folder, _service(url, Path(folder)) as (address, pid):
        bare, latency = time_in_turns(address, picture, repeats, report)
        begin = core_seconds(pid) if pid else Counter()
        load = asyncio.run(run_load(address, picture, images, clients, report))
        spent = core_seconds(pid) - begin if pid else Counter()
        again, _ = time_in_turns(address, picture, repeats, report)
    # The load is compared with the mean of what was measured before and after it.
    before, bare = bare, {name: (seconds + again[name]) / 2 for name, seconds in bare.items()}
    numbers = {
        "report": report,
        "bare_ms": round(1000 * before["whole"], 1),
        "bare_model_ms": round(1000 * before["model"], 1),
        "request_ms": round(1000 * latency, 1),
        "overhead_ms": round(1000 * (latency - before["whole"]), 1),
        "images": images,
        "clients": clients,
        "errors": load["errors"],
        "lost": load["lost"],
        "images_per_second": round(images / load["seconds"], 2),
        "bare_images_per_second": round(1 / bare["whole"], 2),
        "bare_model_images_per_second": round(1 / bare["model"], 2),
        "share_of_bare": round(images / load["seconds"] * bare["whole"], 3),
        "share_of_bare_model": round(images / load["seconds"] * bare["model"], 3),
        "core_ms_an_image": {role: round(1000 * seconds / images, 1) for role, seconds in spent.most_common()},
    }
    typer.echo(json.dumps(numbers) if as_json else _table(numbers))
    if load["errors"] or load["lost"]:
        raise typer.Exit(1)


def noisy_png() -> bytes:
    """A 512x512 gray PNG of a pattern with Poisson-Gaussian noise."""
    y, x = np.mgrid[:SIDE, :SIDE]
    clean = 0.5 + 0.3 * np.sin(x / 37) * np.cos(y / 23)
    generator = np.random.default_rng(0)
    noisy = 0.01 * generator.poisson(clean / 0.01) + generator.normal(0, 0.02, clean.shape)
    buffer = io.BytesIO()
    Image.fromarray(np.clip(noisy * 255, 0, 255).astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def time_in_turns(url: str, picture: bytes, repeats: int, report: bool) -> tuple[dict[str, float], float]:
    """Median seconds in this process (`whole` is decode + model + encode, `model` the model alone), and of a request.

    They take turns, because a shared machine's speed changes by half within a minute.
    """
    from images.decode import decode
    from images.encode import encode
    from images.limits import Limits
    from model import Denoiser

    denoiser = Denoiser.load("base-gray")
    limits = Limits()
    pixels = decode(picture, limits).pixels

    def whole() -> None:
        decoded = decode(picture, limits)
        made, _ = denoiser.denoise_with_report(decoded.pixels, report=report)
        encode(decoded, made)

    with httpx.Client(base_url=url, timeout=120) as http:

        def request() -> None:
            answer = http.post("/denoise", **_request(picture, report))
            assert answer.status_code == 200, answer.text
            assert answer.headers["content-type"] == "image/png"

        calls = {"whole": whole, "model": lambda: denoiser.denoise_with_report(pixels, report=report), "url": request}
        times: dict[str, list[float]] = {name: [] for name in calls}
        for _ in range(WARM_UP + repeats):
            for name, call in calls.items():
                begin = time.perf_counter()
                call()
                times[name].append(time.perf_counter() - begin)
                time.sleep(PAUSE)
    medians = {name: statistics.median(found[WARM_UP:]) for name, found in times.items()}
    return medians, medians.pop("url")


async def run_load(url: str, picture: bytes, images: int, clients: int, report: bool) -> dict[str, Any]:
    """Seconds, errors and lost jobs of `images` requests from `clients` that each send the next when one comes back."""
    left = iter(range(images))
    errors: list[str] = []
    jobs: set[str] = set()

    async def client(http: httpx.AsyncClient) -> None:
        for _ in left:
            job, problem = await fetch(http, picture, report)
            jobs.add(job)
            if problem:
                errors.append(problem)
                typer.echo(problem, err=True)

    limits = httpx.Limits(max_connections=clients, max_keepalive_connections=clients)
    async with httpx.AsyncClient(base_url=url, timeout=600, limits=limits) as http:
        begin = time.perf_counter()
        await asyncio.gather(*(client(http) for _ in range(clients)))
        seconds = time.perf_counter() - begin
    return {"seconds": seconds, "errors": len(errors), "lost": images - len(errors) - len(jobs)}


async def fetch(http: httpx.AsyncClient, picture: bytes, report: bool) -> tuple[str, str]:
    """One image there and back, waiting again where a wait was not enough: the job's id, and what went wrong or ""."""
    answer = await http.post("/denoise", **_request(picture, report))
    while answer.headers["content-type"] == "application/json":  # the job, not yet the image
        job = answer.json()
        if job["state"] in ("failed", "canceled"):
            return job["id"], f"{job['id']} {job['state']}: {job['error']}"
        link = job["links"]["result"] or f"{job['links']['self']}?wait=60"
        answer = await http.get(link)
    if answer.headers.get("content-type") != "image/png":
        return "", f"{answer.status_code}: {answer.text[:300]}"
    return answer.headers["b2s-job-id"], ""


@contextmanager
def _service(url: str | None, folder: Path) -> Iterator[tuple[str, int | None]]:
    """The address of a running service, and the process that started it if that was here."""
    if url is not None:
        yield url, None
        return
    with running_service(folder) as service:
        yield service.url, service.process.pid


def _request(picture: bytes, report: bool) -> dict[str, Any]:
    return {
        "content": picture,
        "params": {"report": str(report).lower()},
        "headers": {"Content-Type": "image/png", "Prefer": "wait=120", "Accept": "image/*"},
    }


def _table(n: dict[str, Any]) -> str:
    return (
        f"(a) one {SIDE}x{SIDE} gray PNG, median: {n['request_ms']} ms over HTTP, {n['bare_ms']} ms in one process "
        f"(model alone {n['bare_model_ms']} ms): the service costs {n['overhead_ms']} ms\n"
        f"(b) {n['images']} images from {n['clients']} clients: {n['images_per_second']} images/s, "
        f"{n['errors']} errors, {n['lost']} lost; one process gives {n['bare_images_per_second']} images/s, "
        f"its model alone {n['bare_model_images_per_second']}: "
        f"{100 * n['share_of_bare']:.0f} % of the process, {100 * n['share_of_bare_model']:.0f} % of the model\n"
        f"(c) CPU time an image, ms: {', '.join(f'{role} {ms}' for role, ms in n['core_ms_an_image'].items())}"
    )


if __name__ == "__main__":
    typer.run(main)
