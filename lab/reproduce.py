"""The paper's tables: every method trained alike and scored alike, a file a cell, beside the published numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from lab.evaluate import PEAK, Score, noisy_pairs, score
from lab.files import Pixels
from lab.run_folder import train_in_folder
from model.config import ObjectiveConfig, TrainConfig, network_preset, objective_preset
from model.errors import InvalidOption
from model.training import sampler
from model.training.objectives.table import OBJECTIVES
from model.training.trainer import StepStats, Trainer

Floats = NDArray[np.float32]
METHODS = tuple(name for name in OBJECTIVES if name not in ("thinning", "frames"))
"""Those of the tables: thinning is told the noise of each image and frames need stacks, so both go on with a base."""

MULTIPLE = 32  # images are reflected up to it, as in the authors' evaluation


@dataclass(frozen=True)
class Budget:
    """What every cell gets alike.

    Attributes:
        preset: network and losses' settings; none of the networks adds its output to y, which masking cannot train.
        marks: how often a training is scored on the first set on its way.
    """

    preset: str = "fast"
    channels: int = 1
    steps: int = 10_000
    batch: int = 4
    crop: int = 96
    lr: float = 1e-3
    marks: int = 0


@dataclass(frozen=True)
class Cell:
    """One training.

    Attributes:
        method: a name of `METHODS`, and after a colon changes of `ObjectiveConfig`: `blind2sound:regulariser=0`.
    """

    method: str
    level: str
    seed: int = 0

    @property
    def name(self) -> str:
        """A folder's name."""
        return f"{self.method}-{self.level}-{self.seed}".replace(":", "-").replace(",", "-").replace("=", "")

    def config(self, budget: Budget) -> TrainConfig:
        """The run: noise drawn once an image, as a real set has it.

        Raises:
            InvalidOption: no such method, or no such setting of it.
        """
        name, _, changes = self.method.partition(":")
        if name not in METHODS:
            raise InvalidOption(f"there is no method {name!r}: choose among {', '.join(METHODS)}")
        objective = replace(objective_preset(budget.preset, name), **_changes(changes))
        return TrainConfig(
            network=network_preset(budget.preset, budget.channels, residual=False), objective=objective,
            noise=self.level, fixed_noise=True, noisy_targets=OBJECTIVES[name].noisy_targets,
            steps=budget.steps, batch=budget.batch, crop=budget.crop, lr=budget.lr, seed=self.seed,
        )  # fmt: skip


def run(
    cell: Cell, budget: Budget, images: Sequence[Pixels], sets: Mapping[str, Path], out: Path
) -> dict[str, Any] | None:
    """Train a cell, or go on with it, score it, and keep both in `out`; a finished cell is only read.

    Returns:
        What `result.json` holds, or None when SIGTERM or SIGINT stopped the training; the same call goes on with it.
    """
    folder = out / cell.name
    result = folder / "result.json"
    if result.exists():
        found: dict[str, Any] = json.loads(result.read_text())
        return found
    config = cell.config(budget)
    trainer = Trainer(config, sampler.of_images(config, images))
    curve = _Curve(trainer, folder / "curve.json", budget, cell.level, next(iter(sets.values())))
    card = {"trained_by": cell.method, "noise": cell.level, "seed": cell.seed}
    if not train_in_folder(trainer, folder, card=card, on_step=curve):
        return None
    scores = {name: asdict(evaluated(trainer, path, cell.level)) for name, path in sets.items()}
    made = {
        "method": cell.method, "level": cell.level, "seed": cell.seed, "budget": asdict(budget),
        "minutes": round(trainer.elapsed / 60, 2), "steps": trainer.step, "scores": scores, "curve": curve.points,
        "noise": _noise_found(trainer, next(iter(sets.values())), cell.level),
    }  # fmt: skip
    result.write_text(json.dumps(made, indent=1))
    return made


def evaluated(trainer: Trainer, images: Path, level: str) -> Score:
    """The method's own answers (`Objective.restore`) on a folder of clean images with synthetic noise."""
    pairs = ((noisy, clean * PEAK) for noisy, clean in noisy_pairs(images, trainer.config.network.channels, level))
    return score(pairs, lambda noisy: _restored(trainer, np.asarray(noisy, np.float32)).astype(np.float64) * PEAK)


@torch.no_grad()
def _restored(trainer: Trainer, noisy: Floats) -> Floats:  # (C, H, W) -> (C, H, W)
    height, width = noisy.shape[1:]
    padded = F.pad(torch.from_numpy(noisy)[None], (0, -width % MULTIPLE, 0, -height % MULTIPLE), mode="reflect")
    answer = trainer.objective.restore(trainer.published(), padded.to(trainer.device))
    return answer[0, :, :height, :width].float().cpu().numpy()


@torch.no_grad()
def _noise_found(trainer: Trainer, images: Path, level: str) -> dict[str, float] | None:
    """Mean α̂ and σ̂ of the method's noise estimator g over a set, of methods that have one."""
    g = getattr(trainer.objective, "g", None)
    if g is None:
        return None
    found = []
    for noisy, _ in noisy_pairs(images, trainer.config.network.channels, level):
        sides = [side // MULTIPLE * MULTIPLE for side in noisy.shape[1:]]
        estimate = g(torch.from_numpy(noisy)[None, :, : sides[0], : sides[1]].to(trainer.device))
        found.append((estimate.alpha.item(), estimate.variance_masked.sqrt().item()))
    alpha, sigma = np.mean(found, axis=0)
    return {"alpha": float(alpha), "sigma": float(sigma)}


class _Curve:
    """PSNR against training time, kept beside the checkpoints so that a resumed cell has all of it."""

    def __init__(self, trainer: Trainer, file: Path, budget: Budget, level: str, images: Path) -> None:
        self._trainer, self._file, self._level, self._images = trainer, file, level, images
        self._due = {round(budget.steps * (i + 1) / budget.marks) for i in range(budget.marks)}
        self.points: list[dict[str, float]] = json.loads(file.read_text()) if file.exists() else []

    def __call__(self, stats: StepStats) -> None:
        if stats.step not in self._due:
            return
        psnr = evaluated(self._trainer, self._images, self._level).psnr
        kept = [point for point in self.points if point["step"] < stats.step]
        self.points = [*kept, {"step": stats.step, "minutes": round(stats.elapsed / 60, 3), "psnr": round(psnr, 3)}]
        self._file.write_text(json.dumps(self.points))


def _changes(text: str) -> dict[str, Any]:
    """`regulariser=0,enhanced_noise=false` as settings of `ObjectiveConfig`.

    Raises:
        InvalidOption: no setting of that name, or no value of its kind.
    """
    kinds = {field.name: type(field.default) for field in fields(ObjectiveConfig)}
    settable = {name: kind for name, kind in kinds.items() if kind in (bool, int, float)}
    changes: dict[str, Any] = {}
    for part in filter(None, text.split(",")):
        name, _, value = part.partition("=")
        if name not in settable:
            raise InvalidOption(f"a method has no setting {name!r}: choose among {', '.join(settable)}")
        try:
            parsed = json.loads(value)
            if settable[name] is bool and not isinstance(parsed, bool):
                raise ValueError
            changes[name] = settable[name](parsed)
        except (ValueError, TypeError):
            raise InvalidOption(f"{part!r}: {name} takes a {settable[name].__name__}") from None
    return changes
