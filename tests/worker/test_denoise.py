"""Denoise jobs run through the real model: what comes out, and what is said when nothing can."""

from __future__ import annotations

import hashlib
import io
import json
from typing import Any

import numpy as np
import pytest
import tifffile

from images import scratch
from model import Denoiser, weights
from store.job import JobState
from tests.images import files
from tests.worker.conftest import Bench
from tests.worker.images_of import noisy, pixels_of, png
from worker import denoise


def test_a_job_gives_image_report_and_picture(bench: Bench) -> None:
    sent = noisy(channels=3)
    job = bench.run(png(sent))
    assert (job.state, job.error) == (JobState.SUCCEEDED, None)
    assert job.result_key == f"jobs/{job.id}/1/result.png"
    assert job.report_key is not None and job.picture_key is not None and job.result is not None
    data = bench.store.blobs.get(job.result_key)
    made = pixels_of(data)
    assert (made.shape, made.dtype) == (sent.shape, sent.dtype)
    assert made.astype(float).std(axis=0).mean() < sent.astype(float).std(axis=0).mean()
    assert (job.result["bytes"], job.result["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    assert (job.result["model"], job.result["media_type"]) == ("base-rgb", "image/png")
    assert job.timings.keys() == {"queued", "store", "decode", "compute", "encode", "report"}
    assert (job.progress.done, job.progress.total) == (1, 1)
    report = json.loads(bench.store.blobs.get(job.report_key))
    assert report["alpha"] == job.result["alpha"]
    assert {"noise_curve", "residual_histogram", "warnings", "timings", "model"} <= report.keys()
    assert bench.store.blobs.get(job.picture_key).startswith(b"\x89PNG")


def test_channels_that_show_different_things_are_denoised_each_by_itself(bench: Bench) -> None:
    one, other, third = (noisy(96, 96, seed=seed) for seed in range(3))
    sent = np.stack([one, other[:, ::-1], third.T], -1)
    job = bench.run(png(sent), model="base-rgb")  # as the gateway fills in for a file that says it is RGB
    assert job.result is not None and job.result["model"] == "base-gray"
    assert any("by itself" in warning for warning in job.result["warnings"])
    job = bench.run(png(sent), model="base-rgb", options={"model": "base-rgb"})
    assert job.result is not None and job.result["model"] == "base-rgb"


def test_a_model_that_did_not_beat_its_base_says_so(bench: Bench) -> None:
    base = Denoiser.load("base-gray")
    data = weights.to_bytes(base.network, {"promoted": False})
    bench.store.blobs.put("models/mdl_1.safetensors", data)
    digest = hashlib.sha256(data).hexdigest()
    bench.store.models.register("mdl_1", "mine", 1, {}, "models/mdl_1.safetensors", len(data), digest, "default")
    job = bench.run(png(noisy()), model="mdl_1")
    assert job.result is not None and "did not beat its base" in job.result["warnings"][0]


def test_without_a_report_there_is_none(bench: Bench) -> None:
    job = bench.run(png(noisy()), options={"report": False})
    assert (job.state, job.report_key, job.picture_key) == (JobState.SUCCEEDED, None, None)
    assert [blob.key for blob in bench.store.blobs.below(f"jobs/{job.id}/1")] == [job.result_key]


def test_channels_that_are_pages_are_denoised_each_by_itself(bench: Bench) -> None:
    bright, dim = (np.random.default_rng(seed).poisson(noisy() * float(gain)) for seed, gain in ((0, 100), (1, 1)))
    file = io.BytesIO()
    pages = np.stack([bright, dim]).astype(np.uint16)
    tifffile.imwrite(file, pages, ome=True, photometric="minisblack", metadata={"axes": "CYX"})
    job = bench.run(file.getvalue())
    assert job.report_key is not None
    report = json.loads(bench.store.blobs.get(job.report_key))
    assert len(report["channels"]) == 2
    assert report["channels"][0]["black_native"] > 10 * report["channels"][1]["black_native"]


def test_saturation_of_a_12_bit_file_is_seen(bench: Bench) -> None:
    pixels = np.minimum(noisy(64, 64).astype(np.uint16) * 25, 4095)
    file = io.BytesIO()
    tifffile.imwrite(file, pixels)
    job = bench.run(file.getvalue())
    assert job.report_key is not None
    report = json.loads(bench.store.blobs.get(job.report_key))
    assert (
        report["clipped_share"] == pytest.approx((pixels == 4095).mean(), abs=1e-4) and report["clipped_share"] > 0.05
    )


def test_brightness_is_told_in_the_file_s_own_units(bench: Bench) -> None:
    """Signed samples are shifted for the model, and the report must not show it."""
    file = io.BytesIO()
    tifffile.imwrite(file, (noisy(64, 64).astype(np.int16) * 8 - 1_000))
    job = bench.run(file.getvalue())
    assert job.report_key is not None
    report = json.loads(bench.store.blobs.get(job.report_key))
    assert -1_000 <= report["black_native"] < 0


def test_a_model_that_an_older_gateway_wrote_down_was_chosen(bench: Bench) -> None:
    """It filled in who did not choose, too, but then with the base model."""
    base = Denoiser.load("base-rgb")
    data = weights.to_bytes(base.network, {})
    bench.store.blobs.put("models/mdl_2.safetensors", data)
    digest = hashlib.sha256(data).hexdigest()
    bench.store.models.register("mdl_2", "mine", 3, {}, "models/mdl_2.safetensors", len(data), digest, "default")
    one, other, third = (noisy(96, 96, seed=seed) for seed in range(3))
    job = bench.run(png(np.stack([one, other[:, ::-1], third.T], -1)), model="mdl_2")
    assert job.result is not None and job.result["model"] == "mdl_2"


def test_a_preview_is_what_the_whole_result_is_there(bench: Bench) -> None:
    sent = noisy(400, 600)
    whole, part = (bench.run(png(sent), options=options) for options in ({}, {"roi": "0,0,300,300"}))
    assert whole.result_key is not None and part.result_key is not None
    pictures = [pixels_of(bench.store.blobs.get(key)) for key in (whole.result_key, part.result_key)]
    assert np.array_equal(pictures[0][:200, :200], pictures[1][:200, :200])  # where the cut is out of sight


def test_a_region_of_interest_is_cut_out(bench: Bench) -> None:
    sent = noisy(40, 50)
    job = bench.run(png(sent), options={"roi": "8,4,20,10", "strength": 0.0})
    assert job.result_key is not None
    assert np.array_equal(pixels_of(bench.store.blobs.get(job.result_key)), sent[4:14, 8:28])


def test_a_large_stack_goes_through_on_disk_page_by_page(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch, "LARGE", 4096)
    monkeypatch.setattr(denoise, "IN_MEMORY", 4096)
    sent = np.stack([noisy(48, 64, seed=seed) for seed in range(5)])
    data = files.tiff(sent, photometric="minisblack")
    job = bench.run(data, input={"bytes": len(data)})
    assert (job.state, job.error) == (JobState.SUCCEEDED, None)
    assert (job.progress.done, job.progress.total, job.progress.unit) == (5, 5, "page")
    assert job.result_key is not None and job.result is not None
    made = bench.store.blobs.get(job.result_key)
    assert (job.result["bytes"], job.result["sha256"]) == (len(made), hashlib.sha256(made).hexdigest())
    whole = Denoiser.load("base-gray", "cpu").denoise(sent[..., None])[..., 0]
    np.testing.assert_array_equal(tifffile.imread(io.BytesIO(made)), whole)  # one normalisation for all pages


@pytest.mark.parametrize(
    ("values", "code", "words"),
    [
        ({"options": {"roi": "40,0,20,10"}}, "roi_outside_image", "32 x 24"),
        ({"model": "mdl_gone"}, "model_not_found", "mdl_gone"),
        ({"model": "base-rgb"}, "not_denoisable", "base-gray"),
        ({"options": {"output_format": "gif"}}, "unsupported_format", "gif"),
    ],
)
def test_what_cannot_work_fails_at_once_in_words_for_the_sender(
    bench: Bench, values: dict[str, Any], code: str, words: str
) -> None:
    job = bench.run(png(noisy()), **values)
    assert job.error is not None
    assert (job.state, job.attempt, job.error.code) == (JobState.FAILED, 1, code)
    assert words in job.error.detail
    assert list(bench.store.blobs.below(f"jobs/{job.id}/1")) == []


def test_a_broken_image_fails_and_a_deleted_one_too(bench: Bench) -> None:
    broken = bench.run(png(noisy())[:-30])
    assert broken.error is not None
    assert (broken.state, broken.error.code) == (JobState.FAILED, "broken_image")
    gone = bench.send(png(noisy()))
    bench.store.blobs.delete_job(gone.id)
    assert bench.runner().run_next()
    error = bench.store.jobs.get(gone.id).error
    assert error is not None and error.code == "input_gone"


def test_the_last_models_stay_warm(bench: Bench) -> None:
    first = bench.models.for_job("base-gray", "t", 1)
    assert bench.models.for_job(None, "t", 1) is first
    rgb = bench.models.for_job(None, "t", 3)
    bench.store.models.register("mdl_1", "mine", 1, {}, first_key(bench), 3, "another checksum", "t")
    assert bench.models.for_job("mdl_1", "t", 1).name == "mdl_1"
    assert bench.models.for_job("base-rgb", "t", 3) is rgb
    assert bench.models.for_job("base-gray", "t", 1) is not first  # the least recently used of three had to go


def first_key(bench: Bench) -> str:
    return bench.store.models.get("base-gray", "t").weights_key
