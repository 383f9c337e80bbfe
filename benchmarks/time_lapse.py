"""Frames of one time lapse against single images: what fine-tuning gains from them, on a scene whose truth is known.

    python -m benchmarks.time_lapse --data DIR --noise blurred --ways single pairs --steps 1000
    python -m benchmarks.time_lapse --data DIR --noise white --ways single 5 --steps 1000

The scene is a part of a microscopy reference of DIR/real/w2s, 256 pixels a side, that drifts by 0.2 pixel a frame for
60 frames, while spots light up and fade. The noise is PG3's: `white`; `blurred` by a Gaussian of σ = 0.7 pixel before
it is added (the noise, not the scene) and brought back to its strength; or `pattern`, white beside a pattern that is
the same in every frame. A way is `none` (the base alone), `single` (frames=none), `pairs` (frames=related), `3` or `5`.
Told is the mean PSNR of every sixth frame against the truth, which no training sees.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tifffile
from numpy.typing import NDArray

from lab.evaluate import psnr
from model.finetuning.finetune import FineTuneConfig, FineTuner
from model.inference.denoiser import Denoiser
from model.noise.poisson_gaussian import LEVELS

Floats = NDArray[np.float32]
REFERENCE = "001_1.tif"
FRAMES, SIDE, DRIFT = 60, 256, (0.12, 0.16)  # pixels a frame, 0.2 in all
SPOTS, SPOT_SIGMA = 60, 1.3
BLUR = 0.7  # pixels
PATTERN = 0.05  # std
JUDGED_EVERY = 6


class TimeLapse(NamedTuple):
    """Noisy frames (N, H, W) and their truth, in [0, 1] but for the noise."""

    noisy: Floats
    truth: Floats


def time_lapse(data: Path, noise: str, seed: int = 0, frames: int = FRAMES) -> TimeLapse:
    """The time lapse with one of the noises."""
    rng = np.random.default_rng(seed)
    reference = tifffile.imread(data / "real/w2s/reference" / REFERENCE).astype(np.float64) / 255
    truth = np.stack([_drifted(reference, frame) for frame in range(frames)])
    truth = np.clip(0.05 + 0.75 * truth + _spots(frames, rng), 0, 1).astype(np.float32)
    added = LEVELS["PG3"].add(truth, rng) - truth
    if noise == "blurred":
        added = np.stack([_blurred(one) for one in added])
    elif noise == "pattern":
        added = added + rng.normal(0, PATTERN, truth.shape[1:]).astype(np.float32)
    elif noise != "white":
        raise ValueError(f"no noise {noise!r}: white, blurred or pattern")
    return TimeLapse((truth + added).astype(np.float32), truth)


def _drifted(reference: NDArray[np.float64], frame: int) -> NDArray[np.float64]:
    """The middle of the reference, moved by a phase in its spectrum, which keeps every detail."""
    rows, columns = np.meshgrid(*(np.fft.fftfreq(side) for side in reference.shape), indexing="ij")
    phase = np.exp(2j * np.pi * frame * (DRIFT[0] * rows + DRIFT[1] * columns))
    moved = np.fft.ifft2(np.fft.fft2(reference) * phase).real
    top, left = ((side - SIDE) // 2 for side in reference.shape)
    return np.asarray(moved[top : top + SIDE, left : left + SIDE], np.float64)


def _spots(frames: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Spots of light that each glow for a while around a moment of their own, (N, H, W)."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    found = np.zeros((frames, SIDE, SIDE))
    for _ in range(SPOTS):
        row, column = rng.uniform(0, SIDE, 2)
        shape = 0.35 * np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / (2 * SPOT_SIGMA**2))
        glow = np.exp(-0.5 * ((np.arange(frames) - rng.uniform(0, frames)) / rng.uniform(1, 6)) ** 2)
        found += glow[:, None, None] * shape
    return found


def _blurred(noise: Floats) -> Floats:
    """Noise of the same strength that neighbours share."""
    frequencies = np.meshgrid(*(np.fft.fftfreq(side) for side in noise.shape), indexing="ij")
    kernel = np.exp(-2 * (np.pi * BLUR) ** 2 * sum(f**2 for f in frequencies))
    blurred = np.fft.ifft2(np.fft.fft2(noise) * kernel).real
    return np.asarray(blurred / np.sqrt((kernel**2).mean()), np.float32)


def score(denoiser: Denoiser, lapse: TimeLapse) -> float:
    """Mean PSNR of some frames in dB, peak 1; the stack goes through as a whole."""
    denoised = denoiser.denoise(lapse.noisy[..., None])[..., 0]
    chosen = range(0, len(denoised), JUDGED_EVERY)
    return float(np.mean([psnr(255 * denoised[i], 255 * lapse.truth[i]) for i in chosen]))


def tuned(lapse: TimeLapse, way: str, options: argparse.Namespace, folder: Path) -> tuple[Denoiser, dict[str, Any]]:
    """The model of a fine-tune, promoted or not, and what it says of itself."""
    frames = {"single": "none", "pairs": "related"}.get(way, way)
    minutes = None if options.steps else options.minutes
    config = FineTuneConfig(
        options.base, 1, max_minutes=minutes, max_steps=options.steps, threads=options.threads,
        precision=options.precision, frames=frames, seed=options.seed,
    )  # fmt: skip
    images = list(lapse.noisy[:, None])
    tuner = FineTuner(config, images, groups=[0] * len(images), series=[list(range(len(images)))])
    result = tuner.run()
    path = folder / f"{options.noise}-{way}.safetensors"
    path.write_bytes(result.weights)
    said = {"promoted": result.promoted, "gain_db": result.scores["gain_db"], "steps": result.card["steps"]}
    return Denoiser.load(path, precision="float32"), said | {"frames": result.card["frames"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--noise", choices=("white", "blurred", "pattern"), required=True)
    parser.add_argument("--ways", nargs="+", default=["none", "single", "pairs", "5"])
    parser.add_argument("--base", default="base-gray")
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--steps", type=int, help="so many steps, however long: the same on a loaded machine")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(), help="where the models go")
    options = parser.parse_args()
    lapse = time_lapse(options.data, options.noise, options.seed)
    for way in options.ways:
        begun, said = time.process_time(), {}
        if way == "none":
            denoiser = Denoiser.load(options.base, precision="float32")
        else:
            denoiser, said = tuned(lapse, way, options, options.out)
        line = {"noise": options.noise, "way": way, "psnr": round(score(denoiser, lapse), 2), **said}
        print(json.dumps(line | {"cpu_minutes": round((time.process_time() - begun) / 60, 1)}), flush=True)


if __name__ == "__main__":
    main()
