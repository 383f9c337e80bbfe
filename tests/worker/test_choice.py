"""Which base model denoises what: by quality, by what the image shows, by its noise, and by what the row pins."""

from __future__ import annotations

import io
import json
from hashlib import sha256
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from model import Denoiser
from model.networks import weights
from store.blobs import weights_key
from store.job import Job, JobState
from store.shipped import SHIPPED
from tests.worker.conftest import Bench

NOT_SHIPPED = [
    name
    for name in ("base-camera", "base-gray-best", "base-rgb-best")
    if not (SHIPPED / f"{name}.safetensors").exists()
]


def ship(bench: Bench, name: str, like: str, remark: str = "") -> str:
    """Register a base model, the network of another one under a card of its own; its checksum."""
    data = weights.to_bytes(Denoiser.load(like, "cpu").network, {"remark": remark or name})
    digest = sha256(data).hexdigest()
    bench.store.blobs.put(weights_key(digest), data)
    bench.store.models.register(name, name, 1 if "gray" in name else 3, {}, weights_key(digest), len(data), digest)
    return digest


def scene(smooth: float = 0.0, side: int = 192) -> NDArray[Any]:
    """A colour scene with noise that is independent, or alike in pixels that are `smooth` apart."""
    y, x = np.mgrid[:side, :side] / side
    planes = [0.3 + 0.4 * np.sin(6 * x) * np.cos(5 * y) * share + 0.1 * (np.hypot(x - 0.5, y - 0.5) < 0.3)
              for share in (1.0, 0.8, 0.9)]  # fmt: skip
    noise = np.random.default_rng(0).normal(size=(3, side, side))
    noise = np.stack([gaussian_filter(plane, smooth) if smooth else plane for plane in noise])
    return np.uint8(255 * np.clip(np.stack(planes, -1) + 0.06 * np.moveaxis(noise / noise.std(), 0, -1), 0, 1))


def png(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


def report(bench: Bench, job: Job) -> dict[str, Any]:
    assert job.report_key is not None, job.error
    found: dict[str, Any] = json.loads(bench.store.blobs.get(job.report_key))
    return found


@pytest.fixture
def rich(bench: Bench) -> Bench:
    """With a base model for everything."""
    for name, like in (
        ("base-gray-best", "base-gray"), ("base-rgb-best", "base-rgb"), ("base-camera", "base-rgb"),
    ):  # fmt: skip
        ship(bench, name, like)
    return bench


@pytest.mark.parametrize(
    ("image", "quality", "model", "why"),
    [
        (scene()[..., 0], "fast", "base-gray", "one channel, quality `fast`"),
        (scene()[..., 0], "best", "base-gray-best", "one channel, quality `best`"),
        (scene(), "fast", "base-rgb", "three channels of one scene"),
        (scene(), "best", "base-rgb-best", "quality `best`"),
        (scene(0.8), "fast", "base-camera", "a camera's noise"),
        (scene(0.8), "best", "base-camera", "a camera's noise"),
        (scene(0.8)[..., 0], "fast", "base-gray", "one channel"),
    ],
)
def test_the_base_is_chosen_by_quality_and_noise(
    rich: Bench, image: NDArray[Any], quality: str, model: str, why: str
) -> None:
    job = rich.run(png(image), options={"quality": quality})
    assert job.result is not None and job.result["model"] == model, job.error
    told = report(rich, job)
    assert (told["model"], told["model_sha256"]) == (model, rich.store.models.get(model, "t").sha256)
    assert why in told["model_reason"]
    assert not any("stood in" in warning for warning in told["warnings"])


def test_the_noise_is_that_of_the_whole_image_also_for_a_crop(rich: Bench) -> None:
    job = rich.run(png(scene(0.8)), options={"quality": "fast", "roi": "0,0,24,24"})
    assert job.result is not None and job.result["model"] == "base-camera"


@pytest.mark.skipif("base-gray-best" not in NOT_SHIPPED, reason="it is shipped, so nothing has to stand in")
def test_what_stands_in_is_said(bench: Bench) -> None:
    job = bench.run(png(scene()[..., 0]), options={"quality": "best"})
    assert job.result is not None and job.result["model"] == "base-gray"
    assert any("no base model of quality `best`" in warning for warning in report(bench, job)["warnings"])


def test_every_attempt_takes_the_weights_that_the_row_pins(rich: Bench) -> None:
    pinned = {name: rich.store.models.get(name, "t").sha256 for name in ("base-rgb-best", "base-camera")}
    newer = ship(rich, "base-rgb-best", "base-rgb", "newer weights")
    job = rich.run(png(scene()), options={"quality": "best"}, model="base-rgb-best", bases=pinned)
    assert job.result is not None
    assert (job.result["model"], job.result["model_sha256"]) == ("base-rgb-best", pinned["base-rgb-best"])
    job = rich.run(png(scene()), options={"quality": "best"}, model="base-rgb-best")
    assert job.result is not None and job.result["model_sha256"] == newer


def test_a_base_that_the_row_does_not_pin_is_not_taken(rich: Bench) -> None:
    """It came with a newer program: an attempt before this one would have chosen without it."""
    pinned = {"base-rgb": rich.store.models.get("base-rgb", "t").sha256}
    job = rich.run(png(scene(0.8)), options={"quality": "fast"}, model="base-rgb", bases=pinned)
    assert job.result is not None and job.result["model"] == "base-rgb"


def test_a_version_that_was_named_is_taken(rich: Bench) -> None:
    before = rich.store.models.get("base-gray", "t").sha256
    ship(rich, "base-gray", "base-gray", "newer weights")
    name = f"base-gray@{before[:12]}"
    job = rich.run(png(scene()[..., 0]), options={"model": name}, model=name, bases={"base-gray": before})
    assert job.result is not None and (job.result["model"], job.result["model_sha256"]) == ("base-gray", before)
    assert report(rich, job)["model_reason"] == "it was asked for"


def test_weights_that_are_gone_fail_the_job_in_words(rich: Bench) -> None:
    job = rich.run(png(scene()), options={"quality": "fast"}, model="base-rgb", bases={"base-rgb": "0" * 64})
    assert job.state is JobState.FAILED and job.error is not None and job.error.code == "model_not_found"


@pytest.mark.parametrize(("setting", "warm"), [("fast", "base-gray"), ("best", "base-gray-best")])
def test_what_jobs_will_ask_for_is_loaded_first(rich: Bench, setting: str, warm: str) -> None:
    assert rich.models.warm_up(setting).partition("-")[0] in ("ncnn", "onednn", "torch", "cuda")
    wanted = rich.store.models.get(warm, "t")
    rich.store.blobs.delete([wanted.weights_key])
    assert rich.models.get(wanted).sha256 == wanted.sha256  # it was there before
