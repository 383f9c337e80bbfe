"""Noise that neighbours share: found, drawn, split into pairs, and not fooling the verdict."""

from typing import Any

import numpy as np
import pytest
import torch

from model.arrays.normalise import Normalisation
from model.arrays.pixels import Pixels
from model.finetuning import noise_shape
from model.finetuning.blind_spots import blind_spots
from model.finetuning.finetune import FineTuner
from model.finetuning.noise_shape import REACH, NoiseShape
from model.inference.denoiser import Denoiser
from model.noise import thinning
from model.noise.coloured import coloured
from tests.model.test_finetune import config

UNIT = Normalisation(0.0, 1.0)
BLUR = 0.7  # pixels: neighbours' correlation is exp(-1 / (4 · 0.7²)) = 0.60, two away 0.13


def scenes(count: int, side: int) -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:side, :side]
    waves = [np.sin(x / rng.uniform(9, 30) + y / rng.uniform(9, 30) + rng.uniform(0, 6)) for _ in range(count)]
    return [(0.5 + 0.3 * wave).astype(np.float32)[None] for wave in waves]


def blurred(noise: np.ndarray, across: float = BLUR, down: float = BLUR) -> np.ndarray:
    """White noise (…, H, W) behind a Gaussian, at its own strength."""
    rows, columns = np.meshgrid(*(np.fft.fftfreq(side) for side in noise.shape[-2:]), indexing="ij")
    kernel = np.exp(-2 * np.pi**2 * ((down * rows) ** 2 + (across * columns) ** 2))
    return np.fft.ifft2(np.fft.fft2(noise) * kernel).real / np.sqrt((kernel**2).mean())


def noisy(count: int = 10, side: int = 96, sigma: float = 0.1, **blur: float) -> list[Pixels]:
    rng = np.random.default_rng(5)
    return [(s + blurred(rng.normal(0, sigma, s.shape), **blur)).astype(np.float32) for s in scenes(count, side)]


@pytest.fixture(scope="module")
def base() -> Denoiser:
    return Denoiser.load("base-gray", device="cpu", precision="float32")


def test_white_noise_is_told_independent(base: Denoiser) -> None:
    found = noise_shape.measure(base, noisy(across=0, down=0), UNIT)
    assert not found.correlated and max(abs(found.beside), abs(found.below)) < 0.1
    assert "independent from pixel to pixel" in found.words(False)


def test_blurred_noise_is_found_with_its_correlation(base: Denoiser) -> None:
    found = noise_shape.measure(base, noisy(), UNIT)
    assert found.correlated and found.stride == 3 and found.blind_reach >= 2
    assert (found.beside, found.below, found.two_away) == pytest.approx((0.60, 0.60, 0.13), abs=0.08)
    assert "shared by neighbours" in found.words(True) and "noise of that shape" in found.words(True)


def test_noise_of_line_scans_is_found_along_the_line_alone(base: Denoiser) -> None:
    found = noise_shape.measure(base, noisy(down=0), UNIT)
    assert found.correlated and found.beside > 0.45 and abs(found.below) < 0.15


def test_weak_noise_is_not_told_from_texture(base: Denoiser) -> None:
    assert not noise_shape.measure(base, noisy(sigma=0.004), UNIT).correlated


def shape_of(channels: int = 1, between: float = 0.0) -> NoiseShape:
    """The shape of blurred noise, its channels alike to a degree."""
    lag = np.arange(-REACH, REACH + 1)
    own = np.exp(-(lag[:, None] ** 2 + lag[None] ** 2) / (4 * BLUR**2))
    mixed = np.full((channels, channels), between)
    np.fill_diagonal(mixed, 1.0)
    return NoiseShape(mixed[..., None, None] * own, 3)


def test_drawn_noise_has_the_shape_and_the_strength() -> None:
    shape = shape_of(3, between=0.4)
    drawn = coloured(torch.full((4, 3, 128, 128), 0.2), shape.filters, torch.Generator().manual_seed(0)).numpy()
    assert drawn.std((0, 2, 3)) == pytest.approx(0.2, rel=0.05)
    own = drawn[:, 0]
    assert (own[:, 1:] * own[:, :-1]).mean() / (own**2).mean() == pytest.approx(0.6, abs=0.04)
    assert np.corrcoef(drawn[:, 0].ravel(), drawn[:, 2].ravel())[0, 1] == pytest.approx(0.4, abs=0.05)


def test_a_pair_shares_no_noise_at_any_lag() -> None:
    """Split as independent noise, its halves would share what neighbours share."""
    rng = np.random.default_rng(0)
    clean = torch.full((16, 1, 96, 96), 0.5)
    noise = torch.from_numpy(blurred(rng.normal(0, 0.1, clean.shape)).astype(np.float32))
    lines = torch.tensor([[[0.0, 0.01, 0.0, 0.0]]]).expand(16, 1, 4)

    def shared(filters: torch.Tensor | None) -> float:
        pair = thinning.thin(clean + noise, lines, 0.7, torch.Generator().manual_seed(1), filters)
        first, second = pair.first - clean, pair.second - clean
        return float((first[..., 1:] * second[..., :-1]).mean()) / 0.01

    assert abs(shared(shape_of().filters)) < 0.02
    assert shared(None) > 0.5


def test_a_blind_spot_does_not_see_what_it_is_judged_by() -> None:
    image = torch.rand((1, 1, 64, 64), generator=torch.Generator().manual_seed(0))
    for spots in blind_spots(image, reach=2):
        moved = image.clone()
        moved[..., spots.start :: spots.cell, spots.start :: spots.cell] += 1
        moved[..., spots.start + 2 :: spots.cell, spots.start :: spots.cell] += 1
        other = next(s for s in blind_spots(moved, reach=2) if s.start == spots.start)
        torch.testing.assert_close(other.image, spots.image)
        assert 0 < spots.at(image).numel() <= (64 // spots.cell + 1) ** 2


@pytest.fixture(scope="module")
def tuned() -> dict[str, Any]:
    """The same training on the same set, as the noise is and as if it were independent."""
    settings = {"max_steps": 60, "crop": 64, "batch": 4, "precision": "float32", "threads": 1, "lr": 1e-3}
    images, truth = noisy(12), scenes(12, 96)
    found: dict[str, Any] = {}
    for noise in ("auto", "independent"):
        tuner = FineTuner(config(noise=noise, **settings), images)
        result, network = tuner.run(), tuner.trainer.published().eval()
        unit = torch.from_numpy(np.stack([tuner.scaling.to_unit(image) for image in images]))
        with torch.inference_mode():
            error = network(unit)[0].numpy() * tuner.scaling.scale + tuner.scaling.offset - np.stack(truth)
        found[noise] = (result, float(np.sqrt((error**2).mean())))
    return found


def test_it_is_learned_to_be_taken_out_and_promoted(tuned: dict[str, Any]) -> None:
    (result, error), (_, as_independent) = tuned["auto"], tuned["independent"]
    assert error < 0.7 * as_independent  # which leaves nearly all of it in
    assert result.promoted, result.scores
    assert result.noise["shape"]["correlated"] and result.card["noise"]["shape"]["treated_as"] == "correlated"


def test_an_option_overrides_what_was_found_and_the_report_says_so(tuned: dict[str, Any]) -> None:
    result, _ = tuned["independent"]
    assert result.noise["shape"]["correlated"] and result.noise["shape"]["treated_as"] == "independent"
    assert result.noise["said"].endswith("it is treated as independent noise.")
