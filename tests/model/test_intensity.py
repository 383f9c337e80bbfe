import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from skimage import data

from model import Denoiser
from model.arrays import intensity

SEPIA = (1.0, 0.9, 0.75)


def gray(sigma: float = 12.0) -> np.ndarray:
    noisy = data.camera()[:256, :320] + np.random.default_rng(0).normal(0, sigma, (256, 320))
    return np.clip(noisy.round(), 0, 255)


def toned(values: np.ndarray, slopes: tuple[float, ...] = SEPIA) -> np.ndarray:
    return np.clip((values[..., None] * np.array(slopes)).round(), 0, 255).astype(np.uint8)


def of(image: np.ndarray) -> intensity.Intensity | None:
    return intensity.find(image[None])


def test_of_equal_channels_it_is_one_of_them() -> None:
    image = toned(gray(), (1, 1, 1))
    found = of(image)
    assert found is not None
    assert found.of(image).dtype == np.uint8 and (found.of(image)[..., 0] == image[..., 1]).all()
    assert (found.spread(found.of(image), np.full((256, 320, 1), -3, np.float32)) == -3).all()


def test_of_sepia_each_channel_follows_by_its_slope() -> None:
    found = of(toned(gray()))
    assert found is not None and found.curve is None
    assert np.allclose(found.slopes, SEPIA, atol=0.01)


@pytest.mark.parametrize("slopes", [(0.0, 1.0, 0.0), (1.0, 0.0, 1.0), (-1.0, -1.0, -1.0)])
def test_a_channel_may_be_empty_and_all_may_be_reversed(slopes: tuple[float, ...]) -> None:
    image = toned(gray(), slopes) if min(slopes) >= 0 else 255 - toned(gray(), (1, 0.8, 0.6))
    assert of(image) is not None


def test_a_tone_that_is_cut_off_is_a_curve() -> None:
    image = toned(gray(), (1.8, 1.1, 0.7))
    found = of(image)
    assert found is not None and found.curve is not None
    before = found.of(image)
    change = found.of(toned(gray(0), (1.8, 1.1, 0.7))).astype(np.float32) - before
    clean = image + found.spread(before, change)
    error = np.abs(clean - toned(gray(0), (1.8, 1.1, 0.7))).mean()
    assert error < 1.5  # of 12 · 1.2 gray levels of noise; what is cut off at the end is not found again


@pytest.mark.parametrize("quality", [90, 98])
def test_a_coding_that_changes_colours_a_little_changes_nothing(quality: int) -> None:
    file = io.BytesIO()
    Image.fromarray(toned(gray())).save(file, "JPEG", quality=quality)
    assert of(np.asarray(Image.open(file))) is not None


@pytest.mark.parametrize(("dtype", "scale"), [(np.uint16, 200.0), (np.float32, 1e-3), (np.float64, 1e6)])
def test_other_types_have_one_too(dtype: type, scale: float) -> None:
    image = (gray()[..., None] * np.array(SEPIA) * scale).astype(dtype)
    found = of(image)
    assert found is not None
    assert np.allclose(found.of(image)[..., 0], image[..., 0], rtol=1e-3, atol=2e-3 * scale)


def test_marks_in_colour_do_not_hide_it() -> None:
    image = toned(gray())
    image[240:244, 250:310] = (255, 0, 0)  # a scale bar
    assert of(image) is not None


def test_three_measurements_of_a_gray_scene_have_none() -> None:
    for sigma in (2, 12):
        assert (
            of(np.stack([gray(0) + np.random.default_rng(c).normal(0, sigma, (256, 320)) for c in range(3)], -1))
            is None
        )


@pytest.mark.parametrize("sigma", [0, 12])
def test_photographs_have_none(sigma: float) -> None:
    for photograph in (data.astronaut(), data.coffee(), data.chelsea(), data.immunohistochemistry()):
        noisy = photograph + np.random.default_rng(0).normal(0, sigma, photograph.shape)
        assert of(np.clip(noisy.round(), 0, 255).astype(np.uint8)) is None


def test_one_page_in_colour_is_enough_for_none() -> None:
    one = toned(gray())
    assert intensity.find(np.stack([one, one])) is not None
    assert intensity.find(np.stack([one, data.astronaut()[:256, :320]])) is None


def test_of_constant_and_odd_images_nothing_breaks() -> None:
    assert of(np.zeros((4, 5, 3), np.uint8)) is not None
    assert of(np.full((4, 5, 3), (1, 2, 3), np.uint8)) is None
    assert of(np.zeros((64, 64, 1))) is None
    assert of(np.full((8, 8, 3), np.nan, np.float32)) is None
    assert of(np.random.default_rng(0).random((1, 1, 3))) is None


@pytest.fixture(scope="module")
def base() -> Denoiser:
    return Denoiser.load("base-gray", "cpu")


def psnr(image: np.ndarray, clean: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((image.astype(float) - clean) ** 2)))


def test_gray_stored_as_colour_comes_back_as_the_same_stored_gray(base: Denoiser) -> None:
    noisy = gray().astype(np.uint8)
    alone, told = base.denoise_with_report(noisy)
    together, told_together = base.denoise_with_report(np.repeat(noisy[..., None], 3, 2))
    assert (together == alone[..., None]).all()
    assert told is not None and told_together is not None and told.channels == []
    assert told_together.noise_kind["kinds"] == ["equal_channels"]  # which the one intensity takes care of
    assert replace(told_together, noise_kind=told.noise_kind) == told


@pytest.mark.parametrize("slopes", [SEPIA, (1.351, 1.203, 0.937), (0.0, 1.0, 0.2)])
def test_toned_comes_back_nearly_as_good(base: Denoiser, slopes: tuple[float, ...]) -> None:
    clean, noisy = toned(gray(0), slopes), toned(gray(), slopes)
    stored_gray = toned(base.denoise(gray().astype(np.float32)), slopes)
    assert psnr(base.denoise(noisy), clean) > psnr(stored_gray, clean) - 0.2


def test_a_region_of_interest_follows_as_the_whole_image(base: Denoiser) -> None:
    image = toned(gray(), (1.8, 1.1, 0.7))
    scalings = base.scalings(image)
    whole = base.denoise(image, normalize=scalings)
    part = base.denoise(image[64:192, 128:256], normalize=scalings)
    difference = whole[96:160, 160:224].astype(int) - part[32:96, 32:96]
    assert np.abs(difference).mean() < 0.1  # the network sees another border
