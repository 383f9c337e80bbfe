"""CPU a single job costs in all processes, against another checkout: `python -m benchmarks.job_cost --against DIR`.

Both services run at once and take turns, so that a shared machine's mood strikes both; the ratio is what counts. Each
request waits for its image, as `POST /denoise?wait=` does, with the report that is made by default.
"""

import io
import json
import statistics
import tempfile
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import httpx
import numpy as np
import typer
from PIL import Image

from benchmarks.core_time import core_seconds
from tests.harness.service_process import ROOT, Service, running_service

WARM_UP = 5
WAIT = {"Content-Type": "image/png", "Prefer": "wait=120"}


def main(
    against: Annotated[Path, typer.Option(help="Checkout to compare this one with.")],
    jobs: Annotated[int, typer.Option(help="Jobs a round.")] = 40,
    rounds: Annotated[int, typer.Option(help="Rounds of each service and size.")] = 5,
    sides: Annotated[str, typer.Option(help="Sides of the images in pixels.")] = "64,512",
    drawn: Annotated[bool, typer.Option(help="Fetch report.png of every job, too.")] = False,
) -> None:
    """Measure and print."""
    with ExitStack() as stack:
        services: dict[str, Service] = {}
        for name, checkout in (("before", against), ("after", ROOT)):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            services[name] = stack.enter_context(running_service(folder, checkout.resolve()))
        for side in map(int, sides.split(",")):
            typer.echo(json.dumps({"side": side, "drawn": drawn} | compared(services, side, jobs, rounds, drawn)))


def compared(services: dict[str, Service], side: int, jobs: int, rounds: int, drawn: bool) -> dict[str, Any]:
    """Medians over the rounds, in milliseconds of CPU a job, by service and by the role of the process."""
    picture = noisy_png(side)
    for service in services.values():
        run(service, picture, WARM_UP, drawn)
    spent: dict[str, list[Counter[str]]] = {name: [] for name in services}
    for _ in range(rounds):
        for name, service in services.items():
            begin = core_seconds(service.process.pid)
            run(service, picture, jobs, drawn)
            spent[name].append(core_seconds(service.process.pid) - begin)
    numbers: dict[str, Any] = {}
    totals = {name: [1000 * sum(round_.values()) / jobs for round_ in found] for name, found in spent.items()}
    for name, found in spent.items():
        roles = sorted({role for round_ in found for role in round_})
        medians = {role: statistics.median(1000 * round_[role] / jobs for round_ in found) for role in roles}
        numbers[name] = {role: round(value, 1) for role, value in medians.items() if value >= 0.05}
        numbers[name]["all"] = round(statistics.median(totals[name]), 1)
    ratios = [after / before for before, after in zip(totals["before"], totals["after"], strict=True)]
    return numbers | {"after_over_before": round(statistics.median(ratios), 3)}


def run(service: Service, picture: bytes, jobs: int, drawn: bool) -> None:
    """So many jobs, one after the other."""
    with httpx.Client(base_url=service.url, timeout=150) as http:
        for _ in range(jobs):
            answer = http.post("/denoise", content=picture, headers=WAIT)
            assert answer.status_code == 200, answer.text
            if drawn:
                assert http.get(answer.json()["links"]["report_picture"]).status_code == 200


def noisy_png(side: int) -> bytes:
    """A gray PNG of a pattern with Poisson-Gaussian noise."""
    y, x = np.mgrid[:side, :side]
    clean = 0.5 + 0.3 * np.sin(x / 37) * np.cos(y / 23)
    rng = np.random.default_rng(0)
    noisy = 0.01 * rng.poisson(clean / 0.01) + rng.normal(0, 0.02, clean.shape)
    buffer = io.BytesIO()
    Image.fromarray(np.clip(noisy * 255, 0, 255).astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


if __name__ == "__main__":
    typer.run(main)
