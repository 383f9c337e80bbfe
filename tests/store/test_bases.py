"""The table of base models: whole, explicit, and with something to stand in for what is not shipped."""

from __future__ import annotations

import pytest

from store.bases import BASES, OF_QUALITY, Quality, Scene, base_for, has_quality, pins, scene_of

EVERY = {name for names in BASES.values() for name in names}


def test_every_quality_and_scene_has_a_row_that_begins_with_its_own() -> None:
    assert set(BASES) == {(quality, scene) for quality in Quality for scene in Scene}
    for (quality, scene), names in BASES.items():
        assert names[0] in OF_QUALITY[quality], (quality, scene)
        assert len(set(names)) == len(names) and {"base-gray", "base-gray-best"} <= set(names)
        assert not any("rgb" in name or "camera" in name for name in names) or scene != Scene.GRAY


@pytest.mark.parametrize(
    ("quality", "scene", "there", "name"),
    [
        ("fast", "gray", EVERY, "base-gray"),
        ("best", "gray", EVERY, "base-gray-best"),
        ("best", "gray", {"base-gray", "base-rgb"}, "base-gray"),
        ("fast", "gray", {"base-gray-best"}, "base-gray-best"),
        ("fast", "color", EVERY, "base-rgb"),
        ("best", "color", EVERY, "base-rgb-best"),
        ("best", "color", {"base-gray-best", "base-rgb"}, "base-rgb"),
        ("fast", "color", {"base-gray"}, "base-gray"),
        ("fast", "camera", EVERY, "base-camera"),
        ("best", "camera", EVERY, "base-camera"),
        ("best", "camera", EVERY - {"base-camera"}, "base-rgb-best"),
        ("fast", "camera", {"base-gray", "base-rgb"}, "base-rgb"),
        ("fast", "color", {"base-rgb@0123456789ab", "another"}, None),
    ],
)
def test_what_serves(quality: str, scene: str, there: set[str], name: str | None) -> None:
    assert base_for(Quality(quality), Scene(scene), there) == name


def test_what_stands_in_is_not_of_the_quality() -> None:
    assert has_quality(Quality.BEST, Scene.COLOR, EVERY)
    assert not has_quality(Quality.BEST, Scene.COLOR, {"base-rgb", "base-gray-best"})
    assert not has_quality(Quality.FAST, Scene.GRAY, {"base-gray-best"})
    assert not has_quality(Quality.FAST, Scene.GRAY, set())


def test_channels_make_the_scene() -> None:
    assert [scene_of(channels) for channels in (1, 2, 3, 4)] == [Scene.GRAY, Scene.GRAY, Scene.COLOR, Scene.GRAY]
    assert (scene_of(3, camera=True), scene_of(1, camera=True)) == (Scene.CAMERA, Scene.GRAY)


def test_pins_name_what_would_be_taken() -> None:
    there = {"base-gray": "a", "base-rgb": "b", "base-rgb-best": "c"}
    assert pins(Quality.BEST, list(Scene), there) == {"base-gray": "a", "base-rgb-best": "c"}
