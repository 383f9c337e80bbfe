"""The command line of the model, `python -m model --help`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from model import config, image_file, weights
from model import noise as noise_range
from model.data import Pixels, image_files, read_training_set
from model.denoiser import Denoiser, base_model_for, estimate_with_spread
from model.errors import ModelError
from model.evaluate import against_clean, against_reference
from model.export import write_onnx
from model.related import are_related
from model.session import train_in_folder
from model.trainer import StepStats, Trainer

app = typer.Typer(
    help="Blind2Sound: denoise images, and train denoisers from noisy images alone.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
screen = Console(stderr=True)


@app.callback()
def main() -> None:
    """Blind2Sound: denoise images, and train denoisers from noisy images alone."""


@app.command()
def denoise(
    source: Annotated[Path, typer.Argument(metavar="IN", help="An image, or a folder of them.")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="The file to write, or a folder.")],
    model: Annotated[str | None, typer.Option(help="A model's name or file; default: base-gray or base-rgb.")] = None,
    strength: Annotated[float, typer.Option(help="Share of the noise to take out, 0 to 1.")] = 1.0,
    normalize: Annotated[str, typer.Option(help="auto, dtype or none.")] = "auto",
    device: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = "auto",
) -> None:
    """Denoise images; size, pages, type, bit depth and transparency stay, or the file is refused."""
    files = image_files(source) if source.is_dir() else [source]
    if source.is_dir():
        target.mkdir(parents=True, exist_ok=True)
    denoisers = _Denoisers(model, device)
    for path in files:
        image = image_file.read(path)
        denoiser = denoisers.for_pixels(image.pixels)
        out, report = denoiser.denoise_with_report(image.pixels, strength=strength, normalize=normalize)
        destination = target / path.name if source.is_dir() or target.is_dir() else target
        image_file.write(destination, image.with_pixels(out))
        assert report is not None
        screen.print(f"{path.name}: alpha {report.alpha:.4g}, sigma {report.sigma:.4g} -> {destination}")
        for warning in report.warnings:
            screen.print(f"  note: {warning}")


@app.command()
def estimate(
    source: Annotated[Path, typer.Argument(metavar="IN", help="An image, or a folder of them.")],
    model: Annotated[str | None, typer.Option(help="A model's name or file.")] = None,
    normalize: Annotated[str, typer.Option(help="auto, dtype or none.")] = "auto",
    crops: Annotated[int, typer.Option(help="Crops a side: the spread is over crops x crops pieces.")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object an image.")] = False,
) -> None:
    """Estimate the Poisson-Gaussian noise: gain alpha, and sigma at the darkest brightness; their spread over crops."""
    denoisers = _Denoisers(model, "auto")
    for path in image_files(source) if source.is_dir() else [source]:
        pages = image_file.read(path).pixels
        pixels = pages[0]
        if len(pages) > 1:
            screen.print(f"{path.name}: the noise of the first of {len(pages)} pages")
        found = estimate_with_spread(denoisers.for_pixels(pixels), pixels, normalize, crops)
        if as_json:
            typer.echo(json.dumps({"file": path.name} | found))
        else:
            typer.echo(
                f"{path.name}: alpha {found['alpha']:.5f} ± {found['alpha_spread']:.5f}, "
                f"sigma {found['sigma']:.5f} ± {found['sigma_spread']:.5f}"
            )


@app.command()
def evaluate(
    model: Annotated[str, typer.Option("--weights", help="A model's name or file.")],
    images: Annotated[Path, typer.Option(help="Folder of clean images, or of noisy ones with --reference.")],
    noise: Annotated[str | None, typer.Option(help="Noise to add: PG1, PG2, PG3, blind or none.")] = None,
    reference: Annotated[Path | None, typer.Option(help="Folder of references with the same names.")] = None,
    affine: Annotated[bool, typer.Option("--affine", help="Fit a*x + b to each reference first.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object: psnr, ssim, n, seconds.")] = False,
    device: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = "auto",
) -> None:
    """Score a model by PSNR and SSIM, by the paper's protocol."""
    if (noise is None) == (reference is None):
        raise ModelError("give either --noise (clean images) or --reference (real pairs)")
    denoiser = Denoiser.load(model, device)
    if reference is not None:
        score = against_reference(denoiser, images, reference, affine=affine)
    else:
        assert noise is not None
        score = against_clean(denoiser, images, noise)
    if as_json:
        typer.echo(json.dumps(vars(score)))
    else:
        typer.echo(f"{score.psnr:.2f} dB, SSIM {score.ssim:.4f}, {score.n} images, {score.seconds:.1f} s")


@app.command()
def export(
    model: Annotated[str, typer.Option("--weights", help="A model's name or file.")],
    onnx: Annotated[
        Path, typer.Option(help="The .onnx file to write: input `noisy`, output `mean`, N×C×H×W, any size.")
    ],
) -> None:
    """Export a model for other runtimes; H and W of its input must be multiples of the network's stride."""
    denoiser = Denoiser.load(model, "cpu")
    write_onnx(denoiser.network, onnx)
    typer.echo(f"{onnx}: feed it multiples of {denoiser.network.stride} pixels in [0, 1]")


class _Denoisers:
    """Loads a model once, the base model that fits the channels when none was named."""

    def __init__(self, name: str | None, device: str) -> None:
        self.name, self.device = name, device
        self.loaded: dict[str, Denoiser] = {}

    def for_pixels(self, pixels: Pixels) -> Denoiser:
        page = pixels[len(pixels) // 2] if pixels.ndim == 4 else pixels
        channels = page.shape[-1] if page.ndim == 3 and are_related(page) else 1
        name = self.name or base_model_for(channels)
        if name not in self.loaded:
            self.loaded[name] = Denoiser.load(name, self.device)
        return self.loaded[name]


@app.command()
def train(
    images: Annotated[Path, typer.Argument(help="Folder of images: noisy ones with --noise none, else clean ones.")],
    run: Annotated[Path, typer.Argument(help="Folder of the run; a run found there is resumed.")],
    preset: Annotated[str, typer.Option(help="Network and loss: paper (as published) or fast (ours).")] = "fast",
    channels: Annotated[int, typer.Option(help="1 gray, 3 RGB, 4 packed RAW.")] = 1,
    objective: Annotated[str, typer.Option(help="blind2sound, blind2unblind or n2c (supervised).")] = "blind2sound",
    noise: Annotated[str, typer.Option(help="Noise to add: PG1, PG2, PG3, blind or none.")] = "none",
    fixed_noise: Annotated[bool, typer.Option(help="Draw the noise once an image, as a real set would.")] = False,
    steps: Annotated[int | None, typer.Option(help="Budget in steps.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Budget in minutes.")] = None,
    start_from: Annotated[str | None, typer.Option(help="Model to start with: a name or a .safetensors file.")] = None,
    batch: Annotated[int, typer.Option(help="Crops a step.")] = 4,
    crop: Annotated[int, typer.Option(help="Side of a crop in pixels.")] = 128,
    phases: Annotated[int, typer.Option(help="Masker phases a step, 1 to 16.")] = 1,
    basic_noise: Annotated[bool, typer.Option(help="The basic noise model M_B instead of M_E.")] = False,
    regulariser: Annotated[float | None, typer.Option(help="Weight of L_est; default: the preset's.")] = None,
    risk: Annotated[float | None, typer.Option(help="Weight of L_risk; default: the preset's.")] = None,
    beta: Annotated[float | None, typer.Option(help="0: likelihood as published; 1: pixels count alike.")] = None,
    lr: Annotated[float, typer.Option(help="Peak learning rate of f.")] = 1e-3,
    estimator_lr_ratio: Annotated[float, typer.Option(help="g's learning rate over f's.")] = 0.1,
    schedule: Annotated[str, typer.Option(help="cosine, or halving (the paper's).")] = "cosine",
    ema: Annotated[float, typer.Option(help="Decay of the averaged weights; 0 turns averaging off.")] = 0.999,
    gain_probability: Annotated[float, typer.Option(help="Share of crops darkened by a random gain.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    threads: Annotated[int, typer.Option(help="CPU threads; 0 uses every core.")] = 0,
    checkpoint_seconds: Annotated[float, typer.Option(help="Seconds between checkpoints.")] = 60.0,
    device: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = "auto",
    about: Annotated[
        str, typer.Option(help="Words for the model's card: which images, whose, under which terms.")
    ] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the configuration and stop.")] = False,
) -> None:
    """Train a denoiser; SIGTERM or Ctrl-C saves a checkpoint, the same command goes on with it."""
    if threads:
        torch.set_num_threads(threads)
    base = weights.read(weights.resolve(start_from)) if start_from else None
    weights_of_losses = {"regulariser": regulariser, "risk": risk, "beta": beta}
    changed: dict[str, Any] = {name: weight for name, weight in weights_of_losses.items() if weight is not None}
    settings = config.TrainConfig(
        network=base.denoiser.config if base else config.network_preset(preset, channels, objective == "n2c"),
        estimator=config.estimator_preset(preset, channels),
        objective=replace(
            config.objective_preset(preset, objective), phases=phases, enhanced_noise=not basic_noise, **changed
        ),
        noise=noise, fixed_noise=fixed_noise, steps=steps, minutes=minutes, batch=batch, crop=crop, lr=lr,
        estimator_lr_ratio=estimator_lr_ratio, schedule=schedule, ema=ema,  # type: ignore[arg-type]
        gain_probability=gain_probability, seed=seed,
    )  # fmt: skip
    if dry_run:
        typer.echo(json.dumps(settings.to_dict(), indent=2))
        return
    pictures = read_training_set(images, channels, lambda path, why: screen.print(f"left out {path.name}: {why}"))
    trainer = Trainer(settings, pictures, _device(device), base.denoiser if base else None)
    card: dict[str, Any] = {
        "trained_by": objective,
        "preset": preset,
        "noise": noise if noise != "blind" else {"alpha": noise_range.BLIND_ALPHA, "sigma": noise_range.BLIND_SIGMA},
        "images": len(pictures),
        "about": about,
        "seed": seed,
        "crops_a_step": [batch, crop, crop],
        "started_from": start_from,
        "versions": {"torch": torch.__version__},
    }
    done = _train_with_bar(trainer, run, card, checkpoint_seconds)
    screen.print(f"{'done' if done else 'stopped'} at step {trainer.step}: {run / 'weights.safetensors'}")


def _train_with_bar(trainer: Trainer, run: Path, card: dict[str, Any], checkpoint_seconds: float) -> bool:
    columns = (
        BarColumn(),
        TextColumn("{task.percentage:5.1f} %"),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=screen, refresh_per_second=2, disable=not screen.is_terminal) as bar:
        task = bar.add_task("", total=1.0)

        def show(stats: StepStats) -> None:
            bar.update(task, completed=stats.progress, description=f"step {stats.step} loss {stats.loss:.4f}")

        return train_in_folder(trainer, run, card=card, checkpoint_seconds=checkpoint_seconds, on_step=show)


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and not torch.cuda.is_available():
        raise ModelError("no CUDA device here: use --device cpu")
    return torch.device(name)
