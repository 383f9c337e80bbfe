import numpy as np
import pytest
from skimage import data

from worker.set_channels import UNLIKE, brightness_ratio, show_one_scene


def test_most_images_decide_whether_channels_belong_together() -> None:
    photograph = np.moveaxis(data.astronaut()[:128, :128], -1, 0)
    unrelated = np.stack([data.camera()[:128, :128], data.moon()[100:228, 60:188], data.coins()[20:148, 10:138]])
    assert show_one_scene([photograph, photograph, unrelated])
    assert not show_one_scene([photograph, unrelated, unrelated])


def test_channels_unlike_in_brightness_are_seen() -> None:
    rng = np.random.default_rng(0)
    images = [np.stack([rng.poisson(50, (64, 64)), 20 * rng.poisson(50, (64, 64))]) for _ in range(12)]
    assert brightness_ratio(images) == pytest.approx(20, rel=0.1)
    assert brightness_ratio([image[:1].repeat(2, 0) for image in images]) == 1 < UNLIKE
