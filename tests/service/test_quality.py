"""`quality`: resolved when a job is posted, written in its row with the weights, and never beside a named model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from store.job import Job, JobKind
from store.options import KNOWS_FRAMES
from store.schema import jobs
from store.shipped import SHIPPED
from tests.harness.gateway import Running, png, problem_of, running_gateway

RGB = png(16, 16, "RGB", (1, 2, 3))


def register(gateway: Running, *names: str) -> None:
    """Enter base models beside those that ship; nobody loads them here."""
    for name in names:
        channels = 1 if "gray" in name else 3
        gateway.services.models.register(
            name, name, channels, {}, f"models/{name}", 3, name.encode().hex().ljust(64, "0")
        )


def claimed(gateway: Running, kind: str = "denoise") -> Job:
    job = gateway.services.jobs.claim(JobKind(kind), "test")
    assert job is not None
    return job


@pytest.fixture
def rich(tmp_path: Path) -> Iterator[Running]:
    """A gateway with a base model for everything."""
    with running_gateway(tmp_path) as gateway:
        register(gateway, "base-gray", "base-rgb", "base-camera", "base-gray-best", "base-rgb-best")
        yield gateway


def test_the_row_says_which_models_a_worker_may_take(rich: Running) -> None:
    shown = rich.post(RGB, quality="best")
    assert (shown["model"], shown["options"]["quality"]) == ("base-rgb-best", "best")
    job = claimed(rich)
    assert set(job.bases or {}) == {"base-rgb-best", "base-camera", "base-gray-best"}
    assert (job.bases or {})["base-rgb-best"] == rich.services.models.get("base-rgb-best", "t").sha256
    rich.post(png(16, 16))
    job = claimed(rich)
    assert (job.model, job.options["quality"], set(job.bases or {})) == ("base-gray", "fast", {"base-gray"})


def test_a_fine_tune_is_told_the_same(rich: Running) -> None:
    answer = rich.http.post("/finetune", files={"images": ("a.png", png())}, data={"quality": "best"})
    assert (answer.status_code, answer.json()["options"]["quality"], answer.json()["model"]) == (202, "best", None)
    assert set(claimed(rich, "finetune").bases or {}) == {"base-rgb-best", "base-camera", "base-gray-best"}
    rich.http.post("/finetune", files={"images": ("a.png", png())}, data={"base_model": "none", "quality": "best"})
    assert claimed(rich, "finetune").options["quality"] == "best"


@pytest.mark.parametrize(
    ("path", "field", "form"),
    [
        ("/denoise", "image", {"model": "base-gray", "quality": "fast"}),
        ("/finetune", "images", {"base_model": "base-gray", "quality": "fast"}),
        ("/denoise", "image", {"quality": "finest"}),
    ],
)
def test_what_is_refused(gateway: Running, path: str, field: str, form: dict[str, str]) -> None:
    answer = gateway.http.post(path, files={field: ("a.png", png())}, data=form)
    assert problem_of(answer, 422, "invalid-request")["errors"][0]["field"] == "quality"


@pytest.mark.parametrize(
    ("backends", "quality"),
    [
        ([], "fast"),
        (["ncnn-float32"], "fast"),
        (["onednn-bfloat16"], "best"),
        (["onednn-bfloat16", "cuda-float16"], "best"),
        (["onednn-bfloat16", "ncnn-float32"], "fast"),
    ],
)
def test_auto_goes_by_all_workers(rich: Running, backends: list[str], quality: str) -> None:
    for number, backend in enumerate(backends):
        rich.services.workers.register(f"host-{number}", backend)
    assert rich.post(RGB)["options"]["quality"] == quality


def test_auto_takes_best_only_where_it_is_shipped(tmp_path: Path) -> None:
    with running_gateway(tmp_path) as gateway:
        register(gateway, "base-gray", "base-rgb", "base-rgb-best")
        gateway.services.workers.register("host", "cuda-float16")
        models = set(gateway.services.models.bases())
        assert gateway.post(RGB)["model"] == "base-rgb-best"
        if "base-gray-best" not in models:
            assert (gateway.post(png())["model"], gateway.post(png())["options"]["quality"]) == ("base-gray", "fast")


@pytest.mark.parametrize("setting", ["fast", "best"])
def test_the_setting_decides_where_nobody_asks(tmp_path: Path, setting: Any) -> None:
    with running_gateway(tmp_path, quality=setting) as gateway:
        register(gateway, "base-gray-best")
        assert gateway.post(png())["options"]["quality"] == setting
        assert gateway.post(png(), quality="fast")["model"] == "base-gray"


def test_what_is_not_there_is_stood_in_for(tmp_path: Path) -> None:
    with running_gateway(tmp_path) as gateway:
        shown = gateway.post(png(), quality="best")
        stands_in = "base-gray-best" if (SHIPPED / "base-gray-best.safetensors").exists() else "base-gray"
        assert (shown["options"]["quality"], shown["model"]) == ("best", stands_in)


def test_a_base_is_named_with_its_weights(rich: Running) -> None:
    sha256 = rich.services.models.get("base-gray", "t").sha256
    rich.services.models.register("base-gray", "base-gray", 1, {}, "models/new", 3, "f" * 64)
    assert rich.post(png(), model=f"base-gray@{sha256[:12]}")["model"] == f"base-gray@{sha256[:12]}"
    assert claimed(rich).bases == {"base-gray": sha256}
    rich.post(png(), model="base-gray")
    assert claimed(rich).bases == {"base-gray": "f" * 64}
    shown = rich.http.get(f"/models/base-gray@{sha256[:12]}").json()
    assert shown["sha256"] == sha256
    assert [one["id"] for one in rich.http.get("/models").json()["models"] if "@" in one["id"]] == []
    assert (
        "GET /models"
        in rich.http.post("/denoise", files={"image": png()}, data={"model": "base-gray@000000"}).json()["detail"]
    )


def test_a_key_finds_its_job_though_the_default_has_changed(rich: Running) -> None:
    def send(**form: str) -> dict[str, Any]:
        found: dict[str, Any] = rich.http.post(
            "/denoise", files={"image": png()}, data=form, headers={"Idempotency-Key": "k"}
        ).json()
        return found

    first = send()
    rich.services.workers.register("host", "onednn-bfloat16")
    again = send()
    assert (again["id"], again["options"]["quality"]) == (first["id"], "fast")
    assert send(quality="fast")["type"] == "/problems/idempotency-mismatch"


def test_a_model_of_frames_is_left_to_workers_that_know_them(rich: Running) -> None:
    """Older ones cannot load its network."""
    models = rich.services.models
    card = {"frames": {"seen": 5}}
    models.register("base-frames", "base-frames", 1, card, "models/base-frames", 3, "f" * 64)
    rich.post(png(16, 16), model="base-frames")
    rich.post(png(16, 16), model="base-gray")
    with rich.services.engine.connect() as connection:
        needs = [row.needs for row in connection.execute(select(jobs.c.needs).order_by(jobs.c.created_at))]
    assert needs == [KNOWS_FRAMES, 0]


def test_fewer_frames_than_the_base_sees_are_refused_before_the_work(rich: Running) -> None:
    models = rich.services.models
    models.register("base-frames", "base-frames", 1, {"frames": {"seen": 5}}, "models/base-frames", 3, "f" * 64)
    files = [("images", (f"t{i}.png", png(64, 64), "image/png")) for i in range(2)]

    def send(frames: str) -> httpx.Response:
        return rich.http.post("/finetune", files=files, data={"base_model": "base-frames", "frames": frames})

    refused = send("3")
    assert refused.status_code == 422 and refused.json()["errors"][0]["field"] == "frames"
    assert "base-frames sees 5 frames at once" in refused.json()["detail"]
    assert [send(frames).status_code for frames in ("5", "auto", "none")] == [202, 202, 202]
