"""A training so small that a step takes milliseconds."""

import numpy as np

from model.config import EstimatorConfig, NetworkConfig, ObjectiveConfig, TrainConfig
from model.training import sampler
from model.training.trainer import Trainer

SMALL = EstimatorConfig(widths=(8, 8, 8), unshuffle=2)
TINY = TrainConfig(
    network=NetworkConfig("shuffle_unet", 1, widths=(8, 8), blocks=(1, 1), residual=False),
    objective=ObjectiveConfig("blind2sound", regulariser_every=2, estimator=SMALL),
    noise="PG2",
    steps=6,
    batch=2,
    crop=32,
    warmup_steps=2,
)


def pictures(count: int = 3, size: int = 48) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    ramp = np.linspace(40, 200, size)
    return [
        np.clip(ramp[None, None] + rng.normal(0, 3, (1, size, size)), 0, 255).astype(np.uint8) for _ in range(count)
    ]


def trainer_of(config: TrainConfig) -> Trainer:
    return Trainer(config, sampler.of_images(config, pictures()))
