"""The CPU runtime says what torch says."""

import numpy as np
import pytest
import torch

from model.config import NetworkConfig, network_preset
from model.inference.cpu_runtime import CpuRuntime, supports
from model.networks import weights
from model.networks.unets import ShuffleUNet, build_denoiser

AGREEMENT = 1e-4  # of the range; about 1e-6 is usual


@pytest.mark.parametrize("name", weights.shipped_models())
@pytest.mark.parametrize(("height", "width"), [(16, 16), (96, 200), (264, 136)])
def test_mean_and_factor_agree_with_torch(name: str, height: int, width: int) -> None:
    network = weights.read(weights.resolve(name)).denoiser
    assert isinstance(network, ShuffleUNet)
    noisy = np.random.default_rng(0).random((network.channels, height, width), np.float32)
    mean, factor = CpuRuntime(network, threads=2)(noisy)
    with torch.inference_mode():
        expected_mean, expected_factor = network(torch.from_numpy(noisy)[None])
    assert mean.shape == noisy.shape and factor.shape == expected_factor.shape[1:]
    assert np.abs(mean - expected_mean[0].numpy()).max() < AGREEMENT
    assert np.abs(factor - expected_factor[0].numpy()).max() < AGREEMENT


def test_networks_without_a_residual_agree_too() -> None:
    torch.manual_seed(0)
    network = build_denoiser(NetworkConfig("shuffle_unet", 4, (8, 16), (2, 1), residual=False)).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    assert isinstance(network, ShuffleUNet)
    noisy = np.random.default_rng(1).random((4, 32, 48), np.float32)
    mean, _ = CpuRuntime(network, threads=1)(noisy)
    with torch.inference_mode():
        expected = network(torch.from_numpy(noisy)[None])[0][0].numpy()
    assert np.abs(mean - expected).max() < AGREEMENT * max(1.0, float(np.abs(expected).max()))


def test_the_papers_network_stays_with_torch() -> None:
    assert not supports(build_denoiser(network_preset("paper", 1)))
