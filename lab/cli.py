"""The command line, `python -m lab --help`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from images.note import compose
from lab import estimates, files, raw_sets, tables
from lab.choice import Denoisers
from lab.evaluate import against_clean, against_reference
from lab.export import write_onnx
from lab.files import Pixels
from lab.reproduce import METHODS, Budget, Cell, run
from lab.run_folder import train_in_folder
from lab.training_set import read_training_set
from model import config
from model.arrays.missing import find
from model.errors import ModelError
from model.inference.backend import device_named
from model.inference.denoiser import Denoiser
from model.inference.spread import estimate_with_spread
from model.networks import weights
from model.networks.unets import DenoiserNetwork
from model.noise import poisson_gaussian as noise_range
from model.synthesis import recipes
from model.training import sampler
from model.training.objectives.table import OBJECTIVES
from model.training.trainer import StepStats, Trainer

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
    """Denoise images; size, pages, type, bit depth, transparency and metadata stay, or the file is refused."""
    if source.is_dir():
        target.mkdir(parents=True, exist_ok=True)
    denoisers = Denoisers(model, device)
    for path in _images(source):
        decoded = files.read(path)
        denoiser = denoisers.for_pixels(decoded.pixels)
        out, report = denoiser.denoise_with_report(
            decoded.pixels, strength=strength, normalize=normalize, page_channels=decoded.page_channels,
            page_series=decoded.series, top=None if decoded.top is None else int(decoded.top),
            missing=find(decoded.pixels, decoded.missing, decoded.shift),
        )  # fmt: skip
        destination = target / files.name_of_result(path, decoded) if target.is_dir() else target
        absent = files.write(destination, decoded, out, compose(denoiser.name))
        assert report is not None
        screen.print(f"{path.name}: alpha {report.alpha:.4g}, sigma {report.sigma:.4g} -> {destination}")
        for warning in (*decoded.warnings, *absent, *report.warnings):
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
    denoisers = Denoisers(model, "auto")
    for path in _images(source):
        pages = files.read(path).pixels
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
    if reference is not None and denoiser.channels == raw_sets.CHANNELS:
        score = raw_sets.against_raw_reference(denoiser, images, reference)
    elif reference is not None:
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


def _images(source: Path) -> list[Path]:
    return files.image_files(source) if source.is_dir() else [source]


@app.command()
def publish(
    source: Annotated[Path, typer.Argument(help="Weights of a training, RUN/weights.safetensors.")],
    target: Annotated[Path, typer.Argument(help="The file to ship, model/weights/NAME.safetensors.")],
    sources: Annotated[
        Path | None, typer.Option(help="sources.json of benchmarks.free_photographs, for the model's card.")
    ] = None,
) -> None:
    """Write a trained model as it ships: in half precision, its card with every image that it was trained on."""
    found = weights.read(source)
    listed = {"sources": json.loads(sources.read_text())} if sources else {}
    weights.write(target, found.denoiser, found.card | listed, torch.float16)
    typer.echo(f"{target}: {target.stat().st_size / 1e6:.1f} MB")


@app.command()
def train(
    images: Annotated[
        Path,
        typer.Argument(help="Folder of noisy images (--noise none), or of clean ones; of four channels: mosaics."),
    ],
    run: Annotated[Path, typer.Argument(help="Folder of the run; a run found there is resumed.")],
    preset: Annotated[str, typer.Option(help="Network and loss: paper (as published), fast or best (ours).")] = "fast",
    channels: Annotated[int, typer.Option(help="1 gray, 3 RGB, 4 packed RAW.")] = 1,
    objective: Annotated[str, typer.Option(help=f"A method: {', '.join(OBJECTIVES)}.")] = "blind2sound",
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
    lr_floor: Annotated[float, typer.Option(help="Share of --lr at which the cosine ends.")] = 0.01,
    ema: Annotated[float, typer.Option(help="Decay of the averaged weights; 0 turns averaging off.")] = 0.999,
    gain_probability: Annotated[float, typer.Option(help="Share of crops darkened by a random gain.")] = 0.0,
    recipe: Annotated[
        str | None, typer.Option(help="Scenes and noises to synthesise from clean images: gray, rgb or camera.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    threads: Annotated[int, typer.Option(help="CPU threads; 0 uses every core.")] = 0,
    checkpoint_seconds: Annotated[float, typer.Option(help="Seconds between checkpoints.")] = 60.0,
    device: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = "auto",
    about: Annotated[str, typer.Option(help="For the model's card: which images, whose, under which terms.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the configuration and stop.")] = False,
) -> None:
    """Train a denoiser; SIGTERM or Ctrl-C saves a checkpoint, the same command goes on with it."""
    if threads:
        torch.set_num_threads(threads)
    base = weights.read(weights.resolve(start_from)) if start_from else None
    chosen = {"regulariser": regulariser, "risk": risk, "beta": beta}
    changed: dict[str, Any] = {name: weight for name, weight in chosen.items() if weight is not None}
    loss = config.objective_preset(preset, objective)
    estimator = replace(loss.estimator, lr_ratio=estimator_lr_ratio)
    settings = config.TrainConfig(
        network=base.denoiser.config if base else config.network_preset(preset, channels, objective == "n2c"),
        objective=replace(loss, phases=phases, enhanced_noise=not basic_noise, estimator=estimator, **changed),
        noise=noise, fixed_noise=fixed_noise, noisy_targets=getattr(OBJECTIVES.get(objective), "noisy_targets", False),
        steps=steps, minutes=minutes, batch=batch, crop=crop, lr=lr,
        schedule=schedule, lr_floor=lr_floor, ema=ema, gain_probability=gain_probability,  # type: ignore[arg-type]
        recipe=recipe, seed=seed,
    )  # fmt: skip
    if dry_run:
        typer.echo(json.dumps(settings.to_dict(), indent=2))
        return
    card = {"preset": preset, "about": about, "started_from": Path(start_from).stem if start_from else None}
    _train(settings, images, run, base.denoiser if base else None, _device(device), card, checkpoint_seconds)


@app.command()
def reproduce(
    images: Annotated[Path, typer.Argument(help="Folder of clean training images; noise is drawn once for each.")],
    out: Annotated[Path, typer.Argument(help="Folder of the cells, table.md and curves.svg; found cells are kept.")],
    test: Annotated[list[str], typer.Option(help="NAME=FOLDER of clean test images, e.g. Set12=data/set12; repeat.")],
    method: Annotated[
        list[str], typer.Option(help="A method, with changes of its settings: blind2sound:regulariser=0; repeat.")
    ] = [*METHODS],  # noqa: B006
    level: Annotated[list[str], typer.Option(help="PG1, PG2 or PG3; repeat.")] = ["PG1", "PG3"],  # noqa: B006
    seed: Annotated[list[int], typer.Option(help="Repeat for several trainings of each.")] = [0],  # noqa: B006
    preset: Annotated[str, typer.Option(help="paper, fast or best.")] = "fast",
    channels: Annotated[int, typer.Option(help="1 gray, 3 RGB, 4 packed RAW.")] = 1,
    steps: Annotated[int, typer.Option(help="Steps of each training.")] = 10_000,
    batch: Annotated[int, typer.Option(help="Crops a step.")] = 4,
    crop: Annotated[int, typer.Option(help="Side of a crop in pixels.")] = 96,
    marks: Annotated[int, typer.Option(help="How often each is scored on its way, for the plot.")] = 0,
    threads: Annotated[int, typer.Option(help="CPU threads; 0 uses every core.")] = 0,
) -> None:
    """Train and score every method alike, and print the table beside the published numbers."""
    if threads:
        torch.set_num_threads(threads)
    sets = dict(_named_folder(text) for text in test)
    budget = Budget(preset, channels, steps, batch, crop, marks=marks)
    cells = [Cell(name, noise, number) for noise in level for name in method for number in seed]
    for cell in cells:
        cell.config(budget)  # a mistake in the last cell is told before the first trains
    pictures = read_training_set(images, channels)
    results = []
    for cell in cells:
        if (result := run(cell, budget, pictures, sets, out)) is None:
            raise typer.Exit(130)
        results.append(result)
        scores = ", ".join(f"{name} {found['psnr']:.2f} dB" for name, found in result["scores"].items())
        screen.print(f"{cell.method} {cell.level} seed {cell.seed}: {scores} in {result['minutes']} minutes")
    table = tables.markdown(results)
    (out / "table.md").write_text(table + "\n")
    if curves := tables.plot(results):
        (out / "curves.svg").write_text(curves)
    typer.echo(table)


@app.command("noise-table")
def noise_table(
    images: Annotated[Path, typer.Argument(help="Folder of clean images; noise is drawn for each.")],
    level: Annotated[list[str], typer.Option(help="PG1, PG2 or PG3; repeat.")] = ["PG1", "PG2", "PG3"],  # noqa: B006
    channels: Annotated[int, typer.Option(help="1 gray, 3 RGB.")] = 1,
    threads: Annotated[int, typer.Option(help="CPU threads; 0 uses every core.")] = 0,
) -> None:
    """Estimate the noise of each image by what needs no training, and print the table beside the published estimates.

    What a method's own estimator finds stands in the table of `reproduce`.
    """
    if threads:
        torch.set_num_threads(threads)
    typer.echo(estimates.markdown(estimates.measured(images, channels, level)))


def _train(
    settings: config.TrainConfig, images: Path, run: Path, base: DenoiserNetwork | None, device: torch.device,
    card: dict[str, Any], checkpoint_seconds: float,
) -> None:  # fmt: skip
    taken = settings.network.channels
    pictures = read_training_set(images, taken, lambda path, why: screen.print(f"left out {path.name}: {why}"))
    trainer = Trainer(settings, _sampler(settings, pictures), device, base)
    done = _train_with_bar(trainer, run, _card(settings) | card | {"images": len(pictures)}, checkpoint_seconds)
    screen.print(f"{'done' if done else 'stopped'} at step {trainer.step}: {run / 'weights.safetensors'}")


def _named_folder(text: str) -> tuple[str, Path]:
    name, _, folder = text.partition("=")
    if not folder:
        raise typer.BadParameter(f"{text!r}: a test set is NAME=FOLDER, e.g. Set12=data/set12")
    files.image_files(Path(folder))  # said before hours of training if there are none
    return name, Path(folder)


def _sampler(settings: config.TrainConfig, pictures: list[Pixels]) -> sampler.Sampler:
    """Pairs of a recipe, or crops of the images with the noise that was asked for."""
    if settings.recipe:
        return recipes.SynthesisSampler(recipes.build(settings.recipe, pictures), settings.crop)
    return sampler.of_images(settings, pictures)


def _card(settings: config.TrainConfig) -> dict[str, Any]:
    """What the published file says of its training."""
    return {
        "trained_by": settings.objective.name,
        "noise": _noise(settings),
        "full_scale": settings.recipe == "camera",
        "seed": settings.seed,
        "crops_a_step": [settings.batch, settings.crop, settings.crop],
        "versions": {"torch": torch.__version__},
    }


def _noise(settings: config.TrainConfig) -> Any:
    if settings.recipe:
        return {"recipe": settings.recipe}
    blind = {"alpha": noise_range.BLIND_ALPHA, "sigma": noise_range.BLIND_SIGMA}
    return blind if settings.noise == "blind" else settings.noise


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
    found = device_named(name)
    if found.type == "cuda" and not torch.cuda.is_available():
        raise ModelError("no CUDA device here: use --device cpu")
    return found
