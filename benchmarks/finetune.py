"""Fine-tuning on noisy images alone: dB gained against minutes, and what the held-out part said of it.

    python -m benchmarks.finetune --data DIR --set w2s-0 --minutes 15
    python -m benchmarks.finetune --data DIR --set out-of-range --minutes 15
    python -m benchmarks.finetune --data DIR --set w2s-1 --control           # what clean targets would give
    python -m benchmarks.finetune --data DIR --set in-range --minutes 3      # the base is as good as can be: no gain
    python -m benchmarks.finetune --data DIR --set w2s-0 --minutes 2 --method blind2sound --from-scratch

`w2s-C`: channel C of DIR/real/w2s, trained on the first 15 noisy fields, tested on the last 5 by affine-fitted PSNR
against the mean of 400 frames. `out-of-range`: 60 images of DIR/clean/bsds432 with noise of α = 0.15, σ = 0.05 drawn
once, tested on DIR/clean/set12. `in-range`: the same at PG1. Clean images judge; training and promotion never see them,
but for `--control`: the same training with clean targets, the set's own references, or its clean images with noise
drawn anew for each crop.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import torch
from numpy.typing import NDArray
from PIL import Image

from lab.evaluate import fit_affine, psnr
from model.arrays import normalise
from model.arrays.normalise import Normalisation
from model.config import ObjectiveConfig, TrainConfig
from model.finetuning.finetune import FineTuneConfig, FineTuner
from model.inference.denoiser import Denoiser
from model.networks.unets import DenoiserNetwork
from model.noise.poisson_gaussian import LEVELS, PoissonGaussian
from model.training.sampler import CropSampler, Pairs
from model.training.trainer import Trainer

Floats = NDArray[np.float32]
Score = Callable[[Denoiser], list[float]]


@dataclass(frozen=True)
class Case:
    """Noisy images to train on, and the truth that judges.

    Attributes:
        clean: for the control: noisy image and target as two channels, or, with a `level`, the clean image alone.
        test, truth: what `score` denoises, and judges by.
    """

    training: list[NDArray[Any]]
    score: Score
    clean: list[Floats]
    test: list[NDArray[Any]]
    truth: list[Floats]
    level: PoissonGaussian | None = None


@dataclass(frozen=True)
class CleanTargets:
    """Crops of `Case.clean`, normalised by `scaling`, with the targets that they hold or by a noise drawn anew."""

    crops: CropSampler
    level: PoissonGaussian | None
    scaling: Normalisation

    def draw(self, count: int, rng: np.random.Generator) -> Pairs:
        crops, indices = self.crops.draw(count, rng)
        noisy, clean = crops[:, :1], crops[:, -1:]
        if self.level is not None:
            noisy = self.scaling.to_unit(self.level.add(clean * self.scaling.scale + self.scaling.offset, rng))
        return Pairs(np.ascontiguousarray(noisy), np.ascontiguousarray(clean), indices)


def w2s(data: Path, channel: int) -> Case:
    names = sorted(p.name for p in (data / "real/w2s/noisy").glob(f"*_{channel}.tif"))
    read = [
        (tifffile.imread(data / "real/w2s/noisy" / n), tifffile.imread(data / "real/w2s/reference" / n)) for n in names
    ]

    test = [image for image, _ in read[-5:]]
    truth = [reference.astype(np.float32) for _, reference in read[-5:]]

    def score(denoiser: Denoiser) -> list[float]:
        return [
            psnr(fit_affine(denoiser.denoise(image).astype(np.float32), target), target)
            for image, target in zip(test, truth, strict=True)
        ]

    noisy = [image for image, _ in read[:15]]
    targets = [fit_affine(reference.astype(np.float32), image.astype(np.float32)) for image, reference in read[:15]]
    pairs = [np.stack([image, target]).astype(np.float32) for image, target in zip(noisy, targets, strict=True)]
    return Case([image[None] for image in noisy], score, pairs, test, truth)


def synthetic(data: Path, level: PoissonGaussian) -> Case:
    rng = np.random.default_rng(3)
    clean = [_gray(p) for p in sorted((data / "clean/bsds432").iterdir())[:60]]
    training = [level.add(x, rng)[None] for x in clean]
    truth = [_gray(p) for p in sorted((data / "clean/set12").iterdir())]
    test = [level.add(x, rng) for x in truth]

    def score(denoiser: Denoiser) -> list[float]:
        pairs = zip(test, truth, strict=True)
        return [psnr(np.clip(denoiser.denoise(noisy), 0, 1) * 255, x * 255) for noisy, x in pairs]

    return Case(training, score, [x[None] for x in clean], test, truth, level)


def cases(data: Path, name: str) -> Case:
    if name.startswith("w2s-"):
        return w2s(data, int(name.removeprefix("w2s-")))
    return synthetic(data, PoissonGaussian(0.15, 0.05) if name == "out-of-range" else LEVELS["PG1"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--set", required=True)
    parser.add_argument("--base", default="base-gray")
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--steps", type=int, help="in the place of minutes, for a machine that other work shares")
    parser.add_argument("--method", default="auto")
    parser.add_argument("--from-scratch", action="store_true")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--every", type=float, default=2.0, help="minutes between two looks at the truth")
    parser.add_argument("--images", type=int, help="train on the first so many alone")
    parser.add_argument("--control", action="store_true", help="train supervised instead: what is there to be gained?")
    options = parser.parse_args()
    case = cases(options.data, options.set)
    if options.images:
        del case.training[options.images :]
    if options.control:
        control(case, options)
    else:
        fine_tune(case, options)


def fine_tune(case: Case, options: argparse.Namespace) -> None:
    """As the service trains; looks at the truth now and then, which the training does not."""
    config = FineTuneConfig(
        options.base, 1, max_minutes=None if options.steps else options.minutes, max_steps=options.steps,
        threads=options.threads, method=options.method, from_scratch=options.from_scratch,
    )  # fmt: skip
    tuner = FineTuner(config, case.training)
    base = case.score(tuner.base)
    print(f"{options.set}: base {np.mean(base):.2f} dB; {len(case.training)} noisy images; "
          f"{'one noise line' if tuner.lines.shared else 'a noise line an image'}", flush=True)  # fmt: skip
    looked = 0.0

    def look(point: dict[str, Any]) -> None:
        nonlocal looked
        minutes = tuner.trainer.elapsed / 60
        if point.get("score") is not None and minutes - looked >= options.every:
            looked = minutes
            _tell(minutes, tuner.trainer.step, case.score(tuned_denoiser(tuner, tuner.trainer.published())), base)

    result = tuner.run(on_point=look)
    final = tuner.best_network()
    _tell(tuner.trainer.elapsed / 60, tuner.best_step, case.score(tuned_denoiser(tuner, final)), base)
    print(json.dumps({"promoted": result.promoted, "scores": result.scores, "learning": result.learning}), flush=True)


def control(case: Case, options: argparse.Namespace) -> None:
    """The base trained on, with clean targets, by the fine-tuning's schedule."""
    torch.set_num_threads(options.threads)
    base = Denoiser.load(options.base, device="cpu")
    config = TrainConfig(
        network=base.network.config, objective=ObjectiveConfig("n2c"), minutes=options.minutes,
        batch=4, crop=96, lr=1e-4, warmup_steps=50, ema=0.99,
    )  # fmt: skip
    scaling = normalise.choose(np.concatenate([image.ravel() for image in case.training]), "auto")
    own = {"normalisation": scaling.to_dict() | {"dtype": str(case.training[0].dtype)}}
    crops = CropSampler(case.clean, config.crop, scaling=scaling)
    trainer = Trainer(config, CleanTargets(crops, case.level, scaling), start_from=base.network)
    before = case.score(base)
    looked = 0.0
    while not trainer.done:
        trainer.train_step()
        if trainer.done or trainer.elapsed >= looked + 60 * options.every:
            looked = trainer.elapsed
            network = trainer.published().eval()
            _tell(looked / 60, trainer.step, case.score(Denoiser("control", network, own, "", base.device)), before)


def tuned_denoiser(tuner: FineTuner, network: DenoiserNetwork) -> Denoiser:
    """As the service would use the model: with the set's own normalisation."""
    own = {"normalisation": tuner.scaling.to_dict() | {"dtype": str(tuner.images[0].dtype)}}
    return Denoiser("tuned", network.eval(), own, "", tuner.base.device)


def _tell(minutes: float, step: int, scores: list[float], base: list[float]) -> None:
    gains = np.array(scores) - np.array(base)
    spent = time.process_time() / 60
    print(f"{minutes:5.1f} min ({spent:.1f} of CPU, all in all), step {step}: {np.mean(scores):.2f} dB, "
          f"{gains.mean():+.2f} (least {gains.min():+.2f})", flush=True)  # fmt: skip


def _gray(path: Path) -> Floats:
    return np.asarray(Image.open(path).convert("L")).astype(np.float32) / 255


if __name__ == "__main__":
    main()
