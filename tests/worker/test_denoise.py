"""Denoise jobs run through the real model: what comes out, and what is said when nothing can."""

from __future__ import annotations

import hashlib
import io
import json
import signal
from typing import Any

import numpy as np
import pytest
import tifffile

from images import sandbox, scratch
from model import Denoiser
from model.inference.backend import NAMES
from model.networks import weights
from store.blobs import attempt_key
from store.job import JobState
from tests.harness import files
from tests.harness.helpers import ending_helpers
from tests.harness.images_of import noisy, pixels_of, png
from tests.worker.conftest import Bench
from worker import denoise
from worker.cut import NAME, Cut
from worker.metrics import BACKENDS


def test_a_job_gives_image_report_and_what_its_picture_needs(bench: Bench) -> None:
    sent = noisy(channels=3)
    job = bench.run(png(sent))
    assert (job.state, job.error) == (JobState.SUCCEEDED, None)
    assert job.result_key == f"jobs/{job.id}/1/result.png"
    assert job.report_key is not None and job.picture_key is None and job.result is not None
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
    assert bench.metrics._backends.labels(report["backend"])._value.get() == 1
    cut = Cut.from_bytes(bench.store.blobs.get(attempt_key(job.id, job.attempt, NAME)))
    assert np.array_equal(cut.before, sent) and np.array_equal(cut.after, made)


def test_metrics_know_every_backend() -> None:
    assert BACKENDS == NAMES


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


def test_marks_of_a_signed_file_are_told_as_the_file_counts_and_come_back(bench: Bench) -> None:
    sent = noisy(128, 128).astype(np.int16) * 4 + 100
    sent[40:60], sent[:, 90:97], sent[10, 20] = -1, -1, -2
    file = io.BytesIO()
    tifffile.imwrite(file, sent)
    job, part = (bench.run(file.getvalue(), options=options) for options in ({}, {"roi": "0,0,96,64"}))
    assert job.report_key and job.result_key and part.result_key
    report = json.loads(bench.store.blobs.get(job.report_key))
    assert report["missing_share"] == pytest.approx((sent < 0).mean(), rel=1e-3)
    assert any("marked by -2, -1" in warning for warning in report["warnings"])
    whole, cut = (tifffile.imread(io.BytesIO(bench.store.blobs.get(key))) for key in (job.result_key, part.result_key))
    assert np.array_equal(whole[sent < 0], sent[sent < 0])
    assert np.array_equal(cut[40:60], sent[40:60, :96])  # found in the whole image, also where a part has few


def test_what_a_float_file_has_not_measured_sets_no_scale(bench: Bench) -> None:
    clean = np.linspace(0, 1, 128, dtype=np.float32)[None].repeat(128, 0)
    sent = clean + np.random.default_rng(0).normal(0, 0.05, clean.shape).astype(np.float32)
    sent[:, 30:100] = np.nan
    file = io.BytesIO()
    tifffile.imwrite(file, sent)
    job = bench.run(file.getvalue())
    assert job.report_key and job.result_key
    made = tifffile.imread(io.BytesIO(bench.store.blobs.get(job.result_key)))
    assert np.array_equal(np.isnan(made), np.isnan(sent))
    known = ~np.isnan(sent)
    assert np.abs(made - clean)[known].mean() < 0.4 * np.abs(sent - clean)[known].mean()
    assert json.loads(bench.store.blobs.get(job.report_key))["missing_share"] == pytest.approx(70 / 128, rel=1e-3)


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


def test_photon_counts_keep_their_mean_and_a_preview_its_pixels(bench: Bench) -> None:
    truth = np.add.outer(np.linspace(0.5, 1.5, 320), np.linspace(0, 1, 400))
    sent = np.random.default_rng(0).poisson(truth).astype(np.uint8)
    runs = [bench.run(png(sent), options=options) for options in ({}, {}, {"roi": "32,16,320,288"})]
    whole, again, part = (pixels_of(bench.store.blobs.get(job.result_key or "")) for job in runs)
    assert np.array_equal(whole, again)
    assert whole.mean() == pytest.approx(sent.mean(), rel=0.02)
    assert np.mean(whole[116:204, 132:252] != part[100:188, 100:220]) < 0.01, "but for a last digit of the network's"
    report = json.loads(bench.store.blobs.get(runs[0].report_key or ""))
    assert report["rounded_share"] > 0.9 and "output_dtype=float32" in report["warnings"][0]


@pytest.mark.parametrize("dtype", [np.uint16, np.int32])
def test_values_can_come_as_floats(bench: Bench, dtype: Any) -> None:
    sent = np.random.default_rng(0).poisson(0.8, (96, 96)).astype(dtype)
    file = io.BytesIO()
    tifffile.imwrite(file, sent)
    exact, whole = (bench.run(file.getvalue(), options=options) for options in ({"output_dtype": "float32"}, {}))
    values, rounded = (
        tifffile.imread(io.BytesIO(bench.store.blobs.get(job.result_key or ""))) for job in (exact, whole)
    )
    assert (values.dtype, rounded.dtype) == (np.float32, dtype)
    assert 0.7 < values.mean() < 0.9 and values.std() < 0.3 and np.any(values % 1)
    assert rounded.mean() == pytest.approx(values.mean(), abs=0.03)
    report = json.loads(bench.store.blobs.get(exact.report_key or ""))
    assert report["rounded_share"] == 0 and not any("output_dtype" in warning for warning in report["warnings"])


def test_a_fits_mosaic_keeps_its_colours_and_is_told_in_its_units(bench: Bench) -> None:
    sites = np.tile([[300, 900], [900, 500]], (48, 64))
    sent = np.random.default_rng(0).poisson(sites).astype(np.int16)
    cards = ("BAYERPAT= 'RGGB    '", "BSCALE  =                  2.0", "BZERO   =                100.0")
    job = bench.run(files.fits(sent, *cards, "BUNIT   = 'electron'"))
    assert job.result and (job.result["width"], job.result["height"]) == (128, 96)
    made = np.frombuffer(bench.store.blobs.get(job.result_key or "")[2880:][: sent.nbytes], ">i2").reshape(sent.shape)
    for place in ((0, 0), (0, 1), (1, 0), (1, 1)):
        there = made[place[0] :: 2, place[1] :: 2]
        assert there.mean() == pytest.approx(sites[place], rel=0.005) and there.std() < 0.6 * sites[place] ** 0.5
    report = json.loads(bench.store.blobs.get(job.report_key or ""))
    assert report["unit_native"] == "electron" and 500 < report["black_native"] < 2000
    assert "site by site" in report["warnings"][0]
    plain = json.loads(bench.store.blobs.get(bench.run(files.fits(sent, cards[0])).report_key or ""))
    for name in ("sigma_native", "alpha_native"):
        assert report[name] == pytest.approx(2 * plain[name], rel=1e-3)
    assert report["noise_kind"]["std"] == pytest.approx(2 * plain["noise_kind"]["std"], rel=1e-2)


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
        ({"options": {"output_format": "gif"}}, "options_not_understood", "output_format=gif"),
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


@pytest.mark.parametrize(("most", "state"), [(3, JobState.QUEUED), (1, JobState.FAILED)])
def test_a_decoder_that_is_killed_again_and_again_costs_an_attempt(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, most: int, state: JobState
) -> None:
    job = bench.send(png(noisy()))
    ending_helpers(monkeypatch, sandbox.shared(), signal.SIGKILL, set(range(9)))
    assert bench.runner(max_attempts=most).run_next()
    job = bench.store.jobs.get(job.id)
    assert (job.state, job.strikes) == (state, 1)
    assert (job.error.code if job.error else None) == (None if state is JobState.QUEUED else "decoder_killed")


def test_the_last_models_stay_warm(bench: Bench) -> None:
    def loaded(model_id: str) -> Denoiser:
        return bench.models.get(bench.store.models.get(model_id, "t"))

    first = loaded("base-gray")
    assert bench.models.get(bench.store.models.default_for(1)) is first
    rgb = bench.models.get(bench.store.models.default_for(3))
    data = weights.to_bytes(first.network, {})
    bench.store.blobs.put("models/mdl_1.safetensors", data)
    digest = hashlib.sha256(data).hexdigest()
    bench.store.models.register("mdl_1", "mine", 1, {}, "models/mdl_1.safetensors", len(data), digest, "t")
    assert loaded("mdl_1").name == "mdl_1"
    assert loaded("base-rgb") is rgb
    assert loaded("base-gray") is not first  # the least recently used of three had to go
