"""Weights that lie damaged in the store: put back where the program has the very same, never computed with."""

from __future__ import annotations

import dataclasses
import json
from hashlib import sha256
from pathlib import Path

import pytest

from model import Denoiser
from model.networks import weights
from store.blobs import input_key, weights_key
from store.ids import new_id
from store.job import JobKind, JobState
from store.model import Model
from store.shipped import SHIPPED, register_shipped
from store.training_file import TrainingFile
from tests.harness.images_of import noisy, png
from tests.worker.conftest import Bench
from worker.errors import Retriable
from worker.finetune import FineTuneWork
from worker.stored_weights import stored_weights


def damage(bench: Bench, model: Model) -> bytes:
    """Flip one bit in the middle of the weights' blob: still a safetensors file. What lies there now."""
    data = bytearray(bench.store.blobs.get(model.weights_key))
    data[len(data) // 2] ^= 1
    bench.store.blobs.put(model.weights_key, bytes(data))
    return bytes(data)


def register(bench: Bench, name: str, tenant: str | None, remark: str) -> Model:
    """A model with the network of base-gray and a card, and so a SHA-256, of its own."""
    data = weights.to_bytes(Denoiser.load("base-gray", "cpu").network, {"remark": remark})
    digest = sha256(data).hexdigest()
    key = weights_key(digest if tenant is None else name)
    bench.store.blobs.put(key, data)
    bench.store.models.register(name, name, 1, {}, key, len(data), digest, tenant)
    return bench.store.models.get(name, tenant or "default")


def counted(bench: Bench, put_back: bool) -> float:
    value: float = bench.metrics._damaged_weights.labels(str(put_back).lower())._value.get()
    return value


@pytest.mark.parametrize("lost", [False, True], ids=["damaged", "lost"])
def test_damaged_weights_that_ship_are_put_back(bench: Bench, lost: bool, capsys: pytest.CaptureFixture[str]) -> None:
    model = bench.store.models.get("base-gray", "default")
    if lost:
        bench.store.blobs.delete([model.weights_key])
    else:
        damage(bench, model)
    job = bench.run(png(noisy()), model="base-gray", options={"model": "base-gray"})
    assert (job.state, job.attempt, job.error) == (JobState.SUCCEEDED, 1, None)
    assert job.result is not None and job.result["model_sha256"] == model.sha256
    assert bench.store.blobs.get(model.weights_key) == (SHIPPED / "base-gray.safetensors").read_bytes()
    assert (counted(bench, put_back=True), counted(bench, put_back=False)) == (1, 0)
    assert "weights_damaged" in capsys.readouterr().out


def test_weights_of_another_version_are_not_put_in_their_place(bench: Bench, tmp_path: Path) -> None:
    """In an upgrade the name belongs to another version's weights: only a worker that has those puts them back."""
    theirs = register(bench, "base-gray", None, "of another version")
    whole = bench.store.blobs.get(theirs.weights_key)
    there = damage(bench, theirs)
    job = bench.run(png(noisy()), model="base-gray", options={"model": "base-gray"})
    assert (job.state, job.strikes) == (JobState.QUEUED, 1)
    assert bench.store.blobs.get(theirs.weights_key) == there
    assert (counted(bench, put_back=True), counted(bench, put_back=False)) == (0, 1)
    with pytest.raises(Retriable, match="another model"):
        bench.models.get(theirs)
    (tmp_path / "base-gray.safetensors").write_bytes(whole)
    assert stored_weights(bench.store.blobs, theirs, shipped=tmp_path) == whole
    assert bench.store.blobs.get(theirs.weights_key) == whole


def test_a_fine_tuned_model_that_is_damaged_is_refused_in_words(bench: Bench) -> None:
    mine = register(bench, "mdl_1", "default", "mine")
    there = damage(bench, mine)
    job = bench.run(png(noisy()), model="mdl_1", options={"model": "mdl_1"})
    assert (job.state, job.attempt) == (JobState.FAILED, 1)
    assert job.error is not None and job.error.code == "weights_damaged" and "fine-tune again" in job.error.detail
    assert bench.store.blobs.get(mine.weights_key) == there
    assert counted(bench, put_back=False) == 1


def test_a_fine_tune_does_not_start_from_a_damaged_base(bench: Bench) -> None:
    damage(bench, register(bench, "mdl_1", "default", "mine"))
    job_id, data = new_id("job"), png(noisy(96, 96))
    bench.store.blobs.put(f"jobs/{job_id}/files/0", data)
    file = TrainingFile("a.png", f"jobs/{job_id}/files/0", len(data), 96 * 96, sha256(data).hexdigest())
    bench.store.blobs.put(input_key(job_id), json.dumps({"files": [dataclasses.asdict(file)]}).encode())
    bench.store.queued(id=job_id, kind=JobKind.FINETUNE, input_key=input_key(job_id), options={}, model="mdl_1")
    settings = bench.store.settings.model_copy(update={"min_set_pixels": 96})
    work = FineTuneWork(bench.store.blobs, bench.store.models, settings, bench.metrics)
    assert bench.runner(work, kind=JobKind.FINETUNE).run_next()
    job = bench.store.jobs.get(job_id)
    assert job.state is JobState.FAILED and job.error is not None and job.error.code == "weights_damaged"


def test_weights_that_were_cut_off_are_whole_again_after_a_start(bench: Bench) -> None:
    model = bench.store.models.get("base-gray", "default")
    whole = bench.store.blobs.get(model.weights_key)
    bench.store.blobs.put(model.weights_key, whole[:1000])
    register_shipped(bench.store.models, bench.store.blobs)
    assert bench.store.blobs.get(model.weights_key) == whole
