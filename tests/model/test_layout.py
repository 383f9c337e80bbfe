"""Where the report's places lie in the image that was sent, if the model saw planes of it."""

import numpy as np
import pytest

from images.mosaic import Sites, cropped, joined, planes
from model.noise.noise_kind import NoiseKind, Pattern
from model.noise.noise_level import NoiseLevel
from model.noise.noise_words import describe, warnings
from model.report.held import Held
from model.report.layout import SAME, Layout
from model.report.regions import Regions

LEVEL = [[NoiseLevel(0, 1.0)]] * 4


def of(sites: Sites) -> Layout:
    return Layout(2, sites.top, sites.left, sites.height, sites.width)


@pytest.mark.parametrize("sides", [(256, 320), (255, 319)])
@pytest.mark.parametrize("start", [(0, 0), (1, 0), (0, 1), (33, 61)])
def test_a_region_of_a_mosaic_covers_what_was_changed_in_it(sides: tuple[int, int], start: tuple[int, int]) -> None:
    """Of a whole mosaic and of crops that begin in any row and column, of even and odd sides."""
    mosaic = np.zeros(sides, np.float32)
    mosaic[128:192, 192:256] = 100
    (top, left), (height, width) = start, sides
    rows, columns, sites = cropped(Sites(*sides), slice(top, height), slice(left, width))
    after = planes(mosaic)[rows, columns]
    regions = Regions(of(sites))
    regions.add(0, np.zeros_like(after), after, None, LEVEL)
    shown = joined(after[None], sites)[0, ..., 0]
    named = np.zeros(shown.shape, bool)
    for one in regions.named():
        assert one.channel == 0 and one.x >= 0 and one.y >= 0
        assert one.x + one.width <= shown.shape[1] and one.y + one.height <= shown.shape[0]
        assert not named[one.y : one.y + one.height, one.x : one.x + one.width].any()  # nothing is named twice
        named[one.y : one.y + one.height, one.x : one.x + one.width] = True
    assert named[shown > 0].mean() > 0.9
    assert named.sum() <= 4 * (shown > 0).sum()  # squares that are partly changed


def test_a_region_that_one_site_shows_is_named_once_and_by_its_share() -> None:
    after = np.zeros((128, 128, 4), np.float32)
    after[32:64, 64:96, :3] = 100
    regions = Regions(Layout(2, height=256, width=256))
    regions.add(0, np.zeros_like(after), after, None, LEVEL)
    (one,) = regions.named()
    assert (one.x, one.y, one.width, one.height) == (128, 64, 64, 64)
    (said,) = regions.warnings()
    assert "64 x 64 pixels from row 64, column 128" in said and f"in {100 * 3 * 32**2 / after.size:.2g} %" in said


def test_other_places_and_periods_are_the_mosaic_s_as_well() -> None:
    held = Held()
    kept = np.ones((1, 256, 256), np.float32)
    kept[:, 128:192, 64:128] = 0.1
    held.add(kept, (0, 0))
    (said,) = held.warnings(kept.size, Layout(2, top=1))
    assert "row 319, column 192" in said
    found = NoiseKind(std=1.0, strength=0.1, patterns=(Pattern(8.0, 4.0, 1.0),))
    assert describe(found, step=2)["patterns"] == [{"rows": 16.0, "columns": 8.0, "amplitude": 1.0}]
    assert "16 rows and 8 columns" in warnings(found, step=2)[0]


def test_channels_that_are_sites_are_called_so() -> None:
    assert SAME.channel(1) == "channel 2"
    assert "first row and the second column" in Layout(2).channel(1)
    assert "first row and the second column" in Layout(2, top=1, left=1).channel(2)


def test_pixels_that_measured_nothing_are_not_said_to_be_left_as_they_are() -> None:
    """A mosaic with 75 % padding was said to be left as it was in 227 % of its pixels."""
    held = Held()
    kept = np.zeros((1, 256, 256), np.float32)
    kept[:, :64] = 1
    missing = kept == 0
    held.add(kept, (0, 0), missing)
    assert held.warnings(int((~missing).sum())) == []
