"""Options in a job's row: of older programs, of newer ones, and back as they were."""

from __future__ import annotations

from typing import Any

import pytest

from store.errors import OptionsNotUnderstood
from store.options import KNOWS_FRAMES, LATER, REVISION, DenoiseOptions, FineTuneOptions, Roi


def test_an_older_row_gets_the_defaults() -> None:
    options = DenoiseOptions.read({"strength": 0.5})
    assert (options.strength, options.normalize, options.metadata, options.report) == (0.5, "auto", "keep", True)
    assert (options.model, options.roi, options.output_format, options.webhook_url) == (None, None, None, None)
    assert (FineTuneOptions.read({}).minutes, FineTuneOptions.read({"max_minutes": 2}).minutes) == (15.0, 2.0)


def test_a_method_that_is_named_is_left_to_workers_that_know_it() -> None:
    """What older workers do anyway is `auto` enough; a row of a caller who chose nothing stays as it was."""
    assert FineTuneOptions().needs == FineTuneOptions(method="auto").needs == 0
    assert FineTuneOptions(method="thinning").needs == FineTuneOptions(method="blind2sound").needs == 2 <= REVISION
    assert "method" not in FineTuneOptions().row() and "method" not in FineTuneOptions().identity()
    assert FineTuneOptions.read(FineTuneOptions(method="blind2sound").row()).method == "blind2sound"
    with pytest.raises(OptionsNotUnderstood, match="method=magic"):
        FineTuneOptions.read({"method": "magic"})


def test_a_newer_row_may_have_options_that_are_not_known() -> None:
    assert DenoiseOptions.read({"strength": 0.5, "sharpness": 3}).strength == 0.5


@pytest.mark.parametrize(
    "row",
    [
        {"roi": "01,2,3,4", "strength": 0.25, "metadata": "safe", "model": "base-rgb"},
        {"output_format": "tiff", "webhook_url": "https://example.com/ü"},  # taken by a gateway before 2026-11-22
    ],
)
def test_a_row_is_written_as_it_was_read(row: dict[str, Any]) -> None:
    written = DenoiseOptions.read(row).row()
    assert DenoiseOptions.read(written).row() == written
    assert {name: written[name] for name in row} == row | ({"roi": "1,2,3,4"} if "roi" in row else {})
    assert ("model" in written) == ("model" in row)


def test_a_value_that_is_not_known_is_named() -> None:
    with pytest.raises(OptionsNotUnderstood, match="normalize=twice; metadata=some"):
        DenoiseOptions.read({"normalize": "twice", "metadata": "some"})


@pytest.mark.parametrize(
    "text", ["1,2,3", "1,2,3,4,5", "-1,2,3,4", "1,2,0,4", "a,2,3,4", "1,2,3,1000000", "²,1,1,1", ""]
)
def test_what_is_no_crop(text: str) -> None:
    with pytest.raises(OptionsNotUnderstood, match="roi="):
        DenoiseOptions.read({"roi": text})


@pytest.mark.parametrize(("width", "height", "inside"), [(10, 10, True), (9, 10, False), (10, 9, False)])
def test_a_crop_lies_in_an_image_or_not(width: int, height: int, inside: bool) -> None:
    assert Roi(2, 3, 8, 7).lies_in(width, height) is inside


def test_frames_that_are_asked_for_are_left_to_workers_that_know_them() -> None:
    """Older ones take every image by itself, as `auto` may and `none` does."""
    assert FineTuneOptions(frames="auto").needs == FineTuneOptions(frames="none").needs == 0
    needs = {FineTuneOptions(frames=frames, method="thinning").needs for frames in ("related", "3", "5")}
    assert needs == {KNOWS_FRAMES} and KNOWS_FRAMES <= REVISION
    assert "frames" not in FineTuneOptions().row() and "frames" not in FineTuneOptions().identity()
    assert FineTuneOptions.model_validate({"frames": 5}).frames == "5"  # JSON has numbers
    assert FineTuneOptions.read(FineTuneOptions(frames="3").row()).frames == "3"
    with pytest.raises(OptionsNotUnderstood, match="frames=7"):
        FineTuneOptions.read({"frames": "7"})


def test_a_request_without_later_options_is_the_same_to_an_older_gateway() -> None:
    """Its hash is what a retry of before the upgrade is compared with."""
    for options in (DenoiseOptions(), FineTuneOptions()):
        assert not options.identity().keys() & LATER
    assert DenoiseOptions(lines="remove").identity()["lines"] == "remove"
    assert DenoiseOptions.model_fields.keys() | FineTuneOptions.model_fields.keys() >= LATER
