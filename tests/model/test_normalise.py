"""Percentiles by counting."""

import numpy as np
import pytest

from model.arrays import normalise


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("size", [1, 2, 7, 1000, 4096])
def test_counted_percentiles_are_numpys(dtype: type, size: int) -> None:
    values = np.random.default_rng(size).integers(0, np.iinfo(dtype).max, size).astype(dtype)
    expected = np.percentile(values.astype(float), [0.05, 99.95])
    found = normalise._percentiles(*np.unique(values, return_counts=True))
    assert found == pytest.approx(expected.tolist(), rel=1e-12)


@pytest.mark.parametrize(
    ("values", "fills"),
    [
        (np.array([3, 9], np.uint8), True),
        (np.linspace(0, 4095, 5000).astype(np.uint16), False),
        (np.linspace(0, 20_000, 5000).astype(np.uint16), True),
        (np.linspace(0, 1, 5000, dtype=np.float32), False),
    ],
)
def test_a_scale_is_filled_by_8_bits_and_by_more_bits_that_reach_high(values: np.ndarray, fills: bool) -> None:
    assert normalise.fills_scale(values) == fills
