"""Peak memory of denoising a large image: `python -m benchmarks.memory --megapixels 100`.

Prints the process's largest resident set (ru_maxrss), input and output arrays included.
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np

from model.inference.denoiser import Denoiser


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megapixels", type=int, default=100)
    parser.add_argument("--dtype", default="uint16")
    parser.add_argument("--channels", type=int, default=1, choices=(1, 3))
    options = parser.parse_args()
    side = int((options.megapixels * 1e6) ** 0.5)
    shape = (side, side) if options.channels == 1 else (side, side, options.channels)
    rows = np.random.default_rng(0).poisson(200, (512, *shape[1:])).astype(options.dtype)
    image = np.concatenate([rows] * (side // 512 + 1))[:side]
    denoiser = Denoiser.load("base-gray" if options.channels == 1 else "base-rgb", "cpu")
    started = time.perf_counter()
    out, report = denoiser.denoise_with_report(image)
    seconds = time.perf_counter() - started
    assert out.shape == image.shape and report is not None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{image.shape} {image.dtype}: peak {peak:.0f} MiB, {seconds:.0f} s, {side * side / 1e6 / seconds:.2f} MP/s")


if __name__ == "__main__":
    main()
