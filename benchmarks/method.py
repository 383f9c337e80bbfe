"""Does the method work? Blind2Sound against Blind2Unblind from noisy images alone: same network, steps and seed.

    python -m benchmarks.method --data DIR --out runs/method --steps 2500   # resumes where it was stopped

The noise is drawn once an image and then fixed; no clean pixel is read in training. Prints the table and writes
`picture.png`: noisy, Blind2Unblind, Blind2Sound, clean, and the residuals.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from lab.evaluate import SEED, against_clean
from lab.files import image_files, page
from lab.run_folder import train_in_folder
from lab.training_set import read_training_set
from model.config import TrainConfig, network_preset, objective_preset
from model.inference.denoiser import Denoiser
from model.noise.poisson_gaussian import LEVELS
from model.training import sampler
from model.training.trainer import StepStats, Trainer

OBJECTIVES = ("blind2unblind", "blind2sound")


def add_training_options(parser: argparse.ArgumentParser) -> None:
    """What `train_config` reads of the command line."""
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--crop", type=int, default=96)
    parser.add_argument("--beta", type=float, default=0.0, help="weight of a pixel's likelihood by its variance")
    parser.add_argument("--visibility", type=float, nargs=2, default=(3.0, 11.0), help="Blind2Sound's first and last λ")
    parser.add_argument("--knee", type=float, default=0.4, help="share of the training during which λ keeps its start")
    parser.add_argument("--regulariser", type=float, default=0.01, help="weight of the Cramer Gaussian loss")
    parser.add_argument("--risk", type=float, default=0.0, help="weight of L_risk")
    parser.add_argument("--preset", default="fast")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=0, help="0: every core")


def train_config(options: argparse.Namespace, objective: str, level: str, phases: int = 1) -> TrainConfig:
    """The run of one objective; what the command line does not say is the same for all."""
    return TrainConfig(
        network=network_preset(options.preset, 1, residual=False),
        objective=replace(
            objective_preset(options.preset, objective), phases=phases, beta=options.beta,
            visibility_start=options.visibility[0], visibility_end=options.visibility[1],
            visibility_knee=options.knee, regulariser=options.regulariser, risk=options.risk,
        ),
        noise=level, fixed_noise=True, steps=options.steps, batch=4, crop=options.crop, seed=options.seed,
    )  # fmt: skip


def train(options: argparse.Namespace, objective: str, level: str) -> Path:
    """Train one model, or go on with it; the folder of the run."""
    folder: Path = options.out / f"{objective}-{level}"
    config = train_config(options, objective, level, options.phases)
    images = read_training_set(options.data / "clean" / "train400", 1)

    def show(stats: StepStats) -> None:
        if stats.step % 100 == 0:
            print(folder.name, json.dumps(stats.to_dict()), flush=True)

    if not train_in_folder(
        Trainer(config, sampler.of_images(config, images)),
        folder,
        card={"trained_by": objective, "noise": level},
        on_step=show,
    ):
        raise SystemExit(f"stopped; the same command goes on with {folder}")
    return folder


def picture(options: argparse.Namespace, level: str) -> None:
    """Noisy, both results and the clean image, and under them what each took out, stretched by 4 about gray."""
    clean = page(image_files(options.data / "clean" / "set12")[0])[..., 0].astype(np.float32) / 255
    noisy = LEVELS[level].add(clean, np.random.RandomState(SEED))
    shown = [noisy]
    for objective in OBJECTIVES:
        denoiser = Denoiser.load(options.out / f"{objective}-{level}" / "weights.safetensors")
        shown.append(denoiser.denoise(noisy, normalize="none"))
    shown.append(clean)
    residuals = [0.5 + 4 * (image - clean) for image in shown]
    rows = np.concatenate([np.concatenate(shown, 1), np.concatenate(residuals, 1)])
    Image.fromarray((255 * rows.clip(0, 1)).astype(np.uint8)).save(options.out / f"picture-{level}.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--phases", type=int, default=1)
    parser.add_argument("--levels", nargs="+", default=["PG1", "PG3"])
    add_training_options(parser)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    lines = []
    for level in options.levels:
        for objective in OBJECTIVES:
            folder = train(options, objective, level)
            score = against_clean(
                Denoiser.load(folder / "weights.safetensors"), options.data / "clean" / "set12", level
            )
            lines.append(f"| {level} | {objective} | {score.psnr:.2f} / {score.ssim:.3f} |")
            print(lines[-1], flush=True)
        picture(options, level)
    print("\n| noise | objective | Set12 |\n|---|---|---|\n" + "\n".join(lines))


if __name__ == "__main__":
    main()
