"""Percentiles by counting."""

import numpy as np
import pytest

from model import normalise


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("size", [1, 2, 7, 1000, 4096])
def test_counted_percentiles_are_numpys(dtype: type, size: int) -> None:
    values = np.random.default_rng(size).integers(0, np.iinfo(dtype).max, size).astype(dtype)
    expected = np.percentile(values.astype(float), [0.05, 99.95])
    found = normalise._percentiles(*np.unique(values, return_counts=True))
    assert found == pytest.approx(expected.tolist(), rel=1e-12)
