"""Odd and hostile files through the whole service: `python -m benchmarks.odd DIR [--strength 1]`.

Sends every file of the folder, one after the other, and waits for its end; before them one good image, so that the
worker's start is not counted as a file's time. Prints how many came to each end, the slowest files with what the time
went into, and ends with status 1 if an answer was a 5xx, a job failed as an internal error, or a file took over 20 s.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer

from tests.harness.service_process import running_service

HANG = 20.0
EXAMPLE = Path(__file__).parents[1] / "examples" / "noisy.png"


@dataclass(frozen=True)
class Outcome:
    """One file's end: `kind` is succeeded, failed:CODE or an HTTP status; the job's own seconds by stage."""

    name: str
    kind: str
    seconds: float
    timings: dict[str, float] = field(default_factory=dict)

    @property
    def bad(self) -> bool:
        return self.seconds > HANG or self.kind.startswith("5") or self.kind == "failed:internal_error"


def main(
    folder: Annotated[Path, typer.Argument(help="Every file in it is sent.")],
    strength: Annotated[float, typer.Option(help="As of POST /denoise; 0 leaves the network out.")] = 1.0,
    report: Annotated[bool, typer.Option(help="As of POST /denoise.")] = True,
    show: Annotated[int, typer.Option(help="How many of the slowest files to print.")] = 5,
) -> None:
    """Measure and print."""
    options = {"strength": str(strength), "report": str(report).lower(), "wait": "60"}
    with (
        tempfile.TemporaryDirectory() as data,
        running_service(Path(data)) as service,
        httpx.Client(base_url=service.url, timeout=120) as http,
    ):
        print(f"the worker's start: {send(http, EXAMPLE, 'warm up', options).seconds:.1f} s")
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        outcomes = [send(http, path, str(path.relative_to(folder)), options) for path in files]
    for kind, count in Counter(outcome.kind for outcome in outcomes).most_common():
        print(f"{count:5}  {kind}")
    for outcome in sorted(outcomes, key=lambda outcome: -outcome.seconds)[:show]:
        stages = ", ".join(f"{stage} {seconds:.2f}" for stage, seconds in outcome.timings.items())
        print(f"{outcome.seconds:7.2f} s  {outcome.name}  {outcome.kind}  {stages}")
    sys.exit(int(any(outcome.bad for outcome in outcomes)))


def send(http: httpx.Client, path: Path, name: str, options: dict[str, str]) -> Outcome:
    """Upload one file and wait for its job's end."""
    begin = time.monotonic()
    answer = http.post(
        "/denoise", params=options, content=path.read_bytes(), headers={"Content-Type": "application/octet-stream"}
    )
    if answer.status_code not in (200, 202):
        return Outcome(name, str(answer.status_code), time.monotonic() - begin)
    job: dict[str, Any] = answer.json()
    while job["state"] in ("queued", "running"):
        time.sleep(0.1)
        job = http.get(job["links"]["self"]).json()
    kind = job["state"] + (f":{job['error']['code']}" if job["error"] else "")
    return Outcome(name, kind, time.monotonic() - begin, job.get("timings") or {})


if __name__ == "__main__":
    typer.run(main)
