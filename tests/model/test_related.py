import numpy as np
import pytest
from scipy import ndimage
from skimage import data

from model.arrays import related
from model.arrays.related import are_related
from model.noise.poisson_gaussian import PoissonGaussian

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


def demosaicked(mosaic: np.ndarray) -> np.ndarray:
    """(H, W, 3) of an RGGB mosaic by bilinear interpolation, then a camera's colour matrix."""
    sites = np.zeros((*mosaic.shape, 3))
    for channel, places in enumerate((((0, 0),), ((0, 1), (1, 0)), ((1, 1),))):
        for row, column in places:
            sites[row::2, column::2, channel] = mosaic[row::2, column::2]
    cross = np.array([[0, 1, 0], [1, 4, 1], [0, 1, 0]]) / 4
    square = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]]) / 4
    image = np.stack([ndimage.convolve(sites[..., c], cross if c == 1 else square) for c in range(3)], -1)
    return image @ np.array([[1.6, -0.2, 0.1], [-0.4, 1.4, -0.5], [-0.2, -0.2, 1.4]])


def test_a_dark_photograph_is_related_by_its_noise() -> None:
    """A phone's picture of next to nothing: its noise is correlated, and hides how little its colours differ."""
    rng = np.random.default_rng(0)
    image = demosaicked(100 + 12 * rng.normal(size=(256, 256)))
    image[..., 2] += 8 * np.linspace(-1, 1, 256)  # and what is seen is seen in one colour
    assert related._correlation(image.astype(np.float32), related.FINE) < related.RELATED
    assert are_related(image)


def test_separate_exposures_of_one_place_are_not_related() -> None:
    """Channels that are bright in about the same places, each with noise of its own."""
    rng = np.random.default_rng(0)
    cell = ndimage.gaussian_filter(rng.random((256, 256)), 40)
    cell = (cell - cell.min()) / np.ptp(cell)
    inside = [ndimage.gaussian_filter(rng.random((256, 256)), 2) for _ in range(3)]
    image = np.stack([0.3 * cell + 4 * (one - 0.5) + rng.normal(0, 0.02, cell.shape) for one in inside], -1)
    assert not are_related(image)
