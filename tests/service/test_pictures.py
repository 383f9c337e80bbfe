"""Pictures over HTTP: drawn by a worker when they are asked for, once, and served as results are."""

from __future__ import annotations

import hashlib
import io
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import func, select

from images.limits import Limits
from model import Denoiser
from store.blobs import BlobInfo
from store.errors import BlobStoreError
from store.job import JobKind, Outcome
from store.schema import pictures as table
from tests.harness import files
from tests.harness.gateway import Running, problem_of, running_gateway
from worker.cut import NAME, Cut
from worker.drawing import Drawing

PIXELS = files.noise((24, 32))
CLEAN = np.full_like(PIXELS, 120)


def encoded(pixels: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def finished(gateway: Running, report: bytes | None = b"{}", **options: Any) -> str:
    """Path of a job that made CLEAN of PIXELS."""
    posted = gateway.post(encoded(PIXELS), **options)
    job = gateway.succeed(gateway.claim(), encoded(CLEAN), report)
    if report is not None:
        assert job.report_key is not None
        cut = Cut.of(PIXELS[None, ..., None], CLEAN[None, ..., None])
        gateway.services.blobs.put(f"{job.report_key.rpartition('/')[0]}/{NAME}", cut.to_bytes())
    return f"/jobs/{posted['id']}"


@pytest.fixture(scope="module")
def drawn_report() -> bytes:
    """The numbers of a real report."""
    _, report = Denoiser.load("base-gray").denoise_with_report(PIXELS[None, ..., None])
    assert report is not None
    return json.dumps(report.to_dict()).encode()


@contextmanager
def worker(gateway: Running) -> Iterator[list[bool]]:
    """A worker's thread, without the Redis that it listens to: it looks for itself. What it drew is counted."""
    services = gateway.services
    drawing = Drawing(services.pictures, services.jobs, services.blobs, services.broker, Limits())
    drawn: list[bool] = []
    over = threading.Event()

    def work() -> None:
        while not over.is_set():
            if drawing.draw_next():
                drawn.append(True)
            else:
                over.wait(0.02)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield drawn
    finally:
        over.set()
        thread.join()


def rows(gateway: Running) -> int:
    with gateway.services.engine.connect() as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()


def seen(data: bytes) -> np.ndarray[Any, Any]:
    return np.asarray(Image.open(io.BytesIO(data)))


def test_a_preview_is_drawn_when_it_is_asked_for_and_served_as_results_are(gateway: Running) -> None:
    job = finished(gateway)
    path = gateway.http.get(job).json()["links"]["preview"]
    with worker(gateway) as drawn:
        first = gateway.http.get(path)
        assert (first.status_code, first.headers["content-type"]) == (200, "image/png")
        assert np.array_equal(seen(first.content), CLEAN)
        before = gateway.http.get(path, params={"side": "before"})
        assert np.array_equal(seen(before.content), PIXELS)
        assert len(drawn) == 2
    etag = first.headers["etag"]
    assert etag == f'"{hashlib.sha256(first.content).hexdigest()}"' != before.headers["etag"]
    assert first.headers["cache-control"] == "private, no-cache"
    assert before.headers["content-disposition"] == f'inline; filename="{job.split("/")[2]}-before.png"'
    # The worker is gone, and what it drew stays.
    assert gateway.http.get(path, headers={"If-None-Match": etag}).status_code == 304
    part = gateway.http.get(path, headers={"Range": "bytes=0-7"})
    assert (part.status_code, part.content) == (206, b"\x89PNG\r\n\x1a\n")
    head = gateway.http.head(path)
    assert (head.status_code, head.headers["content-length"]) == (200, str(len(first.content)))


def test_many_requests_at_once_have_it_drawn_once(gateway: Running) -> None:
    job = finished(gateway)
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(gateway.http.get, f"{job}/preview.png", params={"max": 16}) for _ in range(8)]
        while rows(gateway) == 0:
            time.sleep(0.01)
        with worker(gateway) as drawn:
            answers = [answer.result() for answer in asked]
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1 and len(drawn) == 1


def test_the_same_in_other_words_is_the_same_picture(gateway: Running) -> None:
    job = finished(gateway)
    with worker(gateway) as drawn:
        for query in ("", "?side=after", "?window=auto&page=0", "?max=1024"):
            assert gateway.http.get(f"{job}/preview.png{query}").status_code == 200
        for query in ("?window=1,200", "?window=1.0,2e2"):
            assert gateway.http.get(f"{job}/preview.png{query}").status_code == 200
    assert len(drawn) == 2


def test_without_a_worker_the_wait_is_bounded_and_the_picture_stays_asked_for(tmp_path: Path) -> None:
    with running_gateway(tmp_path, picture_seconds=0.3) as gateway:
        job = finished(gateway)
        answer = gateway.http.get(f"{job}/preview.png")
        document = problem_of(answer, 503, "picture-late")
        assert answer.headers["retry-after"] == "5" and "B2S_PICTURE_SECONDS" in document["detail"]
        gateway.http.get(f"{job}/preview.png")
        with worker(gateway):
            deadline = time.monotonic() + 60
            while gateway.http.get(f"{job}/preview.png").status_code != 200:
                assert time.monotonic() < deadline
        assert rows(gateway) == 1


def test_a_tenant_s_waiting_pictures_are_bounded(tmp_path: Path) -> None:
    with running_gateway(tmp_path, picture_seconds=0.2, max_pictures_per_tenant=2) as gateway:
        job = finished(gateway)
        codes = [gateway.http.get(f"{job}/preview.png", params={"max": 20 + n}).status_code for n in range(3)]
        assert codes == [503, 503, 429]
        answer = gateway.http.get(f"{job}/preview.png", params={"max": 99})
        assert int(answer.headers["retry-after"]) > 0
        assert "2 of your pictures are waiting" in problem_of(answer, 429, "too-many-pictures")["detail"]


@pytest.mark.parametrize(
    ("query", "field", "words"),
    [
        ("side=left", "side", "before"),
        ("page=1", "page", "the image has 1, counted from 0"),
        ("page=-1", "page", "greater than or equal to 0"),
        ("window=5", "window", "black and white as in 100,4000"),
        ("window=9,5", "window", "black must be less than white"),
        ("window=1,nan", "window", "black and white"),
        ("window=-1e999,1", "window", "sane"),
        ("max=99999", "max", "2048"),
        ("max=1", "max", "16"),
        ("channel=-1", "channel", "greater than or equal to 0"),
        ("zoom=2", "zoom", "not known"),
    ],
)
def test_a_wish_that_cannot_be_is_refused_by_its_name(gateway: Running, query: str, field: str, words: str) -> None:
    document = problem_of(gateway.http.get(f"{finished(gateway)}/preview.png?{query}"), 422, "invalid-request")
    assert [error["field"] for error in document["errors"]] == [field]
    assert words in document["detail"]
    assert rows(gateway) == 0


def test_what_the_worker_refuses_is_told_in_its_words(gateway: Running) -> None:
    with worker(gateway) as drawn:
        for _ in range(2):
            answer = gateway.http.get(f"{finished(gateway)}/preview.png?channel=7")
            document = problem_of(answer, 422, "picture-refused")
            assert "channel=7: the image has 1" in document["detail"] and document["code"] == "no_such_channel"
    assert len(drawn) == 2


def test_only_what_is_finished_and_there_has_pictures(gateway: Running) -> None:
    for part in ("preview.png", "report.png"):
        waiting = gateway.post()
        answer = gateway.http.get(f"/jobs/{waiting['id']}/{part}")
        problem_of(answer, 409, "result-not-ready")
        gateway.fail(gateway.claim())
        document = problem_of(gateway.http.get(f"/jobs/{waiting['id']}/{part}"), 409, "job-has-no-result")
        assert "cut short" in document["detail"]
        job = finished(gateway)
        with worker(gateway):
            assert gateway.http.get(f"{job}/preview.png").status_code == 200
        assert gateway.http.delete(job).status_code == 204
        problem_of(gateway.http.get(f"{job}/{part}"), 410, "result-gone")
        assert list(gateway.services.blobs.below(job.strip("/"))) == []
    problem_of(gateway.http.get("/jobs/job_none/preview.png"), 404, "job-not-found")


def test_a_picture_whose_bytes_are_gone_is_drawn_again(gateway: Running) -> None:
    job = finished(gateway)
    with worker(gateway) as drawn:
        first = gateway.http.get(f"{job}/preview.png")
        gateway.services.blobs.delete([blob.key for blob in gateway.services.blobs.below(f"{job[1:]}/pictures")])
        again = gateway.http.get(f"{job}/preview.png")
    assert again.content == first.content and len(drawn) == 2


def test_a_blob_store_that_fails_for_a_moment_costs_an_attempt_and_no_picture(
    gateway: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = [BlobStoreError("away")]
    head = gateway.services.blobs.head

    def failing(key: str) -> BlobInfo:
        if failures:
            raise failures.pop()
        return head(key)

    monkeypatch.setattr(gateway.services.blobs, "head", failing)
    with worker(gateway):
        assert gateway.http.get(f"{finished(gateway)}/preview.png").status_code == 200
    assert attempts(gateway) == 2


def attempts(gateway: Running) -> int:
    with gateway.services.engine.connect() as connection:
        return connection.execute(select(func.max(table.c.attempt))).scalar_one()


def test_the_report_s_picture_is_drawn_when_it_is_asked_for(gateway: Running, drawn_report: bytes) -> None:
    job = finished(gateway, drawn_report)
    links = gateway.http.get(job).json()["links"]
    with worker(gateway) as drawn:
        first, again = (gateway.http.get(links["report_picture"]) for _ in range(2))
    assert first.content == again.content and seen(first.content).shape[1] == 1056
    assert len(drawn) == 1 and first.headers["content-disposition"].endswith('-report.png"')


def test_the_picture_that_came_with_an_older_job_is_served_on(gateway: Running) -> None:
    posted = gateway.post()
    job = gateway.claim()
    for name, data in (("result.png", b"result"), ("report.json", b"{}"), ("report.png", b"\x89PNG old")):
        gateway.services.blobs.put(f"jobs/{job.id}/1/{name}", data)
    facts = {"media_type": "image/png", "extension": ".png", "bytes": 6, "sha256": "0" * 64, "model": "base-gray"}
    keys = {"report_key": f"jobs/{job.id}/1/report.json", "picture_key": f"jobs/{job.id}/1/report.png"}
    assert gateway.services.jobs.finish(job, Outcome(f"jobs/{job.id}/1/result.png", facts, {}, **keys))  # type: ignore[arg-type]
    answer = gateway.http.get(f"/jobs/{posted['id']}/report.png")
    assert answer.content == b"\x89PNG old"
    assert gateway.http.get(answer.url, headers={"If-None-Match": answer.headers["etag"]}).status_code == 304
    assert rows(gateway) == 0


def test_a_fine_tune_has_no_preview(gateway: Running) -> None:
    answer = gateway.http.post("/finetune", files=[("images", ("a.png", encoded(files.noise((300, 300)))))])
    job = gateway.services.jobs.claim(JobKind.FINETUNE, "test")
    assert job is not None and answer.status_code == 202
    facts = {"media_type": "application/octet-stream", "extension": ".safetensors", "bytes": 1, "sha256": "0" * 64}
    done = gateway.services.jobs.finish(job, Outcome("models/x.safetensors", facts, {}))
    assert done is not None
    problem_of(gateway.http.get(f"/jobs/{job.id}/preview.png"), 404, "no-preview")
    assert gateway.http.get(f"/jobs/{job.id}").json()["links"]["preview"] is None


@pytest.mark.parametrize("metadata", ["keep", "safe", "none"])
def test_a_picture_has_no_metadata_whatever_the_upload_had(gateway: Running, metadata: str) -> None:
    exif = Image.Exif()
    exif[271], exif[34853] = "A camera", {1: "N", 2: (48.0, 8.0, 0.0)}
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, "PNG", exif=exif)
    posted = gateway.post(buffer.getvalue(), metadata=metadata)
    gateway.succeed(gateway.claim(), buffer.getvalue())
    with worker(gateway):
        for side in ("before", "after"):
            data = gateway.http.get(f"/jobs/{posted['id']}/preview.png", params={"side": side}).content
            assert Image.open(io.BytesIO(data)).info == {} and b"camera" not in data
