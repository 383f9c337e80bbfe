from collections.abc import Callable

import numpy as np
import pytest
from scipy import ndimage
from skimage import data

from model import Denoiser
from model.arrays.missing import Missing
from model.inference.line_step import LineStep, Whole, added

Array = np.ndarray
INDEX = np.arange(256)


@pytest.fixture(scope="module")
def gray() -> Denoiser:
    return Denoiser.load("base-gray", "cpu")


def scene(seed: int) -> Array:
    blobs = ndimage.gaussian_filter(np.random.default_rng(seed).random((256, 256)), 9)
    return 300 + 600 * (blobs - blobs.min()) / np.ptp(blobs)


def noisy(pattern: Array | float = 0.0, seed: int = 0) -> Array:
    noise = np.random.default_rng(seed + 100).normal(0, 12, (256, 256))
    return np.rint(scene(seed) + noise + pattern).astype(np.uint16)


def rmse(a: Array, b: Array) -> float:
    return float(np.sqrt(np.mean((a.astype(float) - b) ** 2)))


def left(result: Array, clean: Array, pattern: Array) -> float:
    """Share of the pattern's amplitude that is in a result."""
    pattern = np.broadcast_to(pattern, clean.shape)
    return float(((result - clean) * pattern).mean() / (pattern**2).mean())


RANDOM = np.random.default_rng(4).normal(0, 15, (256, 1))
ALTERNATING = np.where(INDEX % 2, 15.0, -15.0)[:, None]
CERTAIN = {"rows": RANDOM, "columns": RANDOM.T, "odd and even rows": ALTERNATING, "both": RANDOM + RANDOM[::-1].T}


@pytest.mark.parametrize("name", CERTAIN)
def test_line_noise_is_taken_out(gray: Denoiser, name: str) -> None:
    pattern, clean = CERTAIN[name], scene(0)
    out, report = gray.denoise_with_report(noisy(pattern))
    kept, _ = gray.denoise_with_report(noisy(pattern), lines=LineStep("keep"))
    assert report is not None
    assert abs(left(out, clean, pattern)) < 0.1  # was 0.83 to 0.9
    assert rmse(out, clean) < 0.65 * rmse(kept, clean) or "odd" in name
    assert any("gone from the result" in warning for warning in report.warnings)
    assert report.sigma_native == pytest.approx(12, rel=0.1)  # of the noise beside the lines


def test_half_the_strength_takes_out_half_the_lines(gray: Denoiser) -> None:
    out, _ = gray.denoise_with_report(noisy(ALTERNATING), strength=0.5)
    assert left(out, scene(0), ALTERNATING) == pytest.approx(0.5, abs=0.03)
    untouched, _ = gray.denoise_with_report(noisy(ALTERNATING), strength=0.0)
    assert np.array_equal(untouched, noisy(ALTERNATING))


def test_hum_is_taken_out_when_asked_for_and_told_of_otherwise(gray: Denoiser) -> None:
    hum = 15 * np.sin(2 * np.pi * INDEX[None] / 8)
    out, _ = gray.denoise_with_report(noisy(hum), lines=LineStep("remove"))
    assert abs(left(out, scene(0), hum)) < 0.1
    _, report = gray.denoise_with_report(noisy(hum))
    assert report is not None and any("still in the result" in warning for warning in report.warnings)


def test_lines_of_a_colour_image_are_those_of_each_channel() -> None:
    shifts = np.random.default_rng(5).normal(0, 12, (256, 1, 3))
    image = np.stack([noisy(seed=seed) for seed in (0, 1, 2)], -1) + shifts
    found = added(image.astype(np.float32), "auto")
    assert found is not None
    assert all(np.corrcoef(found[:, 0, c], shifts[:, 0, c])[0, 1] > 0.9 for c in range(3))


def test_a_part_has_the_lines_of_the_whole() -> None:
    whole = noisy(RANDOM)[None, ..., None]
    rows, columns = slice(40, 120), slice(10, 50)
    part = whole[0, rows, columns]
    found = LineStep("auto", Whole(whole, Missing(), rows, columns)).of(0, part)
    of_whole = LineStep().of(0, whole[0])
    assert found is not None and of_whole is not None
    assert np.array_equal(found, of_whole[rows, columns])


def test_black_and_saturated_pixels_get_no_lines() -> None:
    image = noisy(RANDOM)[..., None]
    image[:20, :20], image[30:40, :20] = 0, 65535
    found = LineStep().of(0, image)
    assert found is not None and not found[:20, :20].any() and not found[30:40, :20].any() and found[:20, 30].any()


PICTURES: dict[str, Callable[[], Array]] = {
    name: getattr(data, name)
    for name in (
        "astronaut",
        "camera",
        "chelsea",
        "clock",
        "coffee",
        "coins",
        "moon",
        "page",
        "rocket",
        "brick",
        "text",
    )
}


def variants(image: Array) -> dict[str, Array]:
    """Ordinary images with stripes of their own: blinds, screens, horizons, enlarged pixels; clean and with noise."""
    plain = image.astype(float)
    luma = plain.mean(2) if plain.ndim == 3 else plain
    rows = np.arange(len(plain)).reshape(-1, *[1] * (plain.ndim - 1))
    shown = {"plain": plain, "horizon": np.where(rows < len(plain) / 2, 200, 60) + 0.2 * plain}
    shown |= {f"blinds {period}": 0.6 * plain + 60 * (rows % period < period / 2) for period in (2, 3, 5, 8, 20)}
    rng = np.random.default_rng(6)
    shown |= {f"{name}, noisy": one + rng.normal(0, 14, one.shape) for name, one in shown.items()}
    shown["line screen"] = 255.0 * (np.arange(len(luma))[:, None] % 4 / 4 * 255 < luma)
    shown["halftone"] = 255.0 * (luma > rng.uniform(0, 255, luma.shape))
    shown["enlarged"] = plain.repeat(2, 0).repeat(2, 1)
    return {name: np.clip(np.rint(one), 0, 255).astype(np.uint8) for name, one in shown.items()}


@pytest.mark.parametrize("name", PICTURES)
def test_a_scene_s_own_stripes_stay(name: str) -> None:
    for kind, image in variants(PICTURES[name]()).items():
        assert added(image.reshape(*image.shape[:2], -1), "auto") is None, kind


def test_small_and_constant_images_have_no_lines() -> None:
    for shape in ((8, 200, 1), (40, 40, 3), (200, 31, 1)):
        for mode in ("auto", "remove"):
            assert added(np.full(shape, 7, np.uint8), mode) is None  # type: ignore[arg-type]
