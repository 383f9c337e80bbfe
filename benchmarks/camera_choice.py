"""How often the right model is taken for a photograph, and what a wrong one costs.

python -m benchmarks.camera_choice --images DIR [--clean DIR]

Photographs of DIR, as they are and enlarged, get noise of one kind or another; each is denoised by `base-rgb` and by
`base-camera`, and `NoiseKind.camera` chooses between the two. Those of --clean are only measured: none of them, clean
or with white noise, is to be taken for a camera's.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lab.evaluate import psnr
from lab.training_set import read_training_set
from model.inference.denoiser import Denoiser
from model.noise.noise_kind import measure
from model.synthesis import noises, scenes
from model.synthesis.camera import Camera
from model.synthesis.noises import Correlated, Noise, Nothing, PoissonGaussian
from model.synthesis.ranges import LogUniform, Mixture, Uniform

KINDS: dict[str, Noise] = {
    "independent": PoissonGaussian(LogUniform(5e-4, 0.06), Uniform(0, 0.08, 1.5)),
    "correlated": Correlated(exposure=Uniform(0.2, 1), alpha=LogUniform(1e-5, 1e-2), sigma=LogUniform(1e-3, 0.04)),
    "camera": Camera(exposure=Uniform(0.2, 1), shot=LogUniform(2e-4, 0.05)),
    "none": Nothing(),
}
WHITE = {
    "clean": (0.0, 0.0),
    "PG1": (0.01, 0.0002),
    "PG3": (0.05, 0.02),
    "weak": (0.001, 0.003),
    "sigma 0.02": (0, 0.02),
}
SIDE = 448


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--clean", type=Path)
    parser.add_argument("--count", type=int, default=30, help="images of each kind of noise")
    options = parser.parse_args()
    photographs = scenes.Photographs(read_training_set(options.images, 3))
    scene = scenes.OneOf(Mixture([(0.4, photographs), (0.6, scenes.Enlarged(photographs))]))
    models = [Denoiser.load(name, "cpu") for name in ("base-rgb", "base-camera")]
    print(
        "| noise | n | noisy | base-rgb | base-camera | chosen | the better one | wrong by over 0.3 dB |\n|"
        + "---|" * 8
    )
    for name, noise in KINDS.items():
        rows = np.array([one(scene, noise, models, np.random.default_rng((7, i))) for i in range(options.count)])
        wrong = int((rows[:, 4] - rows[:, 3] > 0.3).sum())
        print(
            f"| {name} | {len(rows)} | {' | '.join(f'{value:.2f}' for value in rows.mean(0))} | {wrong} |", flush=True
        )
    if options.clean:
        taken = false_alarms(read_training_set(options.clean, 3))
        print(", ".join(f"{name}: {count}" for name, count in taken.items()), "taken for a camera's")


def one(scene: scenes.Scene, noise: Noise, models: list[Denoiser], rng: np.random.Generator) -> list[float]:
    """PSNR noisy, by each model, as chosen, and of the better model."""
    pair = noises.EightBit()(noise(scene(SIDE, rng), rng), rng)
    noisy, clean = eight_bit(pair.noisy), eight_bit(pair.clean).astype(np.float64)
    scores = [min(60.0, psnr(model.denoise(noisy).astype(np.float64), clean)) for model in models]
    chosen = scores[int(measure(noisy).camera)]
    return [min(60.0, psnr(noisy.astype(np.float64), clean)), *scores, chosen, max(scores)]


def false_alarms(images: list[NDArray[np.uint8]]) -> dict[str, int]:
    """How many of the images are taken for a camera's, clean and with white noise of several levels."""
    found = dict.fromkeys(WHITE, 0)
    for index, image in enumerate(images):
        rng = np.random.default_rng(index)
        for name, (alpha, sigma) in WHITE.items():
            level = image / 255
            noisy = (alpha * rng.poisson(level / alpha) if alpha else level) + sigma * rng.standard_normal(image.shape)
            found[name] += measure(eight_bit(noisy)).camera
    return found


def eight_bit(image: NDArray[np.floating]) -> NDArray[np.uint8]:
    """(C, H, W) in [0, 1] to (H, W, C)."""
    return np.ascontiguousarray(np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8).transpose(1, 2, 0))


if __name__ == "__main__":
    main()
