"""Batches run through the real model: each file by itself, and what an attempt leaves for the next one."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from images.archive import ArchiveLimits
from images.limits import Limits
from store.blobs import file_key
from store.errors import BlobMissing
from store.ids import new_id
from store.job import Job, JobFile, JobKind, JobState, Outcome
from store.job_files import JobFiles, numbered
from store.options import KNOWS_BATCHES
from store.schema import jobs
from store.stored import stored_bytes
from store.tenants import Allowance, Tenants
from tests.harness.images_of import noisy, pixels_of, png
from tests.worker.conftest import Bench
from worker.attempt import Attempt
from worker.batch import BatchWork
from worker.denoise import DenoiseWork
from worker.errors import Retriable
from worker.runner import Runner
from worker.stages import Stages

IMAGE = png(noisy(24, 32, seed=1))


def zipped(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


class Batches:
    """A bench whose workers know batches; `before` is called with each file's attempt before it is denoised."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.files = JobFiles(bench.store.engine, bench.store.settings)
        self.before: Callable[[Attempt], None] = lambda attempt: None
        self.done: list[str | None] = []

    def send(self, *sent: tuple[str, bytes], **values: Any) -> Job:
        job_id, kept = new_id("job"), []
        for number, (name, data) in enumerate(sent):
            key = file_key(job_id, number)
            self.bench.store.blobs.put(key, data)
            kept.append(JobFile(number, name, key, len(data), 768, archive=data[:2] == b"PK"))
        about = {"files": len(sent), "bytes": sum(len(data) for _, data in sent)}
        defaults = {"options": {"quality": "fast"}, "input": about, "input_key": None, "needs": KNOWS_BATCHES}
        defaults |= {"unit": "image", "pixels": sum(file.pixels for file in kept)}
        return self.bench.store.queued(id=job_id, files=kept, **(defaults | values))

    def runner(self, max_files: int = 100, max_bytes: int = 10**6, **settings: Any) -> Runner:
        store = self.bench.store
        one = DenoiseWork(store.blobs, self.bench.models, Limits(), metrics=self.bench.metrics)

        def watched(attempt: Attempt, stages: Stages) -> Outcome:
            self.before(attempt)
            self.done.append(attempt.job.input_key)
            return one(attempt, stages)

        archives = ArchiveLimits(max_files, max_bytes, 10**6)
        return self.bench.runner(BatchWork(watched, self.files, store.blobs, Limits(), archives), **settings)

    def read(self, job: Job) -> tuple[Job, list[JobFile]]:
        return self.bench.store.jobs.get(job.id), self.files.page(job.id)


@pytest.fixture
def batches(bench: Bench) -> Batches:
    return Batches(bench)


def states(files: list[JobFile]) -> list[str]:
    return [file.state.value for file in files]


def test_each_file_has_a_result_and_a_report(batches: Batches) -> None:
    sent = [("a.png", IMAGE), ("b.png", png(noisy(40, 24, 3)))]
    job = batches.send(*sent)
    assert batches.runner().run_next()
    job, files = batches.read(job)
    assert (job.state, job.error, job.result_key) == (JobState.SUCCEEDED, None, None)
    assert (job.progress.done, job.progress.total, job.progress.unit) == (2, 2, "image")
    blobs = batches.bench.store.blobs
    for (name, data), file in zip(sent, files, strict=True):
        assert (file.name, file.state, file.error) == (name, JobState.SUCCEEDED, None)
        assert file.result_key is not None and file.report_key is not None and file.result is not None
        made = blobs.get(file.result_key)
        assert pixels_of(made).shape == pixels_of(data).shape and file.result["bytes"] == len(made)
        assert json.loads(blobs.get(file.report_key))["alpha"] == file.result["alpha"]
    assert [file.result and file.result["model"] for file in files] == ["base-gray", "base-rgb"]
    sizes = sum(int(file.result["bytes"]) for file in files if file.result)
    expected = {"files": 2, "succeeded": 2, "failed": 0, "bytes": sizes}
    assert job.result == expected | {"media_type": "application/zip", "extension": ".zip"}
    assert {"queued", "decode", "compute", "encode"} <= job.timings.keys()


def test_a_file_is_denoised_as_it_is_by_itself(batches: Batches) -> None:
    alone = batches.bench.run(IMAGE, options={"quality": "fast"})
    job = batches.send(("other.png", png(noisy(32, 32, seed=7))), ("a.png", IMAGE))
    assert batches.runner().run_next()
    file = batches.read(job)[1][1]
    blobs = batches.bench.store.blobs
    assert alone.result_key is not None and file.result_key is not None
    assert blobs.get(file.result_key) == blobs.get(alone.result_key)


def test_a_bad_file_is_reported_and_the_others_are_done(batches: Batches) -> None:
    job = batches.send(("a.png", IMAGE), ("b.png", IMAGE[:60]), ("c.txt", b"no image"), ("d.png", IMAGE))
    assert batches.runner().run_next()
    job, files = batches.read(job)
    assert job.state is JobState.SUCCEEDED and states(files) == ["succeeded", "failed", "failed", "succeeded"]
    assert [file.error and file.error.code for file in files][1:3] == ["broken_image", "unsupported_format"]
    assert job.result is not None and (job.result["succeeded"], job.result["failed"]) == (2, 2)


def test_a_batch_of_which_nothing_comes_fails_and_says_why(batches: Batches) -> None:
    job = batches.send(("a.png", IMAGE[:60]), ("b.txt", b"no image"))
    assert batches.runner().run_next()
    job, _ = batches.read(job)
    assert job.state is JobState.FAILED and job.error is not None
    assert job.error.code == "no_image_denoised" and "a.png: " in job.error.detail


def test_another_attempt_repeats_nothing(batches: Batches) -> None:
    job = batches.send(("a.png", IMAGE), ("b.png", IMAGE), ("c.png", IMAGE))

    def die(attempt: Attempt) -> None:
        if attempt.job.attempt == 1 and len(batches.done) == 1:
            raise Retriable("out_of_memory", "for once")

    batches.before = die
    runner = batches.runner()
    assert runner.run_next()
    now, files = batches.read(job)
    assert (now.state, now.strikes, states(files)) == (JobState.QUEUED, 1, ["succeeded", "queued", "queued"])
    first = files[0].result_key
    _make_due(batches)
    assert runner.run_next()
    now, files = batches.read(job)
    assert (now.state, now.strikes, now.attempt) == (JobState.SUCCEEDED, 0, 2)
    assert batches.done == [file_key(job.id, number) for number in range(3)] and files[0].result_key == first


def test_strikes_are_a_file_s_and_the_batch_goes_on_behind_it(batches: Batches) -> None:
    job = batches.send(("a.png", IMAGE), ("b.png", IMAGE), ("c.png", IMAGE))

    def die(attempt: Attempt) -> None:
        if attempt.job.input_key == file_key(job.id, 1):
            raise Retriable("out_of_memory", "each time")

    batches.before = die
    runner = batches.runner(max_attempts=2)
    for _ in range(3):
        _make_due(batches)
        assert runner.run_next()
    now, files = batches.read(job)
    assert now.state is JobState.SUCCEEDED and states(files) == ["succeeded", "failed", "succeeded"]
    assert files[1].error is not None and files[1].error.code == "out_of_memory"


def test_a_batch_whose_every_file_kills_ends(batches: Batches) -> None:
    job = batches.send(("a.png", IMAGE), ("b.png", IMAGE))

    def die(attempt: Attempt) -> None:
        raise Retriable("out_of_memory", "each time")

    batches.before = die
    runner = batches.runner(max_attempts=1)
    for _ in range(3):
        _make_due(batches)
        assert runner.run_next()
    now, files = batches.read(job)
    assert (now.state, states(files)) == (JobState.FAILED, ["failed", "failed"])


def test_a_cancel_keeps_what_was_done(batches: Batches) -> None:
    job = batches.send(("a.png", IMAGE), ("b.png", IMAGE), ("c.png", IMAGE))

    def cancel(attempt: Attempt) -> None:
        if attempt.job.input_key == file_key(job.id, 1):
            batches.bench.store.jobs.request_cancel(job.id)

    batches.before = cancel
    assert batches.runner().run_next()
    now, files = batches.read(job)
    assert now.state is JobState.CANCELED and states(files)[0] == "succeeded" and states(files)[2] == "queued"
    assert files[0].result_key is not None and batches.bench.store.blobs.get(files[0].result_key)
    assert now.result is not None and now.result["succeeded"] == states(files).count("succeeded")


def test_the_late_end_of_a_file_is_refused(batches: Batches) -> None:
    job = batches.send(("a.png", IMAGE))
    jobs = batches.bench.store.jobs
    claimed = jobs.claim(JobKind.DENOISE, "sleeper")
    assert claimed is not None and jobs.hand_back("sleeper")
    again = jobs.claim(JobKind.DENOISE, "other")
    assert again is not None and again.attempt == 2
    file = replace(batches.read(job)[1][0], state=JobState.SUCCEEDED, result_key="late", result={})
    assert batches.files.end(claimed, file, claimed.progress, {}, {}) == "lost"
    assert states(batches.read(job)[1]) == ["queued"]


def test_a_batch_gives_way_to_single_jobs_and_to_other_tenants(batches: Batches) -> None:
    store = batches.bench.store
    batch = batches.send(("a.png", IMAGE), ("b.png", IMAGE), ("c.png", IMAGE), tenant="many")
    own = batches.send(("x.png", IMAGE), tenant="many")  # a batch of the same tenant is not given way to
    others: list[Job] = []

    def come(attempt: Attempt) -> None:
        if not others:
            others.append(batches.bench.send(IMAGE, tenant="single"))

    batches.before = come
    runner = batches.runner()
    assert runner.run_next()
    now, files = batches.read(batch)
    assert (now.state, now.strikes, states(files)) == (JobState.QUEUED, 0, ["succeeded", "queued", "queued"])
    ended: list[str] = []
    while runner.run_next():
        now_final = [job.id for job in (batch, own, *others) if store.jobs.get(job.id).state.final]
        ended += [job_id for job_id in now_final if job_id not in ended]
    assert len(ended) == 3 and ended.index(others[0].id) < ended.index(batch.id)
    assert store.jobs.get(batch.id).attempt == 2


def test_an_archive_is_unpacked_into_files_of_the_batch(batches: Batches) -> None:
    packed = zipped(**{"in/a.png": IMAGE, "b.png": IMAGE[:60], "../c.png": IMAGE})
    job = batches.send(("set.zip", packed))
    assert batches.runner().run_next()
    now, files = batches.read(job)
    assert now.state is JobState.SUCCEEDED and states(files) == ["succeeded", "failed", "failed"]
    assert [file.name for file in files] == ["in/a.png", "b.png", "../c.png"]
    assert files[2].error is not None and "leads out" in files[2].error.detail
    assert (now.files, now.input["files"], now.pixels) == (3, 3, 768)
    with pytest.raises(BlobMissing):
        batches.bench.store.blobs.get(file_key(job.id, 0))


def test_archives_beside_files_keep_their_place(batches: Batches) -> None:
    job = batches.send(
        ("a.png", IMAGE), ("set.zip", zipped(x=IMAGE, y=IMAGE)), ("b.png", IMAGE), ("no.zip", b"PK\3\4 x")
    )
    assert batches.runner().run_next()
    _, files = batches.read(job)
    assert [file.name for file in files] == ["a.png", "set.zip/x", "set.zip/y", "b.png", "no.zip"]
    assert states(files) == ["succeeded"] * 4 + ["failed"]


def test_what_archives_unpack_to_is_bounded_and_counted(batches: Batches) -> None:
    store = batches.bench.store
    job = batches.send(("set.zip", zipped(x=IMAGE, y=IMAGE)))
    assert batches.runner(max_files=1).run_next()
    now, files = batches.read(job)
    assert now.state is JobState.FAILED and files[-1].error is not None
    assert files[-1].error.code == "archive_too_large"
    tenants = Tenants(store.engine)
    tenants.ensure("acme")
    large = IMAGE + bytes(5000)
    for bounds, code in (
        (Allowance(pixels_per_day=2000), "quota_exceeded"),
        (Allowance(stored_bytes=9), "storage_full"),
    ):
        tenants.set_allowance("acme", bounds)
        job = batches.send(("set.zip", zipped(x=large, y=large, z=large)), pixels=0, tenant="acme")
        assert batches.runner().run_next()
        now, _ = batches.read(job)
        assert now.error is not None and now.error.code == code


def test_deleting_takes_the_bytes_of_every_file(batches: Batches) -> None:
    job = batches.send(("a.png", IMAGE), ("set.zip", zipped(x=IMAGE)))
    assert batches.runner().run_next()
    store = batches.bench.store
    with store.engine.connect() as connection:
        assert connection.execute(stored_bytes("default")).scalar_one() > 2 * len(IMAGE)
    store.jobs.purge(job.id)
    store.blobs.delete_job(job.id)
    assert not list(store.blobs.below(f"jobs/{job.id}")) and not batches.files.page(job.id)


def test_places_are_counted_from_0() -> None:
    assert [file.number for file in numbered([JobFile(7, "a", "k", 1, 1), JobFile(3, "b", "k", 1, 1)])] == [0, 1]


def _make_due(batches: Batches) -> None:
    """A job that waits before another try is due now."""
    with batches.bench.store.engine.begin() as connection:
        connection.execute(jobs.update().values(not_before=None))
