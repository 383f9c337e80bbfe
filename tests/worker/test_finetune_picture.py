"""The picture of a fine-tune's report."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from worker.finetune_picture import draw

REPORT: dict[str, Any] = {
    "model": "mdl_0192f0c1a2b37c4d8e5f60718293a4b5", "base_model": "base-gray", "from_scratch": False, "promoted": True,
    "scores": {"base": 30.98, "finetuned": 31.03, "gain_db": 0.05},
    "history": [{"step": 0, "score": 30.8}, {"step": 100, "score": 30.9}],
    "noise": {
        "alpha": 0.01, "sigma": 0.0, "black": 0.1,
        "curve": {"mean": [0.2, 0.5], "variance": [0.002, 0.005], "alpha": 0.01, "sigma": 0.0, "black": 0.1},
    },
    "set": {"kept": 8, "left_out": 1, "pixels": 73728},
}  # fmt: skip


def picture(report: dict[str, Any], channels: int = 1, previews: int = 2, side: int = 80) -> Image.Image:
    rng = np.random.default_rng(0)
    crop = tuple(rng.random((side, side, channels), dtype=np.float32) for _ in range(3))
    return Image.open(io.BytesIO(draw(report, [crop] * previews)))


@pytest.mark.parametrize("channels", [1, 3])
def test_it_is_as_tall_as_its_crops_need(channels: int) -> None:
    none, two = picture(REPORT, channels, previews=0), picture(REPORT, channels, previews=2)
    assert (none.width, two.width, none.mode) == (1056, 1056, "RGB")
    assert two.height - none.height == 2 * (28 + 320 + 24)
    assert picture(REPORT, channels, previews=9).height == picture(REPORT, channels, previews=3).height


def test_verdict_score_and_noise_show() -> None:
    plain = np.asarray(picture(REPORT))
    for change in (
        {"promoted": False},
        {"history": [{"step": 0, "score": 30.8}, {"step": 100, "score": 30.7}]},
        {"noise": {**REPORT["noise"], "alpha": 0.02}},
        {"scores": {"base": 30.0, "finetuned": 31.03, "gain_db": 1.03}},
    ):
        assert (np.asarray(picture(REPORT | change)) != plain).any(), change


def test_little_is_drawn_of_little() -> None:
    bare = REPORT | {"history": [], "noise": {"alpha": 0.0, "sigma": 0.0}, "scores": {}}
    assert picture(bare, previews=0).height > 300
