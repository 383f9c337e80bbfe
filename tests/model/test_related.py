import numpy as np
import pytest
from skimage import data

from model.noise import PoissonGaussian
from model.related import are_related

NOISES = [PoissonGaussian(0.0005, 0.0), PoissonGaussian(0.05, 0.02), PoissonGaussian(0.08, 0.1)]


def photograph() -> np.ndarray:
    return data.astronaut()[:256, :320].astype(np.float32) / 255


def unrelated() -> np.ndarray:
    """Three scenes that have nothing to do with each other."""
    return np.stack([data.camera()[:256, :320], data.coins()[20:276, 10:330], data.moon()[100:356, 60:380]], -1) / 255


@pytest.mark.parametrize("noise", NOISES)
def test_channels_of_a_photograph_are_related_under_any_noise(noise: PoissonGaussian) -> None:
    assert are_related(noise.add(photograph(), np.random.default_rng(0)))
    assert are_related((photograph() * 255).astype(np.uint8))


@pytest.mark.parametrize("noise", NOISES)
def test_channels_of_different_things_are_not(noise: PoissonGaussian) -> None:
    assert not are_related(noise.add(unrelated().astype(np.float32), np.random.default_rng(0)))


def test_an_empty_channel_is_related_to_nothing() -> None:
    one = photograph().copy()
    one[..., 1:] = 0
    assert not are_related(one)


def test_of_small_and_empty_images_nothing_is_said() -> None:
    assert are_related(np.zeros((128, 128, 3), np.uint8))
    assert are_related(np.random.default_rng(0).random((20, 20, 3)))
    assert are_related(np.zeros((128, 128, 1)))


def test_gray_saved_as_colour_is_related() -> None:
    assert are_related(np.repeat(data.camera()[:, :, None], 3, 2))
