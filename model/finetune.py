"""Fine-tune a base model on a set of noisy images alone, and say honestly whether it became better.

The set's noise is read off the base model's posterior, the training splits noisy crops into independent pairs
(`thinning`), and a held-out part of the set, split alike, decides (`heldout`). Everything random comes from the seed
and the step, so a run that is resumed from a checkpoint ends with the weights of an undisturbed one (same step budget,
CPU).
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model import checkpoint, covariance, normalise, thinning, weights
from model.config import ObjectiveConfig, TrainConfig, estimator_preset
from model.data import Pixels
from model.denoiser import Denoiser
from model.errors import InvalidOption, Stopped
from model.heldout import FEWEST, HeldOut, Scores, Verdict, judge
from model.networks import DenoiserNetwork, build_denoiser
from model.noise_lines import NoiseLines
from model.normalise import Normalisation
from model.split import Split, split
from model.trainer import StepStats, Trainer

EVALUATE_EVERY = 100  # steps
PATIENCE = 6  # evaluations without a better score after which the training ends
POINT_SECONDS = 1.0
CALIBRATION_BATCHES = 32
SAMPLED_PIXELS = 1 << 22  # of the whole set, to find its normalisation
CURVE_POINTS = 64

Preview = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]


@dataclass(frozen=True)
class FineTuneConfig:
    """A fine-tuning.

    Attributes:
        base: shipped name or file of the model to start from.
        channels: image channels; the base's.
        max_minutes, max_steps: budgets, the first that is used up ends the training; at least one is given.
        lr: peak learning rate. A third of it gains as much more slowly; three times it loses again what it gained.
        from_scratch: start with fresh weights of the base's size; the base still gives the noise and the bar to pass.
        threads: torch's threads; None leaves them alone.
        checkpoint_seconds: least time between two checkpoints.
    """

    base: str | Path
    channels: int
    max_minutes: float | None = 15.0
    max_steps: int | None = None
    seed: int = 0
    batch: int = 4
    crop: int = 96
    lr: float = 1e-4
    from_scratch: bool = False
    threads: int | None = None
    name: str = ""
    checkpoint_seconds: float = 30.0


@dataclass(frozen=True)
class FineTuneResult:
    """What came of it.

    Attributes:
        weights: a safetensors file with config and card inside; the best weights seen, promoted or not.
        card: what the model says of itself.
        promoted: whether it is better than its base on the held-out part.
        scores: numbers, flat: `base` and `finetuned` in dB (estimated PSNR, higher is better), `gain_db`, …
        noise: alpha, sigma, black of the set in normalised units, and the curve they were fitted to.
        history: points of the training that carry a score.
        previews: held-out crops (noisy, base, fine-tuned), each (H, W, C) in normalised units.
        doubt: why the held-out part could not tell, whatever the scores; None if it could.
    """

    weights: bytes
    card: dict[str, Any]
    promoted: bool
    scores: dict[str, float]
    noise: dict[str, Any]
    history: list[dict[str, Any]]
    previews: list[Preview]
    doubt: str | None = None


class FineTuner:
    """One fine-tuning.

    Args:
        config: the run.
        images: (C, H, W) each, integers or floats; memory-mapped files will do, since only crops are read.
        after_read: called whenever a part of the set has been read, so that its owner can let go of mapped pages.
        groups: which file each image came from (pages of a stack, channels); None: each from its own. Images of one
            file are never trained on and judged by at the same place.

    Raises:
        InvalidOption: the base does not fit the channels, or there is no budget.
    """

    def __init__(
        self, config: FineTuneConfig, images: Sequence[Pixels], after_read: Callable[[], None] = lambda: None,
        groups: Sequence[int] | None = None,
    ) -> None:  # fmt: skip
        if config.threads:
            torch.set_num_threads(config.threads)
        self.config = config
        self.images = images
        self.base = Denoiser.load(config.base)
        if self.base.channels != config.channels:
            raise InvalidOption(
                f"{self.base.name} takes {self.base.channels} channels and the images have {config.channels}: "
                "choose a base model that fits, or train each channel by itself"
            )
        if config.max_minutes is None and config.max_steps is None:
            raise InvalidOption("a training needs a budget: give max_minutes, max_steps or both")
        self.scaling = _normalisation(images, after_read)
        self.lines = NoiseLines(self.base, images, self.scaling, after_read)
        self.split: Split = split(images, config.seed, groups)
        kept = self.split.training_indices
        self.trainer = Trainer(
            self._train_config(), self.split.training, self.base.device,
            start_from=None if config.from_scratch else self.base.network,
            scaling=self.scaling, noise_line=lambda i: self.lines[kept[i]],
        )  # fmt: skip
        self.held_out = HeldOut(self.split, self.lines.__getitem__, self.scaling, config.seed, self.base.network)
        self.best: dict[str, Tensor] = _copy(self.base.network)
        self.best_step = 0
        self.base_score = self.held_out.choosing.psnr(self.base.network)
        self.best_score = self.base_score
        self.history: list[dict[str, Any]] = [{"step": 0, "score": _short(self.base_score)}]

    def restore(self, data: bytes) -> bool:
        """Continue where a checkpoint was taken. False: by a version that held out other pixels, so it begins anew.

        What that version trained on would now be judged by.
        """
        found = checkpoint.from_bytes(data)
        if found.state["finetune"].get("split") != self._split_digest():
            return False
        self.trainer.restore(found)
        prefix = "best."
        self.best = {k.removeprefix(prefix): v for k, v in found.tensors.items() if k.startswith(prefix)}
        mine = found.state["finetune"]
        self.best_step, self.best_score, self.history = mine["best_step"], mine["best_score"], mine["history"]
        return True

    def _split_digest(self) -> str:
        """What is the same for two runs exactly if they train on and judge by the same pixels."""
        crops = [
            (crop.place, crop.image) for of in (self.held_out.choosing, self.held_out.judging) for crop in of.crops
        ]
        parts = [self.split.training_indices, self.split.held_out_indices, crops]
        shapes = [image.shape for image in (*self.split.training, *self.split.held_out)]
        return hashlib.sha256(repr((parts, shapes)).encode()).hexdigest()

    def run(
        self,
        on_point: Callable[[dict[str, Any]], None] | None = None,
        on_checkpoint: Callable[[bytes], None] | None = None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> FineTuneResult:
        """Train until the budget is used up or the held-out score has stopped rising, then judge.

        Args:
            on_point: told of the progress about once a second and at every new score.
            on_checkpoint: given the bytes of a checkpoint every `checkpoint_seconds`.
            should_stop: asked between two steps.

        Raises:
            Stopped: `should_stop` answered True.
        """
        told = saved = time.monotonic()
        while not self.trainer.done and not self._has_settled():
            if should_stop():
                raise Stopped("the training was asked to stop")
            stats = self.trainer.train_step()
            scored = self.trainer.step % EVALUATE_EVERY == 0 or self.trainer.done
            if scored:
                self._evaluate()
            now = time.monotonic()
            if on_point and (scored or now - told >= POINT_SECONDS):
                on_point(self._point(stats))
                told = now
            if on_checkpoint and now - saved >= self.config.checkpoint_seconds:
                on_checkpoint(checkpoint.to_bytes(self._checkpoint()))
                saved = now
        if on_point:
            on_point({"phase": "evaluating", "step": self.trainer.step, "steps": self.trainer.step, "seconds_left": 0})
        return self._result()

    def best_network(self) -> DenoiserNetwork:
        """The denoiser with the best held-out score so far: the base's until one is better."""
        found = build_denoiser(self.base.network.config)
        found.load_state_dict(self.best)
        return found.eval().requires_grad_(False).to(self.base.device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]

    def _train_config(self) -> TrainConfig:
        config = self.config
        sides = [min(image.shape[1:]) for image in self.images]
        crop = max(32, min(config.crop, int(np.median(sides)) // 32 * 32))
        return TrainConfig(
            network=self.base.network.config,
            estimator=estimator_preset("fast", config.channels),
            objective=ObjectiveConfig(name="thinning"),
            steps=config.max_steps, minutes=config.max_minutes, batch=config.batch, crop=crop,
            lr=config.lr * (10 if config.from_scratch else 1), warmup_steps=50, ema=0.99, seed=config.seed,
        )  # fmt: skip

    def _evaluate(self) -> None:
        score = self.held_out.choosing.psnr(self.trainer.published())
        self.history.append({"step": self.trainer.step, "score": _short(score)})
        if score > self.best_score:
            self.best_score, self.best_step, self.best = score, self.trainer.step, _copy(self.trainer.published())

    def _has_settled(self) -> bool:
        """Whether the score has not risen for `PATIENCE` evaluations."""
        return self.trainer.step - self.best_step >= PATIENCE * EVALUATE_EVERY

    def _point(self, stats: StepStats) -> dict[str, Any]:
        steps = self.config.max_steps
        left = stats.elapsed * (1 / max(self.trainer.progress, 1e-6) - 1)
        if steps is None:
            steps = self.trainer.step + round(left * self.trainer.step / max(stats.elapsed, 1e-6))
        newest = self.history[-1]
        return {
            "phase": "training", "step": self.trainer.step, "steps": steps, "seconds_left": round(left, 1),
            "loss": _short(stats.loss), "loss_parts": {k: _short(v) for k, v in stats.parts.items()},
            "alpha": _short(self.lines.pooled[0].alpha), "sigma": _short(self.lines.pooled[0].sigma),
            "score": newest["score"] if newest["step"] == self.trainer.step else None,
            "base_score": _short(self.base_score),
        }  # fmt: skip

    def _checkpoint(self) -> checkpoint.Checkpoint:
        whole = self.trainer.checkpoint()
        tensors = whole.tensors | {f"best.{name}": value for name, value in self.best.items()}
        mine = {"best_step": self.best_step, "best_score": self.best_score, "history": self.history}
        mine["split"] = self._split_digest()
        return checkpoint.Checkpoint(tensors, whole.state | {"finetune": mine})

    def _result(self) -> FineTuneResult:
        tuned = self.best_network()
        if self.best_step:
            self._calibrate(tuned)
        before, after = self.held_out.judging.scores(self.base.network), self.held_out.judging.scores(tuned)
        verdict = judge(before, after)
        scores = _flat(before, after, verdict)
        noise = self._noise()
        card = self._card(verdict, scores, noise)
        return FineTuneResult(
            weights.to_bytes(tuned, card), card, verdict.promoted, scores, noise, self.history, self._previews(tuned),
            _doubt(verdict),
        )  # fmt: skip

    @torch.no_grad()
    def _calibrate(self, tuned: DenoiserNetwork) -> None:
        """Scale Σ_x so that on average it is the squared error, estimated from pairs that were not trained on."""
        wrong = spread = 0.0
        for step in range(self.trainer.step, self.trainer.step + CALIBRATION_BATCHES):
            batch = self.trainer.draw_batch(step, 1.0)
            assert batch.noise_lines is not None
            pair = thinning.thin(batch.noisy, batch.noise_lines, thinning.SCORING_TAU, batch.generator)
            mean, factor = tuned(pair.first)
            wrong += float(pair.excess(mean).mean())
            spread += float(covariance.diagonal_of(covariance.outer_gram(factor)).mean())
        if wrong > 0 and spread > 0:
            tuned.scale_covariance(wrong / spread)

    def _noise(self) -> dict[str, Any]:
        fit = self.lines.pooled[0]
        thin = slice(None, None, max(1, fit.mean.size // CURVE_POINTS))
        return {
            "alpha": _short(fit.alpha), "sigma": _short(fit.sigma), "black": _short(fit.black),
            "one_line_for_all_images": self.lines.shared,
            "curve": {
                "mean": [_short(v) for v in fit.mean[thin]], "variance": [_short(v) for v in fit.variance[thin]],
                "alpha": _short(fit.alpha), "sigma": _short(fit.sigma), "black": _short(fit.black),
            },
        }  # fmt: skip

    def _card(self, verdict: Verdict, scores: dict[str, float], noise: dict[str, Any]) -> dict[str, Any]:
        shapes = sorted({f"{i.shape[2]}x{i.shape[1]}x{i.shape[0]} {i.dtype}" for i in self.images})
        return {
            "name": self.config.name,
            "method": "fine-tuned on noisy images alone: pairs by Poisson-Gaussian thinning, judged on a held-out part",
            "base": {"name": self.base.name, "sha256": self.base.sha256},
            "images": {"count": len(self.images), "held_out": len(self.split.held_out), "shapes": shapes[:8]},
            "normalisation": self.scaling.to_dict() | {"dtype": str(self.images[0].dtype)},
            "noise": {k: v for k, v in noise.items() if k != "curve"},
            "scores": scores, "promoted": verdict.promoted, "best_step": self.best_step,
            "config": json.loads(json.dumps(asdict(self.config), default=str)),
            "steps": self.trainer.step, "minutes": round(self.trainer.elapsed / 60, 2), "torch": torch.__version__,
        }  # fmt: skip

    @torch.inference_mode()
    def _previews(self, tuned: DenoiserNetwork) -> list[Preview]:
        shown = []
        for noisy in self.held_out.previews:
            at_device = noisy.to(self.base.device)
            images = (noisy, self.base.network(at_device)[0].cpu(), tuned(at_device)[0].cpu())
            first, second, third = (image[0].permute(1, 2, 0).numpy() for image in images)
            shown.append((first, second, third))
        return shown


def _normalisation(images: Sequence[Pixels], after_read: Callable[[], None]) -> Normalisation:
    """One map for the set, from a sample of every image (or of as many as are enough)."""
    chosen = images[:: max(1, len(images) // 256)]
    share = SAMPLED_PIXELS // len(chosen)
    # Whole rows: single pixels far apart would touch every page of a set that lies on disk.
    # Copied, since a row that is only looked at is read when its pages have been let go of.
    samples = []
    for image in chosen:
        samples.append(image[:, :: max(1, image.size // share)].flatten())
        after_read()
    return normalise.choose(np.concatenate(samples), "auto")


def _copy(network: DenoiserNetwork) -> dict[str, Tensor]:
    return {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}


def _doubt(verdict: Verdict) -> str | None:
    if verdict.clusters >= FEWEST:
        return None
    return (
        f"The held-out part of the set has {verdict.clusters} places that do not overlap, and telling a gain from "
        f"chance takes {FEWEST}"
    )


def _flat(before: Scores, after: Scores, verdict: Verdict) -> dict[str, float]:
    named = {"base": before.psnr, "finetuned": after.psnr, "gain_db": verdict.gain_db}
    named |= {"standard_errors": verdict.certainty, "likelihood_standard_errors": verdict.likelihood_certainty}
    named["independent_parts"] = verdict.clusters
    for prefix, scores in (("base", before), ("finetuned", after)):
        named |= {f"{prefix}_{k}": v for k, v in scores.to_dict().items() if k != "psnr"}
    return {k: _short(v) for k, v in named.items()}


def _short(value: float) -> float:
    """Five significant digits: what an estimate carries."""
    return float(f"{float(value):.5g}")
