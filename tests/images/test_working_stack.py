"""A stack put together page by page is the stack converted at once."""

from __future__ import annotations

import numpy as np
import pytest

from images.samples import to_working
from images.working_stack import WorkingStack
from tests.harness import files


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "uint32", "float16", "float32", "float64"])
def test_same_as_at_once(dtype: str) -> None:
    stored = files.noise((4, 6, 5, 2), dtype)
    stored[:2] = 7  # no page before the third needs its exact samples
    stack = WorkingStack(4, np.empty)
    for index, page in enumerate(stored):
        stack.put(index, page, page[..., 0])
    pixels, exact, warnings = to_working(stored)
    np.testing.assert_array_equal(stack.pixels, pixels)
    assert (stack.exact is None) == (exact is None)
    if exact is not None:
        np.testing.assert_array_equal(stack.exact, exact)
    np.testing.assert_array_equal(stack.alpha, stored[..., 0])
    assert (stack.dtype, stack.warnings) == (dtype, warnings)


def test_what_is_no_number_is_counted_over_all_pages_and_kept() -> None:
    stored = np.full((3, 4, 4, 1), 2.0, np.float32)
    stored[1, 0, 0], stored[2, 1, :2] = np.nan, np.inf
    stack = WorkingStack(3, np.empty)
    for index, page in enumerate(stored):
        stack.put(index, page, None)
    assert np.all(stack.pixels == 2.0)
    np.testing.assert_array_equal(stack.exact, stored)
    assert stack.warnings[0].startswith("3 samples")
