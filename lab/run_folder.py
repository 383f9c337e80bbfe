"""A training run in a folder: resume, checkpoint every so often, log, stop on SIGTERM, publish at the end."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lab import checkpoints
from model.networks import weights
from model.training.calibrate import calibrate_covariance
from model.training.trainer import StepStats, Trainer

CALIBRATION_BATCHES = 64


def train_in_folder(
    trainer: Trainer,
    folder: Path,
    *,
    card: dict[str, Any],
    checkpoint_seconds: float = 60.0,
    on_step: Callable[[StepStats], None] | None = None,
) -> bool:
    """Train, or go on with the training that `folder` holds.

    A supervised model's covariance is calibrated when the budget is used up.
    Leaves `stats.jsonl`, `step-*.ckpt` and, after every checkpoint, `weights.safetensors` (usable at any time).

    Args:
        card: what the published file says of itself; steps and minutes are added.
        checkpoint_seconds: seconds between two checkpoints.

    Returns:
        Whether the budget is used up; False after SIGTERM or SIGINT, which end the run with a checkpoint.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if found := checkpoints.read_newest(folder):
        trainer.restore(found)
    last = time.monotonic()

    def save() -> None:
        checkpoints.write(folder, trainer.step, trainer.checkpoint())
        spent = {"steps": trainer.step, "minutes": round(trainer.elapsed / 60, 1)}
        weights.write(folder / "weights.safetensors", trainer.published(), card | spent)

    with _stop_signal() as stopped, (folder / "stats.jsonl").open("a", buffering=1) as log:

        def after_step(stats: StepStats) -> None:
            nonlocal last
            log.write(json.dumps(stats.to_dict()) + "\n")
            if on_step:
                on_step(stats)
            if time.monotonic() - last >= checkpoint_seconds:
                save()
                last = time.monotonic()

        done = trainer.run(after_step, stopped.is_set)
        if done and trainer.objective.needs_clean and not trainer.objective.noisy_targets:
            unseen = range(trainer.step, trainer.step + CALIBRATION_BATCHES)
            ratio = calibrate_covariance(trainer.published(), (trainer.draw_batch(s, 1.0) for s in unseen))
            card = card | {"covariance_scaled_by": round(ratio, 4)}
        save()
    return done


@contextmanager
def _stop_signal() -> Iterator[threading.Event]:
    """An event that SIGTERM and SIGINT set; the handlers found are put back afterwards."""
    stopped = threading.Event()
    before = {s: signal.signal(s, lambda *_: stopped.set()) for s in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
