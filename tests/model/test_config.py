import json

import pytest
import torch

from model.config import PRESETS, TrainConfig, network_preset, objective_preset
from model.networks.unets import build_denoiser
from model.training.objectives.base import Batch
from model.training.objectives.table import OBJECTIVES, build


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_trains_by_every_objective(name: str) -> None:
    network = build_denoiser(network_preset(name, 1))
    line = torch.tensor([[[0.01, 1e-6, 1e-6, 0.0]]])
    noisy = torch.rand(1, 1, 64, 64)  # Neighbor2Neighbor halves it
    for kind in OBJECTIVES:
        objective = build(objective_preset(name, kind), 1)
        loss, _ = objective(
            network, Batch(noisy, noisy, 0.5, torch.Generator().manual_seed(0), line, targets=noisy.repeat(1, 2, 1, 1))
        )
        loss.backward()
        assert torch.isfinite(loss)


def test_an_unknown_preset_is_told_which_there_are() -> None:
    with pytest.raises(ValueError, match="fast, best, paper"):
        network_preset("huge", 1)


def test_config_survives_the_checkpoint() -> None:
    config = TrainConfig(network_preset("best", 3), objective_preset("paper", "blind2sound"), steps=5, lr_floor=0.1)
    assert TrainConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
