"""Fine-tuning where neighbours share their noise: by noise of that shape, as independent noise, and with clean targets.

    python -m benchmarks.shared_noise --data DIR --ways correlated independent clean --minutes 10
    python -m benchmarks.shared_noise --data DIR --ways correlated clean --from-scratch --steps 2000

30 images of DIR/clean/bsds432 with noise of PG3 that was blurred by a Gaussian of σ = 0.7 pixel before it was added
(the noise, not the scene) and brought back to its strength; judged on Set12 with the same noise. `correlated` and
`independent` are FineTuneConfig.noise, `auto` what it chooses; `clean` trains the same network on the same images with
clean targets and noise drawn anew.
`--set sidd12` learns from six phone photographs of DIR/real/sidd12 and is judged on the other six; `clean` has targets.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from lab.evaluate import psnr
from model.arrays.normalise import Normalisation
from model.config import ObjectiveConfig, TrainConfig
from model.finetuning.finetune import FineTuneConfig, FineTuner
from model.inference.denoiser import Denoiser
from model.networks.unets import DenoiserNetwork
from model.noise.poisson_gaussian import LEVELS
from model.training.sampler import CropSampler, Pairs
from model.training.trainer import Trainer

Floats = NDArray[np.float32]
BLUR = 0.7  # pixels
IMAGES = 30


class Case(NamedTuple):
    """Noisy images (C, H, W) with their truth, to learn from and to be judged by, and the noise if it can be drawn."""

    noisy: list[NDArray[Any]]
    clean: list[NDArray[Any]]
    test: list[NDArray[Any]]
    truth: list[NDArray[Any]]
    scale: float
    draw: Callable[[Floats, np.random.Generator], Floats] | None = None


def blurred(clean: Floats, rng: np.random.Generator) -> Floats:
    """(C, H, W) with noise that neighbours share."""
    noise = LEVELS["PG3"].add(clean, rng) - clean
    rows, columns = np.meshgrid(*(np.fft.fftfreq(side) for side in noise.shape[1:]), indexing="ij")
    kernel = np.exp(-2 * (np.pi * BLUR) ** 2 * (rows**2 + columns**2))
    spread = np.fft.ifft2(np.fft.fft2(noise) * kernel).real / np.sqrt((kernel**2).mean())
    return np.asarray(clean + spread, np.float32)


def photographs(data: Path) -> Case:
    rng = np.random.default_rng(3)
    clean = [_read(p, "L") / np.float32(255) for p in sorted((data / "clean/bsds432").iterdir())[:IMAGES]]
    truth = [_read(p, "L") / np.float32(255) for p in sorted((data / "clean/set12").iterdir())]
    return Case([blurred(x, rng) for x in clean], clean, [blurred(x, rng) for x in truth], truth, 255.0, blurred)


def phone(data: Path) -> Case:
    noisy, clean = (
        [_read(data / f"real/sidd12/{k}_{i}.png", "RGB").astype(np.uint8) for i in range(12)] for k in ("NOISY", "GT")
    )
    return Case(noisy[::2], clean[::2], noisy[1::2], clean[1::2], 1.0)


def _read(path: Path, mode: str) -> Floats:
    pixels = np.asarray(Image.open(path).convert(mode), np.float32)
    return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


class CleanTargets(NamedTuple):
    """Crops of images and of their truth, stacked as channels, or of the truth alone with noise drawn anew."""

    crops: CropSampler
    case: Case
    scaling: Normalisation

    def draw(self, count: int, rng: np.random.Generator) -> Pairs:
        crops, indices = self.crops.draw(count, rng)
        clean = crops[:, crops.shape[1] // 2 :] if self.case.draw is None else crops
        noisy = crops[:, : crops.shape[1] // 2]
        if self.case.draw is not None:
            values = np.maximum(clean * self.scaling.scale + self.scaling.offset, 0)
            noisy = np.stack([self.scaling.to_unit(self.case.draw(x.astype(np.float32), rng)) for x in values])
        return Pairs(np.ascontiguousarray(noisy, np.float32), np.ascontiguousarray(clean, np.float32), indices)


def score(case: Case, network: DenoiserNetwork, tuner: FineTuner) -> float:
    """Mean PSNR in dB, peak 255, on the images that were not learned from."""
    own = {"normalisation": tuner.scaling.to_dict() | {"dtype": str(case.noisy[0].dtype)}}
    denoiser = Denoiser("tuned", network.eval(), own, "", tuner.base.device)
    found = []
    for noisy, truth in zip(case.test, case.truth, strict=True):
        image = denoiser.denoise(np.moveaxis(noisy, 0, -1).squeeze()).astype(np.float64)
        found.append(psnr(np.clip(image * case.scale, 0, 255), np.moveaxis(truth, 0, -1).squeeze() * case.scale))
    return float(np.mean(found))


def supervised(case: Case, tuner: FineTuner) -> DenoiserNetwork:
    """The fine-tuning's own training with clean targets in the place of its objective."""
    config: TrainConfig = replace(tuner.trainer.config, objective=ObjectiveConfig("n2c"))
    pixels = case.clean if case.draw else [np.concatenate(pair) for pair in zip(case.noisy, case.clean, strict=True)]
    crops = CropSampler(pixels, config.crop, scaling=tuner.scaling)
    start = None if tuner.config.from_scratch else tuner.base.network
    trainer = Trainer(config, CleanTargets(crops, case, tuner.scaling), tuner.base.device, start_from=start)
    trainer.run()
    return trainer.published()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--set", choices=("photographs", "sidd12"), default="photographs")
    parser.add_argument("--ways", nargs="+", default=["correlated", "independent", "clean"])
    parser.add_argument("--base")
    parser.add_argument("--from-scratch", action="store_true")
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    case = photographs(options.data) if options.set == "photographs" else phone(options.data)
    base = options.base or ("base-gray" if options.set == "photographs" else "base-camera")
    for way in options.ways:
        begun = time.process_time()
        config = FineTuneConfig(
            base, len(case.noisy[0]), max_minutes=options.minutes, max_steps=options.steps, threads=options.threads,
            from_scratch=options.from_scratch, method="thinning", noise="auto" if way == "clean" else way,
        )  # fmt: skip
        tuner = FineTuner(config, case.noisy)
        line: dict[str, Any] = {"way": way, "from": "none" if options.from_scratch else base}
        line["base"] = round(score(case, tuner.base.network, tuner), 2)
        if way == "clean":
            network = supervised(case, tuner)
        else:
            result = tuner.run()
            network = tuner.best_network()
            line |= {"promoted": result.promoted, "said": result.noise["said"], "steps": result.card["steps"]}
            line |= {name: result.scores[name] for name in ("gain_db", "standard_errors", "likelihood_standard_errors")}
        line["psnr"] = round(score(case, network, tuner), 2)
        print(json.dumps(line | {"cpu_minutes": round((time.process_time() - begun) / 60, 1)}), flush=True)


if __name__ == "__main__":
    main()
