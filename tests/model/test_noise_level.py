import numpy as np
import pytest
from scipy import ndimage
from skimage import data

from model.noise import noise_level
from model.noise.noise_level import NoiseLevel


def of(image: np.ndarray) -> list[NoiseLevel]:
    stack = np.atleast_3d(image)[None]
    return noise_level.estimate(noise_level.squares(stack, [0], slice(0, stack.shape[-1])))


@pytest.mark.parametrize(("alpha", "sigma"), [(1.0, 3.0), (0.0, 5.0), (4.0, 0.0)])
def test_the_line_of_a_photograph(alpha: float, sigma: float) -> None:
    clean = data.camera().astype(float)
    noisy = clean + np.random.default_rng(0).normal(size=clean.shape) * np.sqrt(alpha * clean + sigma**2)
    (found,) = of(noisy)
    levels = np.array([20.0, 100.0, 200.0])
    assert found.correlated == 1
    assert np.allclose(found.variance_at(levels) / (alpha * levels + sigma**2), 1, atol=0.25)


def test_the_line_holds_over_decades_of_brightness() -> None:
    """Counts of 20 in the dark and 20,000 beside it; a line through variances as they are would miss the dark."""
    rng = np.random.default_rng(0)
    light = np.where(np.arange(512) < 400, 20.0, 20_000.0) * np.linspace(0.5, 1, 512)[:, None]
    (found,) = of(rng.poisson(light).astype(np.uint16))
    levels = np.array([12.0, 20.0, 15_000.0])
    assert np.allclose(found.variance_at(levels) / levels, 1, atol=0.25)


def test_an_end_of_the_range_does_not_make_the_noise_small() -> None:
    """A black background cuts half of its noise off."""
    scene = np.where(np.arange(256) < 200, 0, 120.0) + np.zeros((256, 1))
    noisy = np.clip((scene + np.random.default_rng(0).normal(0, 4, scene.shape)).round(), 0, 255).astype(np.uint8)
    (found,) = of(noisy)
    assert found.variance_at(np.array([120.0]))[0] == pytest.approx(16, rel=0.25)


def test_correlated_noise_is_known_from_texture() -> None:
    rng = np.random.default_rng(0)
    smooth = ndimage.gaussian_filter(rng.normal(size=(256, 256)), 0.7)
    assert of(100 + 20 * smooth)[0].correlated > 1.5
    assert of(data.camera() + rng.normal(0, 8, (512, 512)))[0].correlated == 1


def test_marks_do_not_count() -> None:
    noisy = np.random.default_rng(0).normal(100, 5, (256, 256))
    noisy[::9, ::50] = np.nan
    noisy[10:40, 10:40] = -9999
    some = noise_level.within(noise_level.squares(noisy[None, ..., None], [0], slice(0, 1)), 0, 200)
    (found,) = noise_level.estimate(some)
    assert found.variance_at(np.array([100.0]))[0] == pytest.approx(25, rel=0.2)


@pytest.mark.parametrize("shape", [(1, 1), (7, 300), (20, 20)])
def test_of_a_small_image_nothing_is_told(shape: tuple[int, int]) -> None:
    assert of(np.random.default_rng(0).random(shape)) == []


def counts(mean: float) -> np.ndarray:
    """Photons of a smooth scene, few or none of which a pixel sees."""
    y, x = np.mgrid[:256, :256]
    return np.random.default_rng(0).poisson(mean * (1 + 0.8 * np.sin(x / 23) * np.sin(y / 17))).astype(np.float32)


@pytest.mark.parametrize("mean", [0.02, 0.04, 0.18, 0.37, 1.5])
@pytest.mark.parametrize("border", [0, 128, 200])
def test_the_line_of_sparse_counts(mean: float, border: int) -> None:
    """Most squares have hardly a count: the quietest of them, and those of a border, show none."""
    noisy = counts(mean)
    noisy[:, :border] = 0
    (found,) = of(noisy)
    assert found.variance_at(np.array([mean]))[0] == pytest.approx(mean, rel=0.3)


def test_a_drawing_without_noise_has_none() -> None:
    y, x = np.mgrid[:256, :256]
    discs = 200.0 * (((x % 90 - 45) ** 2 + (y % 90 - 45) ** 2) < 300)
    (found,) = of(discs)
    assert found.variance_at(np.array([discs.mean()]))[0] < 10


def test_of_a_constant_image_with_hardly_a_dot_the_line_is_a_number() -> None:
    for dots in range(0, 60, 3):
        image = np.zeros((256, 256))
        image.ravel()[np.random.default_rng(dots).choice(image.size, dots, replace=False)] = 1
        (found,) = of(image)
        assert np.isfinite([found.alpha, found.intercept]).all()


def test_columns_without_noise_beside_noise_give_a_number_in_large_units() -> None:
    rng = np.random.default_rng(0)
    image = np.zeros((256, 256)) + rng.integers(0, 1000, 256) / 256
    image[:90] = rng.normal(6, 1, (90, 256))
    (found,) = of(1e9 * image)
    assert np.isfinite([found.alpha, found.intercept]).all()


def test_texture_that_exceeds_the_noise_everywhere_is_not_correlated_noise() -> None:
    rng = np.random.default_rng(0)
    frequency = np.hypot(np.fft.fftfreq(256)[:, None], np.fft.fftfreq(256)[None])
    frequency[0, 0] = 1
    rough = np.fft.ifft2(np.fft.fft2(rng.normal(size=(256, 256))) / frequency**1.7).real
    (found,) = of(rough / rough.std() + rng.normal(0, 0.005, rough.shape))
    assert found.hidden and found.correlated == 1
    shared = ndimage.gaussian_filter(rng.normal(size=(512, 512)), 0.7)
    (found,) = of(data.camera() / 255 + 0.03 * shared / shared.std())
    assert not found.hidden and found.correlated > 1.5


def test_a_line_does_not_fall_to_nothing_below_what_was_seen() -> None:
    level = NoiseLevel(1.0, -10.0, darkest=20.0)
    assert level.variance_at(np.array([12.0, 20.0, 30.0])).tolist() == [10.0, 10.0, 20.0]
