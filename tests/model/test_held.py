import numpy as np
import pytest

from model import Denoiser
from model.report.held import Held


def test_the_place_of_least_change_is_named() -> None:
    held = Held()
    kept = np.ones((1, 256, 256), np.float32)
    held.add(kept, (0, 0))
    kept[:, 128:192, 64:128] = 0.1
    held.add(kept, (256, 512))
    (said,) = held.warnings(2 * kept.size)
    assert said.startswith("in 3 % of the image") and "row 416, column 608" in said


def test_a_little_is_not_said() -> None:
    held = Held()
    kept = np.ones((1, 256, 256), np.float32)
    kept[:, :8, :8] = 0
    held.add(kept, (0, 0))
    assert held.warnings(kept.size) == []


@pytest.fixture(scope="module")
def base() -> Denoiser:
    return Denoiser.load("base-gray", "cpu")


def test_the_noise_of_a_wide_range_is_told_as_it_is(base: Denoiser) -> None:
    """Cells of some 50 photons beside dead ones of 30,000: the report spoke of an image without noise."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:256, :256]
    light = 30 + 20 * np.sin(x / 20) * np.sin(y / 17) + 30_000 * np.exp(-((y - 60) ** 2 + (x - 70) ** 2) / 128)
    _, found = base.denoise_with_report((rng.poisson(light) + 100).astype(np.uint16))
    assert found is not None
    assert found.alpha_native == pytest.approx(1, rel=0.25)
    assert not any("almost no noise" in said or "keep the original" in said for said in found.warnings)


def test_weak_noise_under_texture_is_said_in_plain_words(base: Denoiser) -> None:
    rng = np.random.default_rng(0)
    fine = rng.random((128, 128)).repeat(2, 0).repeat(2, 1)
    fine[:, :128] = 0.5
    noisy = (fine + rng.normal(0, 0.004, fine.shape)).astype(np.float32)
    _, found = base.denoise_with_report(noisy)
    assert found is not None
    assert any("more harm than good" in said for said in found.warnings)
