"""How many masked phases a step? PSNR against training time for K = 1, 2, 4, 16, from noisy images alone.

    python -m benchmarks.phases --data DIR --minutes 6 --threads 1

The trainings take turns of a few seconds, so that whatever else the machine does slows all of them alike. Each has the
same time, and its learning rate falls over that time. Prints Set12's PSNR at every mark, and the steps done by then.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch

from benchmarks.method import add_training_options, train_config
from lab.evaluate import against_clean
from lab.training_set import read_training_set
from model.inference.denoiser import Denoiser
from model.training import sampler
from model.training.trainer import Trainer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--phases", type=int, nargs="+", default=[1, 2, 4, 16])
    parser.add_argument("--level", default="PG3")
    parser.add_argument("--minutes", type=float, default=6.0, help="of training, each")
    parser.add_argument("--marks", type=int, default=6, help="looks at Set12")
    parser.add_argument("--turn", type=float, default=10.0, help="seconds")
    add_training_options(parser)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    images = read_training_set(options.data / "clean" / "train400", 1)
    configs = [
        replace(train_config(options, "blind2sound", options.level, phases), steps=None, minutes=options.minutes)
        for phases in options.phases
    ]
    trainers = [Trainer(config, sampler.of_images(config, images)) for config in configs]
    print(
        "| minutes |" + "".join(f" K = {k} |" for k in options.phases) + "\n|---|" + "---|" * len(trainers), flush=True
    )
    for minutes in marks(options.minutes, options.marks):
        in_turns(trainers, 60 * minutes, options.turn)
        scores = [psnr(trainer, options) for trainer in trainers]
        cells = "".join(f" {score:.2f} ({t.step}) |" for score, t in zip(scores, trainers, strict=True))
        print(f"| {minutes:.3g} |{cells}", flush=True)


def marks(minutes: float, count: int) -> Iterator[float]:
    """When to look: twice as late each time, the last at the end."""
    return (minutes / 2**back for back in reversed(range(count)))


def in_turns(trainers: Sequence[Trainer], until: float, turn: float) -> None:
    """Train each until `until` seconds of its own, `turn` seconds at a time."""
    while any(trainer.elapsed < until and not trainer.done for trainer in trainers):
        for trainer in trainers:
            end = min(until, trainer.elapsed + turn)
            trainer.run(should_stop=lambda trainer=trainer, end=end: trainer.elapsed >= end)  # type: ignore[misc]


def psnr(trainer: Trainer, options: argparse.Namespace) -> float:
    """Of the averaged weights, on Set12 in dB."""
    denoiser = Denoiser("trained", trainer.published().eval(), {}, "", trainer.device)
    return float(against_clean(denoiser, options.data / "clean" / "set12", options.level).psnr)


if __name__ == "__main__":
    main()
