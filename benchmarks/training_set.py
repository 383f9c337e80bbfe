"""Peak memory of a fine-tune on a set far larger than memory: validated, unpacked to disk and trained on.

    python -m benchmarks.training_set --gigabytes 20 --steps 300 [--folder DIR]

The set's files, uncompressed 16-bit TIFFs of 4096², are made when they are fetched, each with its own pixels, so that
the disk holds the set once and not twice. Prints the process's and its decoder's largest resident sets; mapped pages of
the set count, although the system may drop them at any time.
"""

from __future__ import annotations

import argparse
import io
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from benchmarks.resident import children
from images.archive import ArchiveLimits
from images.limits import Limits
from model.finetuning.finetune import FineTuneConfig, FineTuner
from store.blobs import Blobs
from store.training_file import TrainingFile
from worker.training_set import Gathering

SIDE = 4096
HEADER = 1 << 12  # bytes a TIFF has besides its pixels, at most


class MadeUp(Blobs):
    """A store whose blobs are drawn from a number: Poisson noise on a scene, shifted by the number."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder.as_uri())
        rng = np.random.default_rng(0)
        rows, columns = np.mgrid[:SIDE, :SIDE] / 97.0
        self._image: NDArray[np.uint16] = rng.poisson(400 + 300 * np.sin(rows) * np.cos(columns)).astype(np.uint16)

    def stream(self, key: str, *args: Any, **options: Any) -> Iterator[bytes]:
        file = io.BytesIO()
        tifffile.imwrite(file, np.roll(self._image, int(key), axis=1))
        yield file.getvalue()


def peak_mib(pid: int | str) -> float:
    """VmHWM of a process, in MiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=20.0)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--folder", type=Path, help="where the set lies while it is trained on; needs the room")
    options = parser.parse_args()
    bytes_each = 2 * SIDE * SIDE
    count = round(options.gigabytes * 1e9 / bytes_each)
    files = [TrainingFile(f"{i}.tif", str(i), bytes_each + HEADER, SIDE * SIDE, "") for i in range(count)]
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        started = time.monotonic()
        limits = ArchiveLimits(count, count * bytes_each, bytes_each)
        gathering = Gathering(MadeUp(folder), folder, Limits(max_bytes=1 << 30, max_pixels=1 << 28), limits)
        gathering.add_all(files, lambda done: None)
        found = gathering.finish(0)
        validated = time.monotonic() - started
        decoder = [round(peak_mib(child)) for child in children(os.getpid())]
        assert found.kept == count, found.verdicts[0]
        tuner = FineTuner(FineTuneConfig("base-gray", 1, None, options.steps), found.images, found.release, found.files)
        tuner.run(on_point=lambda point: found.release())
        print(f"{count} files, {count * bytes_each / 1e9:.1f} GB: validated in {validated:.0f} s, "
              f"{tuner.trainer.step} steps in {tuner.trainer.elapsed:.0f} s; "
              f"peak {peak_mib('self'):.0f} MiB, decoder {decoder} MiB")  # fmt: skip


if __name__ == "__main__":
    main()
