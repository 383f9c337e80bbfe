import pytest
import torch

from model.config import network_preset
from model.networks import covariance
from model.networks.unets import build_denoiser
from model.training.calibrate import calibrate_covariance
from model.training.objectives.base import Batch


@pytest.mark.parametrize("preset", ["fast", "paper"])
@pytest.mark.parametrize("channels", [1, 3])
def test_covariance_is_scaled_to_the_error_and_the_mean_stays(preset: str, channels: int) -> None:
    torch.manual_seed(0)
    network = build_denoiser(network_preset(preset, channels))
    torch.nn.init.normal_(network.last_layer.weight, std=0.02)
    noisy = torch.rand(4, channels, 64, 64)
    clean = (noisy + 0.05 * torch.randn_like(noisy)).detach()
    with torch.no_grad():
        before, factor = network(noisy)
        error = (clean - before).square().mean((1, 2, 3))
        spread = covariance.diagonal_of(covariance.outer_gram(factor)).mean((1, 2, 3))
        expected = (error / spread).log().mean().exp().item()
        ratio = calibrate_covariance(network, [Batch(noisy, clean, 0.0, torch.Generator())])
        after, scaled = network(noisy)
    assert ratio == pytest.approx(expected, rel=1e-3)
    assert torch.equal(before, after)
    assert torch.allclose(covariance.outer_gram(scaled), ratio * covariance.outer_gram(factor), atol=1e-6)
