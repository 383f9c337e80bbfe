"""Quantiles of short rows are those of NumPy, to the last bit."""

import numpy as np
import pytest

from model.noise.quantiles import median, quantile


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7, 8, 24, 25, 131, 1000])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_median_is_numpy_s(size: int, dtype: type) -> None:
    values = np.random.default_rng(size).normal(0, 1, size).astype(dtype)
    assert median(values) == float(np.median(values))


@pytest.mark.parametrize("size", [1, 2, 3, 7, 24, 131, 1000])
def test_a_quantile_is_numpy_s(size: int) -> None:
    values = np.random.default_rng(size).exponential(1, size)
    shares = (0.0, 0.02, 0.05, 0.15, 0.5, 0.77, 0.98, 1.0)
    assert quantile(values, *shares) == np.quantile(values, shares).tolist()


def test_the_values_keep_their_order() -> None:
    values = np.array([3.0, 1.0, 2.0, 5.0])
    median(values.reshape(2, 2)), quantile(values, 0.3)
    assert values.tolist() == [3.0, 1.0, 2.0, 5.0]
