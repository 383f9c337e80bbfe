"""What the command line client gains over a curl loop: `python -m benchmarks.client`.

It starts the whole service on free ports, denoises 200 small files with `b2s denoise`, then the same number one after
another with curl, and prints both. On an idle machine: it says what the load was before, and refuses a count of results
that does not fit.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image

from tests.e2e.service_process import ROOT, running_service


def main(
    files: Annotated[int, typer.Option(help="How many files.")] = 200,
    side: Annotated[int, typer.Option(help="Height and width of each.")] = 64,
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
            parallel = by_b2s(service.url, folder, "b2s")
            sequential = by_curl(service.url, folder)
        made = [len(list((folder / out).glob("*.png"))) for out in ("b2s-out", "curl-out")]
        if made != [files, files]:
            raise SystemExit(f"results are missing: b2s made {made[0]} and curl {made[1]} of {files}")
    typer.echo(
        f"{files} files of {side}x{side}: b2s {parallel:.1f} s ({files / parallel:.0f}/s), curl one after another "
        f"{sequential:.1f} s ({files / sequential:.0f}/s): {sequential / parallel:.1f} times faster"
    )


def write_images(folder: Path, count: int, side: int, seed: int) -> None:
    """Noise, different in every file, so that no idempotency key repeats."""
    folder.mkdir()
    generator = np.random.default_rng(seed)
    for number in range(count):
        Image.fromarray(generator.integers(0, 255, (side, side), dtype=np.uint8)).save(folder / f"{number:04}.png")


def by_b2s(url: str, folder: Path, kind: str) -> float:
    """Seconds for the folder with one `b2s denoise`."""
    environment = {**os.environ, "B2S_URL": url, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "client", "denoise", kind, "-o", f"{kind}-out"]
    begin = time.perf_counter()
    subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begin


def by_curl(url: str, folder: Path) -> float:
    """Seconds for the folder with a shell loop over curl."""
    loop = (
        "mkdir curl-out; for f in curl/*.png; do curl -fsS -H 'Prefer: wait=60' -H 'Accept: image/*' -F image=@$f "
        f"-o curl-out/$(basename $f) {url}/denoise; done"
    )
    begin = time.perf_counter()
    subprocess.run(["bash", "-euc", loop], cwd=folder, check=True)
    return time.perf_counter() - begin


if __name__ == "__main__":
    typer.run(main)
