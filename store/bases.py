"""Which base model serves which image: the one table that gateway and worker read.

A base is `fast` or `best`, and made for one channel, for three, or for three behind a camera's own processing, whose
noise is alike in neighbouring pixels. Not all of them have to be there: a row names what stands in, in order.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import StrEnum


class Quality(StrEnum):
    """How much work an image is worth."""

    FAST = "fast"
    BEST = "best"


class Scene(StrEnum):
    """What an image shows, as far as the choice of a base goes."""

    GRAY = "gray"
    """One channel, or channels that go through one by one."""

    COLOR = "color"
    """Three channels of one scene."""

    CAMERA = "camera"
    """The same with noise that neighbouring pixels share."""


BASES: Mapping[tuple[Quality, Scene], tuple[str, ...]] = {
    (Quality.FAST, Scene.GRAY): ("base-gray", "base-gray-best"),
    (Quality.BEST, Scene.GRAY): ("base-gray-best", "base-gray"),
    (Quality.FAST, Scene.COLOR): ("base-rgb", "base-rgb-best", "base-gray", "base-gray-best"),
    (Quality.BEST, Scene.COLOR): ("base-rgb-best", "base-rgb", "base-gray-best", "base-gray"),
    (Quality.FAST, Scene.CAMERA): ("base-camera", "base-rgb", "base-rgb-best", "base-gray", "base-gray-best"),
    (Quality.BEST, Scene.CAMERA): ("base-camera", "base-rgb-best", "base-rgb", "base-gray-best", "base-gray"),
}
"""Names of base models, the one to take first."""

OF_QUALITY: Mapping[Quality, frozenset[str]] = {
    Quality.FAST: frozenset({"base-gray", "base-rgb", "base-camera"}),
    Quality.BEST: frozenset({"base-gray-best", "base-rgb-best", "base-camera"}),  # no network does better on its noise
}
"""Which bases give a quality; any other one stands in for one that is missing."""


def scene_of(channels: int, camera: bool = False) -> Scene:
    """What an image of so many channels is taken for; `camera`: its noise is a camera's."""
    if channels != 3:
        return Scene.GRAY
    return Scene.CAMERA if camera else Scene.COLOR


def base_for(quality: Quality, scene: Scene, there: Collection[str]) -> str | None:
    """Name of the base model for a scene, of those that are `there`; None: none of them will do."""
    return next((name for name in BASES[quality, scene] if name in there), None)


def has_quality(quality: Quality, scene: Scene, there: Collection[str]) -> bool:
    """Whether what `base_for` gives is of that quality."""
    return base_for(quality, scene, there) in OF_QUALITY[quality]


def pins(quality: Quality, scenes: Collection[Scene], there: Mapping[str, str]) -> dict[str, str]:
    """Name and SHA-256 of the base model for each of the scenes, of those that are `there` (SHA-256 by name)."""
    names = (base_for(quality, scene, there) for scene in scenes)
    return {name: there[name] for name in names if name is not None}
