"""A fine-tune from upload to use, through HTTP, with a worker that dies in the middle of it."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from launch.redis_server import redis_server
from store.job import Job, JobState
from tests.harness.cluster import Cluster, Process, cluster
from tests.harness.images_of import png
from tests.harness.ports import free_port

STEPS = 6
SIDE = 96


def fields() -> dict[str, bytes]:
    """Noisy images of waves, and one file that is none."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:SIDE, :SIDE]
    files = {}
    for number in range(8):
        clean = 120 + 60 * np.sin(x / (7 + number)) * np.cos(y / (9 + number))
        files[f"{number}.png"] = png((clean + rng.normal(0, 18, clean.shape)).clip(0, 255).astype(np.uint8))
    return files | {"notes.txt": b"not an image"}


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which a file is the order to die."""
    return tmp_path_factory.mktemp("faults")


@pytest.fixture(scope="module")
def tuning(tmp_path_factory: pytest.TempPathFactory, faults: Path) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("cluster")
    with (
        redis_server(folder / "redis") as redis_url,
        cluster(
            folder,
            redis_url,
            lease_seconds="8",  # one thread of one process does all the work here: give its heartbeat time
            finetune_threads="1",
            finetune_nice="0",  # nobody else's denoise jobs are waited for here
            min_set_pixels=str(4 * SIDE * SIDE),
            checkpoint_seconds="0.01",  # at every step
            scratch_dir=str(folder / "scratch"),
        ) as running,
    ):
        running.environment["B2S_FAULTS"] = str(faults)
        yield running


@pytest.fixture(scope="module")
def worker(tuning: Cluster) -> Process:
    return tuning.ready(tuning.worker("finetune"))


@pytest.fixture(scope="module")
def http(tuning: Cluster) -> Iterator[httpx.Client]:
    port = free_port()
    tuning.gateway(port)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=300) as client:
        tuning.wait(lambda: _answers(client))
        yield client


@pytest.fixture(scope="module")
def tuned(tuning: Cluster, worker: Process, http: httpx.Client, faults: Path) -> Job:
    """A fine-tune whose worker was killed right after a checkpoint, as often as would fail a job without progress."""
    (faults / "checkpointed").touch()
    files = [("images", file) for file in fields().items()]
    answer = http.post("/finetune", files=files, data={"max_steps": STEPS, "name": "waves", "seed": 3})
    assert answer.status_code == 202, answer.text
    for _ in range(tuning.settings.max_attempts - 1):
        tuning.wait(lambda: not (faults / "checkpointed").exists())
        (faults / "checkpointed").touch()
    job = tuning.finished(tuning.jobs.get(answer.json()["id"]))
    assert not (faults / "checkpointed").exists()
    assert job.state is JobState.SUCCEEDED, (job.error, worker.log.read_text()[-3000:])
    return job


def test_another_attempt_goes_on_where_the_one_before_died(tuning: Cluster, worker: Process, tuned: Job) -> None:
    assert (tuned.attempt, tuned.strikes) == (4, 0)
    assert worker.logged("training_resumed") == 3
    # The worker sweeps up after the job has ended; a killed attempt's scratch folder goes with the next job.
    tuning.wait(lambda: not list(tuning.blobs.below(f"jobs/{tuned.id}/checkpoints")))
    tuning.wait(lambda: len(list(Path(tuning.settings.scratch_dir).iterdir())) <= 1)


def test_the_events_tell_the_phases_and_draw_a_chart(http: httpx.Client, tuned: Job) -> None:
    stream = http.get(f"/jobs/{tuned.id}/events").text
    events = [json.loads(line.removeprefix("data: ")) for line in stream.splitlines() if line.startswith("data: ")]
    phases = [event["phase"] for event in events if event.get("phase")]
    last_attempt = phases[len(phases) - 1 - phases[::-1].index("validating") :]
    assert list(dict.fromkeys(last_attempt)) == ["validating", "training", "evaluating", "publishing"]
    points = [event["detail"] for event in events if event.get("phase") == "training" and event["detail"]]
    assert points and {"loss", "loss_parts", "alpha", "sigma", "seconds_left", "base_score"} <= points[-1].keys()
    assert any(point.get("score") is not None for point in points)


def test_blind2sound_runs_where_it_is_asked_for(tuning: Cluster, http: httpx.Client, worker: Process) -> None:
    """Its noise, λ and losses are told as it goes, and the report says what was used."""
    images = [("images", (name, data)) for name, data in fields().items()]
    posted = http.post("/finetune", files=images, data={"max_steps": "3", "method": "blind2sound"}).json()
    job = tuning.finished(tuning.jobs.get(posted["id"]))
    assert job.state == JobState.SUCCEEDED and job.result is not None and job.result["method"] == "blind2sound"
    report = http.get(f"/jobs/{job.id}/report").json()
    assert report["learning"] == {"asked": "blind2sound", "used": "blind2sound", "tried": []}
    stream = http.get(f"/jobs/{job.id}/events").text
    events = [json.loads(line.removeprefix("data: ")) for line in stream.splitlines() if line.startswith("data: ")]
    parts = [event["detail"]["loss_parts"] for event in events if (event.get("detail") or {}).get("loss_parts")]
    assert {"alpha", "sigma", "lambda", "arv", "risk"} <= parts[-1].keys()


def test_the_same_weights_as_an_undisturbed_run(tuning: Cluster, http: httpx.Client, tuned: Job) -> None:
    """From a dataset and an archive this time: the same images, seed and steps."""
    dataset = http.post("/datasets", json={"name": "waves"}).json()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in fields().items():
            archive.writestr(name, data)
    http.put(f"{dataset['links']['images']}/waves.zip", content=buffer.getvalue())
    asked = {"dataset_id": dataset["id"], "max_steps": STEPS, "seed": 3}
    job = tuning.finished(tuning.jobs.get(http.post("/finetune", json=asked).json()["id"]))
    assert (job.state, job.attempt, job.pixels) == (JobState.SUCCEEDED, 1, 8 * SIDE * SIDE)  # none known before
    assert _tensors(http.get(f"/jobs/{job.id}/result").content) == _tensors(
        http.get(f"/jobs/{tuned.id}/result").content
    )
    assert http.delete(dataset["links"]["self"]).status_code == 204


def test_the_model_is_there_with_its_numbers(http: httpx.Client, tuned: Job) -> None:
    assert tuned.result is not None
    model = http.get(f"/models/{tuned.result['model']}").json()
    assert (model["name"], model["base_model"], model["channels"]) == ("waves", "base-gray", 1)
    assert model["promoted"] == tuned.result["promoted"] == model["card"]["promoted"]
    assert tuned.result["promoted"] is False or model["card"]["scores"]["gain_db"] > 0
    assert http.get(model["links"]["weights"]).content == http.get(f"/jobs/{tuned.id}/result").content
    report = http.get(f"/jobs/{tuned.id}/report").json()
    assert (report["set"]["kept"], report["set"]["left_out"], report["set"]["pixels"]) == (8, 1, 8 * SIDE * SIDE)
    verdicts = {file["name"]: file["reason"] for file in report["files"] if not file["kept"]}
    assert list(verdicts) == ["notes.txt"] and "not an image" in verdicts["notes.txt"]
    assert {"alpha", "sigma", "curve"} <= report["noise"].keys() and report["history"]
    assert http.get(f"/jobs/{tuned.id}/report.png").content.startswith(b"\x89PNG")


def test_a_denoise_worker_uses_it_and_it_is_deleted_afterwards(tuning: Cluster, http: httpx.Client, tuned: Job) -> None:
    assert tuned.result is not None
    model, denoiser = tuned.result["model"], tuning.ready(tuning.worker())
    options = {"model": model, "wait": 120}
    image = {"Content-Type": "image/png"}
    done = http.post("/denoise", params=options, content=fields()["0.png"], headers=image).json()
    assert (done["state"], done["model"], done["result"]["model"]) == ("succeeded", model, model), done
    denoiser.stop()
    queued = http.post("/denoise", params={"model": model}, content=fields()["0.png"], headers=image).json()
    assert http.delete(f"/models/{model}").json()["type"] == "/problems/model-in-use"
    http.post(queued["links"]["cancel"])
    assert http.delete(f"/models/{model}").status_code == 204
    assert http.get(f"/jobs/{tuned.id}/result").status_code == 410
    assert http.post("/denoise", params={"model": model}, content=fields()["0.png"], headers=image).status_code == 422


def test_a_cancel_in_mid_training_leaves_no_model(tuning: Cluster, worker: Process, http: httpx.Client) -> None:
    before = _models(http)
    files = [("images", file) for file in fields().items()]
    posted: dict[str, Any] = http.post("/finetune", files=files, data={"max_steps": 100_000}).json()
    tuning.wait(lambda: tuning.jobs.get(posted["id"]).phase == "training")
    tuning.wait(lambda: tuning.jobs.get(posted["id"]).progress.done > 0)
    http.post(posted["links"]["cancel"])
    job = tuning.finished(tuning.jobs.get(posted["id"]))
    assert job.state is JobState.CANCELED
    assert _models(http) == before
    tuning.wait(lambda: worker.logged('"outcome": "canceled"') == 1)  # which comes after the sweeping up
    assert [blob.key for blob in tuning.blobs.below(f"jobs/{job.id}/checkpoints")] == []


def test_too_few_pixels_fail_with_the_reasons(tuning: Cluster, worker: Process, http: httpx.Client) -> None:
    files = [("images", (name, fields()[name])) for name in ("0.png", "1.png", "notes.txt")]
    job = tuning.finished(tuning.jobs.get(http.post("/finetune", files=files).json()["id"]))
    assert (job.state, job.error and job.error.code) == (JobState.FAILED, "too_few_pixels")
    assert job.error is not None and "notes.txt" in job.error.detail


def _models(http: httpx.Client) -> set[str]:
    return {model["id"] for model in http.get("/models").json()["models"]}


def _tensors(weights: bytes) -> bytes:
    """The numbers of a safetensors file, without the header: that one tells names and minutes."""
    return weights[8 + int.from_bytes(weights[:8], "little") :]


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/livez").status_code == 200
    except httpx.TransportError:
        return False
