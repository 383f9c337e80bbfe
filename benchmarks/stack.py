"""Peak memory of a large stack through the whole service: `python -m benchmarks.stack --gigabytes 4.2`.

Starts the service, uploads an uncompressed float32 TIFF stack, waits for the result, compares its size, and prints the
highest resident set (VmHWM) of every process that took part: gateway, worker, its pool child, the decoder's helper.
`--strength 0` leaves the network out (with `--no-report`), for the memory of all the rest in minutes instead of hours.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import httpx
import numpy as np
import tifffile
import typer

from benchmarks.resident import children, command
from store.settings import OWN_UPLOAD_BYTES
from tests.harness.service_process import running_service

GB = 10**9


def main(
    gigabytes: Annotated[float, typer.Option(help="Decoded size of the stack.")] = 4.2,
    side: Annotated[int, typer.Option(help="Pixels of a page's side.")] = 1024,
    strength: Annotated[float, typer.Option(help="As of POST /denoise.")] = 1.0,
    report: Annotated[bool, typer.Option(help="As of POST /denoise.")] = True,
    hours: Annotated[float, typer.Option(help="Longest wait.")] = 8.0,
) -> None:
    """Measure and print."""
    pages = max(2, round(gigabytes * GB / (4 * side * side)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stack.tif"
        write_stack(path, pages, side)
        environment = {"B2S_METRICS_PORT": "0"}
        if path.stat().st_size > OWN_UPLOAD_BYTES:  # else the service runs as `make run` starts it
            environment["B2S_MAX_UPLOAD_BYTES"] = str(8 * GB)
        data = Path(folder) / "data"
        data.mkdir()
        with running_service(data, **environment) as service, httpx.Client(base_url=service.url, timeout=None) as http:
            begin = time.monotonic()
            job = send(http, path, {"strength": str(strength), "report": str(report).lower()})
            sent = time.monotonic()
            job, peaks = watch(http, job, service.process.pid, time.monotonic() + 3600 * hours)
            seconds = time.monotonic() - sent
            size = int(http.head(job["links"]["result"]).headers["content-length"])
    print(f"{pages} pages of {side} x {side} float32, {pages * side * side * 4 / GB:.2f} GB; strength {strength:g}")
    print(
        f"{job['state']}, progress {job['progress']}, upload {sent - begin:.0f} s, job {seconds:.0f} s, {size:,} bytes"
    )
    for name, peak in sorted(peaks.items(), key=lambda item: -item[1]):
        print(f"{peak / 2**20:8.0f} MiB  {name}")


def write_stack(path: Path, pages: int, side: int) -> None:
    """Poisson noise on a ramp; eight different pages, repeated."""
    rng = np.random.default_rng(0)
    ramp = np.linspace(50, 400, side, dtype=np.float32)[None, :].repeat(side, axis=0)
    different = [rng.poisson(ramp).astype(np.float32) for _ in range(8)]
    with tifffile.TiffWriter(path, bigtiff=True) as writer:
        for index in range(pages):
            writer.write(different[index % 8], metadata=None, photometric="minisblack", contiguous=False)


def send(http: httpx.Client, path: Path, options: dict[str, str]) -> dict[str, Any]:
    """Upload the file as a raw body, a piece at a time."""
    with path.open("rb") as file:
        answer = http.post("/denoise", params=options, content=iter(lambda: file.read(1 << 20), b""),
                           headers={"Content-Type": "image/tiff"})  # fmt: skip
    answer.raise_for_status()
    job: dict[str, Any] = answer.json()
    return job


def watch(http: httpx.Client, job: dict[str, Any], root: int, deadline: float) -> tuple[dict[str, Any], dict[str, int]]:
    """The ended job, and the highest resident set in bytes of each of the service's processes."""
    peaks: dict[str, int] = {}
    while time.monotonic() < deadline:
        for pid in below(root):
            peak = high_water(pid)
            name = f"{pid} {command(pid)[-60:].strip()}"
            peaks[name] = max(peaks.get(name, 0), peak)
        job = http.get(job["links"]["self"]).json()
        if job["state"] not in ("queued", "running"):
            break
        time.sleep(1)
    return job, peaks


def below(pid: int) -> list[int]:
    """A process and all its descendants."""
    return [pid, *(other for child in children(pid) for other in below(child))]


def high_water(pid: int) -> int:
    """VmHWM of a process in bytes; 0 when it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return 1024 * int(status.split("VmHWM:")[1].split()[0]) if "VmHWM:" in status else 0


if __name__ == "__main__":
    typer.run(main)
