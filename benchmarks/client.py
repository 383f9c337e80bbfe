"""What the command line client gains over a curl loop: `python -m benchmarks.client`.

It starts the whole service on free ports, denoises 200 small files with `b2s denoise`, then the same number one after
another with curl, and prints both; with `--no-curl` the first alone, as for 1,000 files. Times are an idle machine's
only if it is idle: the load before is printed. CPU time a file, by process, says the same on a busy one, but for shared
caches. A count of results that does not fit is refused.
"""

import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image

from benchmarks.core_time import core_seconds
from tests.harness.service_process import ROOT, running_service


@dataclass(frozen=True)
class Cost:
    """What a number of files took: seconds, and CPU seconds by process (`client` is b2s, or bash with its curls)."""

    seconds: float
    cores: Counter[str]

    def a_file(self, files: int) -> str:
        """In milliseconds a file, in words."""
        shares = ", ".join(f"{role} {1000 * spent / files:.1f}" for role, spent in self.cores.most_common() if spent)
        total = 1000 * self.cores.total() / files
        return f"{1000 * self.seconds / files:.1f} ms a file; of CPU time {total:.1f}: {shares}"


def main(
    files: Annotated[int, typer.Option(help="How many files.")] = 200,
    side: Annotated[int, typer.Option(help="Height and width of each.")] = 64,
    curl: Annotated[bool, typer.Option(help="Run the curl loop, too.")] = True,
) -> None:
    """Measure and print."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # end as an exception does, service included
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for seed, kind in enumerate(("warm", "b2s", "curl")):
            write_images(folder / kind, 5 if kind == "warm" else files, side, seed)
        with running_service(folder) as service:
            by_b2s(service.url, folder, "warm")
            typer.echo(f"load average before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
            pid = service.process.pid
            parallel = cost(pid, lambda: by_b2s(service.url, folder, "b2s"))
            typer.echo(f"b2s: {parallel.a_file(files)}")
            require_results(folder / "b2s-out", files)
            if not curl:
                return
            sequential = cost(pid, lambda: by_curl(service.url, folder))
            typer.echo(f"curl: {sequential.a_file(files)}")
            require_results(folder / "curl-out", files)
    typer.echo(
        f"{files} files of {side}x{side}: b2s {parallel.seconds:.1f} s ({files / parallel.seconds:.0f}/s), curl one "
        f"after another {sequential.seconds:.1f} s ({files / sequential.seconds:.0f}/s): "
        f"{sequential.seconds / parallel.seconds:.1f} times faster"
    )


def require_results(folder: Path, files: int) -> None:
    """End with words if some are missing."""
    made = len(list(folder.glob("*.png")))
    if made != files:
        raise SystemExit(f"results are missing: {made} of {files} in {folder.name}")


def cost(pid: int, run: Callable[[], None]) -> Cost:
    """What `run` takes of this machine, with the service whose launcher is `pid`."""
    before, mine, begin = core_seconds(pid), children_seconds(), time.perf_counter()
    run()
    seconds = time.perf_counter() - begin
    cores = core_seconds(pid) - before  # of those that ended meanwhile nothing counts
    cores["client"] = children_seconds() - mine
    return Cost(seconds, cores)


def children_seconds() -> float:
    """CPU seconds of the processes that this one started and saw end."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def write_images(folder: Path, count: int, side: int, seed: int) -> None:
    """Noise, different in every file, so that no idempotency key repeats."""
    folder.mkdir()
    generator = np.random.default_rng(seed)
    for number in range(count):
        Image.fromarray(generator.integers(0, 255, (side, side), dtype=np.uint8)).save(folder / f"{number:04}.png")


def by_b2s(url: str, folder: Path, kind: str) -> None:
    """Denoise the folder with one `b2s denoise`."""
    environment = {**os.environ, "B2S_URL": url, "PYTHONPATH": str(ROOT / "client" / "src")}
    command = [sys.executable, "-m", "b2s_client", "denoise", kind, "-o", f"{kind}-out"]
    subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)


def by_curl(url: str, folder: Path) -> None:
    """Denoise the folder with a shell loop that starts nothing but curl."""
    loop = (
        "mkdir curl-out; for f in curl/*.png; do curl -fsS -H 'Prefer: wait=60' -H 'Accept: image/*' -F image=@$f "
        f"-o curl-out/${{f##*/}} {url}/denoise; done"
    )
    subprocess.run(["bash", "-euc", loop], cwd=folder, check=True)


if __name__ == "__main__":
    typer.run(main)
