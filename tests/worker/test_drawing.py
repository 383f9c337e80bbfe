"""Pictures drawn by a worker: on real stores, of jobs that ran, through a real Redis."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image
from redis import Redis

from images.limits import Limits
from store.blobs import attempt_key
from store.broker import ENDINGS
from store.job import Job, JobState
from store.pictures import Picture, Pictures
from store.preview import REPORT, Preview
from tests.harness import files
from tests.harness.images_of import noisy, pixels_of, png
from tests.worker.conftest import Bench
from worker.cut import NAME
from worker.drawing import Drawing

pytestmark = pytest.mark.parametrize("store", ["sqlite-folder"], indirect=True)
"""What differs between stores is `store.pictures`'s, whose tests run on both."""


def drawing_of(bench: Bench) -> Drawing:
    store = bench.store
    return Drawing(Pictures(store.engine, store.settings), store.jobs, store.blobs, bench.broker, Limits())


@pytest.fixture
def drawing(bench: Bench) -> Iterator[Drawing]:
    made = drawing_of(bench)
    yield made
    made.stop()


def drawn(bench: Bench, drawing: Drawing, job: Job, what: Any) -> Picture:
    pictures = Pictures(bench.store.engine, bench.store.settings)
    pictures.ask(job, what)
    assert drawing.draw_next()
    found = pictures.ask(job, what)
    assert found.ended
    return found


def seen(bench: Bench, drawing: Drawing, job: Job, **asked: Any) -> np.ndarray[Any, Any]:
    picture = drawn(bench, drawing, job, Preview.model_validate(asked).row())
    assert picture.error is None and picture.key is not None
    data = bench.store.blobs.get(picture.key)
    assert len(data) == picture.bytes
    return np.asarray(Image.open(io.BytesIO(data)))


def test_both_sides_and_the_report_of_a_job(bench: Bench, drawing: Drawing) -> None:
    sent = noisy(200, 300)
    job = bench.run(png(sent))
    assert job.result_key is not None
    made = pixels_of(bench.store.blobs.get(job.result_key)).squeeze()
    assert np.array_equal(seen(bench, drawing, job, side="before"), sent.squeeze())
    assert np.array_equal(seen(bench, drawing, job, side="after"), made)
    taken = seen(bench, drawing, job, side="residual").astype(float)
    assert np.corrcoef(taken.ravel(), (sent.squeeze().astype(float) - made).ravel())[0, 1] > 0.99
    report = drawn(bench, drawing, job, REPORT)
    assert report.key is not None and Image.open(io.BytesIO(bench.store.blobs.get(report.key))).width == 1056
    assert not drawing.draw_next()


def test_a_crop_is_shown_beside_the_same_part_of_the_upload(bench: Bench, drawing: Drawing) -> None:
    sent = noisy(200, 300)
    job = bench.run(png(sent), options={"roi": "50,30,100,80"})
    assert np.array_equal(seen(bench, drawing, job, side="before"), sent.squeeze()[30:110, 50:150])
    assert seen(bench, drawing, job, side="residual").shape == (80, 100)


@pytest.mark.parametrize("output", [{}, {"output_dtype": "float32", "output_format": "tiff"}])
def test_a_raw_image_is_developed_on_every_side(bench: Bench, drawing: Drawing, output: dict[str, str]) -> None:
    rng = np.random.default_rng(0)
    mosaic = (256 + rng.poisson(3000, (128, 192))).astype(np.uint16)
    job = bench.run(files.dng(mosaic), input={"format": "dng"}, options=output)
    assert job.state is JobState.SUCCEEDED, job.error
    sides = [seen(bench, drawing, job, side=side) for side in ("before", "after", "residual")]
    assert {side.shape for side in sides} in ({(96, 64, 3)}, {(64, 96, 3)})
    assert abs(sides[0].mean() - sides[1].mean()) < 4
    assert (sides[0].std((0, 1)) > 1.5 * sides[1].std((0, 1)))[1:].all()


def test_one_window_for_an_upload_of_integers_and_a_result_of_values(bench: Bench, drawing: Drawing) -> None:
    sent = np.random.default_rng(0).normal(500, 60, (96, 96)).astype(np.int16)
    data = files.fits(sent, "BSCALE  =  0.5", "BZERO   =  -100.0")
    job = bench.run(data, input={"format": "fits"}, options={"output_dtype": "float32"})
    assert job.state is JobState.SUCCEEDED, job.error
    before = seen(bench, drawing, job, side="before", window="50,250").astype(float)
    assert abs(before - np.clip((0.5 * sent - 100 - 50) * 255 / 200, 0, 255)).max() <= 1
    assert abs(seen(bench, drawing, job, side="after", window="50,250").mean() - before.mean()) < 2


def test_what_cannot_be_drawn_says_why_and_is_not_tried_again(bench: Bench, drawing: Drawing) -> None:
    job = bench.run(png(noisy(64, 64)))
    picture = drawn(bench, drawing, job, Preview.model_validate({"page": 1}).row())
    assert picture.error is not None and "the image has 1" in picture.error.detail
    assert not drawing.draw_next()


def test_a_job_whose_bytes_are_deleted_while_it_is_drawn_keeps_no_picture(bench: Bench, drawing: Drawing) -> None:
    job = bench.run(png(noisy(64, 64)))
    pictures = Pictures(bench.store.engine, bench.store.settings)
    pictures.ask(job, REPORT)
    draw = drawing._drawn

    def late(picture: Picture) -> bytes:
        data = draw(picture)
        bench.store.jobs.purge(job.id)
        bench.store.blobs.delete_job(job.id)
        return data

    drawing._drawn = late  # type: ignore[method-assign]
    assert drawing.draw_next()
    assert list(bench.store.blobs.below(f"jobs/{job.id}")) == []


def test_bytes_that_are_gone_are_a_refusal(bench: Bench, drawing: Drawing) -> None:
    job = bench.run(png(noisy(64, 64)))
    bench.store.blobs.delete([attempt_key(job.id, job.attempt, NAME)])
    picture = drawn(bench, drawing, job, REPORT)
    assert picture.error is not None and "deleted" in picture.error.detail


def test_a_ring_has_the_thread_draw_and_its_end_is_announced(bench: Bench, drawing: Drawing, redis_url: str) -> None:
    job = bench.run(png(noisy(64, 64)))
    asked = Pictures(bench.store.engine, bench.store.settings).ask(job, REPORT)
    channel = Redis.from_url(redis_url, decode_responses=True).pubsub()
    channel.subscribe(ENDINGS)
    drawing.start()
    assert bench.broker.ring_for_picture(asked.id)
    deadline, heard = time.monotonic() + 60, None
    while heard != asked.id and time.monotonic() < deadline:
        message = channel.get_message(timeout=1)
        heard = message["data"] if message is not None else heard
    channel.close()
    assert heard == asked.id
    drawing.stop()
    assert not any(thread.name == "drawing" and thread.is_alive() for thread in threading.enumerate())


def test_no_ring_is_added_where_one_waits(bench: Bench) -> None:
    for again in (False, True, True):
        assert bench.broker.ring_for_picture("job_x/a", again)
    assert bench.broker.await_picture(1)
    assert not bench.broker.await_picture(0.1)
