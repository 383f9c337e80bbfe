"""The table of noise estimates: what the estimators find, and what stands beside it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lab import estimates
from lab.estimates import Estimate, Row
from model.errors import InvalidOption
from model.noise.poisson_gaussian import PoissonGaussian


def smooth(channels: int = 1, side: int = 96) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    ramp = np.linspace(0.2, 0.8, side, dtype=np.float32)
    return np.stack([np.outer(ramp, np.roll(ramp, 7 * channel)) for channel in range(channels)])


@pytest.mark.parametrize("channels", [1, 3])
def test_the_descent_ends_where_the_image_s_noise_is_even(channels: int) -> None:
    truth = PoissonGaussian(0.05, 0.02)
    noisy = truth.add(smooth(channels), np.random.default_rng(1))
    found = estimates.by_cramer(noisy)
    brightness = float(smooth(channels).mean())
    there = found.alpha * brightness + found.sigma**2
    assert there == pytest.approx(truth.alpha * brightness + truth.sigma**2, rel=0.15)
    assert found != estimates.by_cramer(2 * noisy)


def test_a_table_of_a_folder_has_the_truth_and_the_published_beside_what_is_found(tmp_path: Path) -> None:
    Image.fromarray(np.uint8(255 * smooth()[0])).save(tmp_path / "ramp.png")
    rows = estimates.measured(tmp_path, 1, ["PG3"])
    assert [row.estimator for row in rows] == ["Cramer loss, by descent", "the service's report"]
    assert rows[1].mean.alpha == pytest.approx(0.05, rel=0.25)
    table = estimates.markdown(rows)
    assert "| PG3 | truth | 0.0500 | 0.0200 |" in table
    assert "| PG3 | PGE-Net, published | 0.0398 | 0.0036 |" in table
    assert table.count("±") == 4


def test_a_row_without_spread_is_written_without() -> None:
    assert estimates.markdown([Row("none", "x", Estimate(0.25, 0.5), None)]).endswith("| none | x | 0.2500 | 0.5000 |")


def test_an_unknown_level_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidOption, match="PG9"):
        estimates.measured(tmp_path, 1, ["PG9"])
