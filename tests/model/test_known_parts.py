import numpy as np
import pytest

from model.arrays.known_parts import parts

Array = np.ndarray


def covered(missing: Array, smallest: int) -> tuple[Array, list]:
    """How often each pixel is in a part, and the parts."""
    found = parts(missing, smallest)
    times = np.zeros(missing.shape, int)
    for part in found:
        times[part] += 1
    return times, found


def test_all_that_is_known_is_one_part() -> None:
    assert parts(np.zeros((100, 70), bool), 64) == [(slice(0, 100), slice(0, 70))]
    assert parts(np.zeros((100, 60), bool), 64) == []
    assert parts(np.ones((200, 200), bool), 64) == []


@pytest.mark.parametrize("side", [64, 71, 150])
def test_a_field_in_padding_is_found_to_the_pixel(side: int) -> None:
    missing = np.ones((320, 301), bool)
    missing[37 : 37 + side, 101 : 101 + side] = False
    assert parts(missing, 64) == [(slice(37, 37 + side), slice(101, 101 + side))]


def test_gaps_part_an_image_and_specks_do_not() -> None:
    missing = np.zeros((300, 400), bool)
    missing[140:157] = missing[:, 200:207] = True
    missing.ravel()[np.random.default_rng(0).choice(missing.size, 100, False)] = True
    missing[:, 50] = True  # a dead column
    times, found = covered(missing, 64)
    assert len(found) == 4 and times.max() == 1
    assert times[:140, :200].all() and times[157:, 207:].all() and not times[145].any() and not times[:, 203].any()


def test_of_a_turned_field_most_is_kept_and_nothing_that_is_missing() -> None:
    y, x = np.mgrid[:500, :500] - 250
    known = (np.abs(x * 0.9 + y * 0.436) < 180) & (np.abs(y * 0.9 - x * 0.436) < 180)
    times, found = covered(~known, 64)
    assert times.max() == 1 and not times[~known].any()
    assert times.sum() > 0.5 * known.sum()
    assert all(min(p.stop - p.start for p in part) >= 64 for part in found)
