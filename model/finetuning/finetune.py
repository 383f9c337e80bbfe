"""Fine-tune a base model on a set of noisy images alone, and say honestly whether it became better.

The set's noise is read off the base model's posterior, one of several methods learns (`methods`; some are tried first,
`contest`), and a held-out part of the set, split into pairs of independent noise, decides (`heldout`). All chance
comes from the seed and the step, so a run that is resumed from a checkpoint ends with the weights of an undisturbed one
(same step budget, CPU).
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from model.arrays.pixels import Pixels
from model.config import TrainConfig
from model.errors import InvalidOption, Stopped
from model.finetuning import methods, noise_shape, outcome, related_frames
from model.finetuning.contest import Budget, Contest
from model.finetuning.course import Course
from model.finetuning.heldout import HeldOut, judge
from model.finetuning.noise_lines import NoiseLines
from model.finetuning.set_scaling import of_set
from model.finetuning.split import Split, split
from model.frames.errors import FramePair
from model.inference.denoiser import Denoiser
from model.networks import covariance, weights
from model.networks.unets import DenoiserNetwork, with_frames
from model.noise import thinning
from model.training import checkpoint, sampler
from model.training.frame_sampler import FrameCrops
from model.training.objectives.base import Batch
from model.training.trainer import StepStats, Trainer

EVALUATE_EVERY = 100  # steps
PATIENCE = 6  # evaluations without a better score after which the training ends
POINT_SECONDS = 1.0
CALIBRATION_BATCHES = 32


@dataclass(frozen=True)
class FineTuneConfig:
    """A fine-tuning.

    Attributes:
        base: shipped name or file of the model to start from.
        channels: image channels; the base's.
        max_minutes, max_steps: budgets, the first that is used up ends the training; at least one is given.
        method: `auto` or one of `methods.METHODS`.
        noise: `auto`, or `independent` or `correlated` whatever the set shows (`noise_shape`).
        lr: peak learning rate. A third of it gains as much more slowly; three times it loses again what it gained.
        from_scratch: start with fresh weights of the base's size; the base still gives the noise and the bar to pass.
        threads: torch's threads; None leaves them alone.
        precision: of the training on a CPU, as `Trainer` takes it; noise lines and verdict are always float32.
        frames: what is made of frames that belong together, one of `related_frames.OPTIONS`.
        checkpoint_seconds: least time between two checkpoints.
    """

    base: str | Path
    channels: int
    max_minutes: float | None = 15.0
    max_steps: int | None = None
    method: str = methods.AUTO
    noise: str = methods.AUTO
    seed: int = 0
    batch: int = 4
    crop: int = 96
    lr: float = 1e-4
    from_scratch: bool = False
    threads: int | None = None
    precision: str = "auto"
    frames: str = "auto"
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
        learning: the method that was asked for and the one that was used, and how those did that were tried.
        history: points of the training that carry a score.
        previews: held-out crops (noisy, base, fine-tuned), each (H, W, C) in normalised units.
        doubt: why the held-out part could not tell, whatever the scores; None if it could.
    """

    weights: bytes
    card: dict[str, Any]
    promoted: bool
    scores: dict[str, float]
    noise: dict[str, Any]
    learning: dict[str, Any]
    history: list[dict[str, Any]]
    previews: list[outcome.Preview]
    doubt: str | None = None


class FineTuner:
    """One fine-tuning.

    Args:
        config: the run.
        images: (C, H, W) each, integers or floats; memory-mapped files will do, since only crops are read.
        after_read: called whenever a part of the set has been read, so that its owner can let go of mapped pages.
        groups: which file each image came from (pages of a stack, channels); None: each from its own. Images of one
            file are never trained on and judged by at the same place.
        series: numbers of images that may be frames of one scene, each in order; None: there are none.

    Raises:
        InvalidOption: the base does not fit the channels, there is no budget, or there are no frames to be used.
    """

    def __init__(
        self, config: FineTuneConfig, images: Sequence[Pixels], after_read: Callable[[], None] = lambda: None,
        groups: Sequence[int] | None = None, series: Sequence[Sequence[int]] | None = None,
    ) -> None:  # fmt: skip
        if config.threads:
            torch.set_num_threads(config.threads)
        self.config = config
        self.images = images
        self.base = Denoiser.load(config.base, precision="float32")
        if self.base.channels != config.channels:
            raise InvalidOption(
                f"{self.base.name} takes {self.base.channels} channels and the images have {config.channels}: "
                "choose a base model that fits, or train each channel by itself"
            )
        if config.max_minutes is None and config.max_steps is None:
            raise InvalidOption("a training needs a budget: give max_minutes, max_steps or both")
        self.scaling = of_set(images, after_read, by_full_scale=bool(self.base.card.get("full_scale")))
        self.found = noise_shape.measure(self.base, images, self.scaling, after_read)
        correlated = self.found.correlated if config.noise == methods.AUTO else config.noise == "correlated"
        self.shape = self.found if correlated else None
        self.lines = NoiseLines(self.base, images, self.scaling, after_read, self.found.stride if correlated else 1)
        line, may_pair = self.lines.__getitem__, config.method == methods.AUTO
        self.way = related_frames.choose(
            config.frames, may_pair, images, series, groups, self.scaling, line, self.base, after_read
        )  # fmt: skip
        self.first = self._first_network()
        self.split: Split = split(images, config.seed, self.way.groups)
        held = self.way.of(self.split.held_out, self.split.held_out_indices, self.scaling)
        self.held_out = HeldOut(self.split, line, self.scaling, config.seed, self.first, held, self.shape)
        self.base_score = self.held_out.choosing.psnr(self.first)
        self.history: list[dict[str, Any]] = [{"step": 0, "score": outcome.short(self.base_score)}]
        steps, way = config.max_steps, self.way
        tried = methods.tried(config.method, config.from_scratch, steps, way.seen, way.pairs, correlated)
        self.contest = Contest(tried, Budget(config.max_steps, config.max_minutes), self._begin)

    @property
    def trainer(self) -> Trainer:
        """Of the course under way."""
        return self.contest.course.trainer

    @property
    def best_step(self) -> int:
        """The step of the course under way with the best score; 0: none was better than the base."""
        return self.contest.course.best_step

    def best_network(self) -> DenoiserNetwork:
        """The denoiser with the best held-out score so far: the base's until one is better."""
        return self.contest.course.best_network()

    def restore(self, data: bytes) -> bool:
        """Continue where a checkpoint was taken.

        False: it begins anew, since the version that took it held out other pixels, which would now be judged by, had
        a base model of other weights, took the noise for another one, or tried other methods.
        """
        found = checkpoint.from_bytes(data)
        mine = found.state["finetune"]
        same_base = mine.get("base", self.base.sha256) == self.base.sha256  # before 2026-11-30 none was named
        same_noise = mine.get("correlated", False) == (self.shape is not None)
        same = same_base and same_noise and mine.get("split") == self._split_digest()
        if not same or not self.contest.restore(found, mine):
            return False
        self.history = mine["history"]
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
        while not self._is_over():
            if should_stop():
                raise Stopped("the training was asked to stop")
            stats = self.trainer.train_step()
            ends = self.contest.trial_is_over or (self.contest.trying and self._has_settled())
            scored = ends or self.trainer.step % EVALUATE_EVERY == 0 or self.trainer.done
            if scored:
                self._evaluate()
            now = time.monotonic()
            if on_point and (scored or now - told >= POINT_SECONDS):
                on_point(self._point(stats))
                told = now
            if ends:
                self.contest.next()
            if on_checkpoint and now - saved >= self.config.checkpoint_seconds:
                on_checkpoint(checkpoint.to_bytes(self._checkpoint()))
                saved = now
        if on_point:
            steps = self._steps
            on_point({"phase": "evaluating", "step": steps, "steps": steps, "seconds_left": 0})
        return self._result()

    @property
    def _steps(self) -> int:
        """Steps of all courses."""
        return self.contest.steps_before + self.trainer.step

    @property
    def _elapsed(self) -> float:
        """Seconds of training of all courses."""
        return self.contest.elapsed_before + self.trainer.elapsed

    @property
    def _progress(self) -> float:
        """Share of the whole budget that is used up."""
        steps, minutes = self.config.max_steps, self.config.max_minutes
        shares = [self._steps / steps if steps else 0.0, self._elapsed / (60 * minutes) if minutes else 0.0]
        return min(1.0, max(shares))

    def _is_over(self) -> bool:
        return not self.contest.trying and (self.trainer.done or self._has_settled())

    def _begin(self, method: str, budget: Budget) -> Course:
        """A new course of a method."""
        config, base = self.config, self.first
        network = methods.network_of(method, base.config, config.from_scratch)
        sides = [min(image.shape[1:]) for image in self.images]
        training = TrainConfig(
            network=network,
            objective=methods.objective_of(method, network),
            steps=budget.steps, minutes=budget.minutes, batch=config.batch,
            crop=max(32, min(config.crop, int(np.median(sides)) // 32 * 32)),
            lr=config.lr * (10 if config.from_scratch else 1), warmup_steps=50, ema=0.99, seed=config.seed,
        )  # fmt: skip
        kept = self.split.training_indices
        trainer = Trainer(
            training, self._sampler(training), self.base.device,
            start_from=None if config.from_scratch else base,
            noise_line=lambda i: self.lines[kept[i]], precision=config.precision,
            noise_filters=None if self.shape is None else self.shape.filters,
        )  # fmt: skip
        return Course(method, trainer, base, self.base_score)

    def _first_network(self) -> DenoiserNetwork:
        """The base, ready to be taught what it does not look at yet: the frames beside a page."""
        if self.way.seen == self.base.frames:
            return self.base.network
        return with_frames(self.base.network, self.way.seen).requires_grad_(False).eval().to(self.base.device)

    def _sampler(self, training: TrainConfig) -> sampler.Sampler:
        frames = self.way.of(self.split.training, self.split.training_indices, self.scaling)
        if frames is None:
            return sampler.of_images(training, self.split.training, self.scaling)
        return FrameCrops(frames, training.crop)

    def _evaluate(self) -> None:
        score = self.held_out.choosing.psnr(self.trainer.published())
        self.history.append({"step": self._steps, "score": outcome.short(score), "method": self.contest.course.method})
        self.contest.course.saw(score)

    def _has_settled(self) -> bool:
        """Whether the score has not risen for `PATIENCE` evaluations."""
        return self.trainer.step - self.contest.course.peak_step >= PATIENCE * EVALUATE_EVERY

    def _point(self, stats: StepStats) -> dict[str, Any]:
        steps, done, elapsed = self.config.max_steps, self._steps, self._elapsed
        left = elapsed * (1 / max(self._progress, 1e-6) - 1)
        if steps is None:
            steps = done + round(left * done / max(elapsed, 1e-6))
        newest, found = self.history[-1], self.lines.pooled[0]
        return {
            "phase": "training", "step": done, "steps": steps, "seconds_left": round(left, 1),
            "method": self.contest.course.method, "trying": self.contest.trying,
            "loss": outcome.short(stats.loss), "loss_parts": {k: outcome.short(v) for k, v in stats.parts.items()},
            "alpha": outcome.short(stats.parts.get("alpha", found.alpha)),
            "sigma": outcome.short(stats.parts.get("sigma", found.sigma)),
            "score": newest["score"] if newest["step"] == done else None,
            "base_score": outcome.short(self.base_score),
        }  # fmt: skip

    def _checkpoint(self) -> checkpoint.Checkpoint:
        whole, mine = self.contest.checkpoint()
        mine |= {"split": self._split_digest(), "base": self.base.sha256, "history": self.history}
        mine["correlated"] = self.shape is not None
        return checkpoint.Checkpoint(whole.tensors, whole.state | {"finetune": mine})

    def _result(self) -> FineTuneResult:
        tuned = self.best_network()
        if self.best_step:
            self._calibrate(tuned)
        before, after = self.held_out.judging.scores(self.first), self.held_out.judging.scores(tuned)
        verdict = judge(before, after)
        doubt = outcome.doubt(verdict, after) or self.way.doubt
        verdict = verdict._replace(promoted=verdict.promoted and doubt is None)
        scores = outcome.numbers(before, after, verdict)
        shape = self.found.to_dict() | {"treated_as": "independent" if self.shape is None else "correlated"}
        noise = outcome.noise_of(self.lines) | {"shape": shape, "said": self.found.words(self.shape is not None)}
        learning = outcome.learning(self.config.method, self.contest)
        card = {
            "name": self.config.name,
            "method": f"fine-tuned on noisy images alone: {methods.WORDS[learning['used']]}, judged on a held-out part",
            "frames": self.way.to_dict(), "base": {"name": self.base.name, "sha256": self.base.sha256},
            "images": outcome.images_of(self.images) | {"held_out": len(self.split.held_out)},
            "normalisation": self.scaling.to_dict() | {"dtype": str(self.images[0].dtype)},
            "noise": {k: v for k, v in noise.items() if k != "curve"}, "learning": learning,
            "scores": scores, "promoted": verdict.promoted, "best_step": self.best_step,
            # Not the base: its path means nothing to whoever reads the card, and tells them of this machine.
            "config": outcome.json_ready({k: v for k, v in asdict(self.config).items() if k != "base"}),
            "precision": self.trainer.precision,
            "steps": self._steps, "minutes": round(self._elapsed / 60, 2), "torch": torch.__version__,
        }  # fmt: skip
        previews = outcome.previews(self.held_out.previews, self.first, tuned)
        return FineTuneResult(
            weights.to_bytes(tuned, card), card, verdict.promoted, scores, noise, learning, self.history, previews,
            doubt,
        )  # fmt: skip

    @torch.no_grad()
    def _calibrate(self, tuned: DenoiserNetwork) -> None:
        """Scale Σ_x so that on average it is the squared error, estimated from pairs that were not trained on."""
        wrong = spread = 0.0
        for step in range(self.trainer.step, self.trainer.step + CALIBRATION_BATCHES):
            batch = self.trainer.draw_batch(step, 1.0)
            pair = _pair_of(batch)
            mean, factor = tuned(pair.seen)
            wrong += float(pair.excess(mean).mean())
            spread += float(covariance.diagonal_of(covariance.outer_gram(factor)).mean())
        if wrong > 0 and spread > 0:
            tuned.scale_covariance(wrong / spread)


def _pair_of(batch: Batch) -> thinning.Pair | FramePair:
    """What a batch shows a network, and what tells its error without bias."""
    assert batch.noise_lines is not None
    if batch.targets is None:
        tau, filters = thinning.SCORING_TAU, batch.noise_filters
        return thinning.thin(batch.noisy, batch.noise_lines, tau, batch.generator, filters)
    page = batch.noisy[:, : batch.noise_lines.shape[1]]
    return FramePair(batch.noisy, batch.targets, thinning.variance_at(page, batch.noise_lines))
