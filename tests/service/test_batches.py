"""Batches over HTTP: one job of many files, a result each, and all of them as one archive."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from service.http.packing import safe_names
from service.routes import batches
from store.blobs import done_key
from store.job import Job, JobError, JobFile, JobState, Outcome, Progress
from store.options import KNOWS_BATCHES
from store.schema import jobs
from tests.harness.gateway import Running, png, problem_of, running_gateway

Sent = list[tuple[str, tuple[str, bytes]]]


def images(*names: str) -> Sent:
    return [("images", (name, png(color=number))) for number, name in enumerate(names)]


def zipped(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def stored(gateway: Running) -> set[str]:
    return {blob.key for blob in gateway.services.blobs.below("jobs")}


def posted(gateway: Running, sent: Sent, **options: Any) -> dict[str, Any]:
    answer = gateway.http.post("/denoise", files=sent, data=options)
    assert answer.status_code == 202, answer.text
    job: dict[str, Any] = answer.json()
    return job


def listed(gateway: Running, job: dict[str, Any], **query: Any) -> list[dict[str, Any]]:
    answer = gateway.http.get(f"/jobs/{job['id']}/results", params=query)
    assert answer.status_code == 200, answer.text
    files: list[dict[str, Any]] = answer.json()["files"]
    return files


def do(gateway: Running, job: Job, file: JobFile, data: bytes | None, done: int = 1) -> None:
    """End a file as a worker does: with a result, or without."""
    facts, total = {"succeeded": done, "failed": 0, "bytes": 0}, job.files
    if data is None:
        ended = replace(file, state=JobState.FAILED, error=JobError("broken_image", "It is cut short."))
    else:
        keys = [done_key(job.id, file.number, job.attempt, name) for name in ("result.png", "report.json")]
        gateway.services.blobs.put(keys[0], data)
        gateway.services.blobs.put(keys[1], b'{"alpha": 0.5}')
        made = {"media_type": "image/png", "extension": ".png", "bytes": len(data), "sha256": sha256(data).hexdigest()}
        made |= {"model": "base-gray", "warnings": []}
        ended = replace(file, state=JobState.SUCCEEDED, result_key=keys[0], report_key=keys[1], result=made)
    told = gateway.services.job_files.end(job, ended, Progress(done, total, "image"), facts | {"files": total}, {})
    assert told == "continue"


def finish(gateway: Running, job: Job) -> None:
    facts = {"files": job.files, "succeeded": 1, "failed": 0, "bytes": 5, "media_type": "application/zip"}
    assert gateway.services.jobs.finish(job, Outcome(None, facts | {"extension": ".zip"}, {}))


@pytest.fixture
def done(gateway: Running) -> dict[str, Any]:
    """A batch of three that has ended: the second file is bad."""
    posted(gateway, images("a.png", "b/../c.png", "a.png"))
    job = gateway.claim()
    for number, file in enumerate(gateway.services.job_files.page(job.id)):
        do(gateway, job, file, None if number == 1 else b"result %d" % number, number + 1)
    finish(gateway, job)
    answer: dict[str, Any] = gateway.http.get(f"/jobs/{job.id}").json()
    return answer


def test_several_images_make_one_job(gateway: Running) -> None:
    job = posted(gateway, images("a.png", "b.png", "c.png"), strength="0.5")
    assert (job["kind"], job["state"], job["options"]["strength"]) == ("denoise", "queued", 0.5)
    assert job["input"] == {"files": 3, "bytes": sum(len(file[1][1]) for file in images("a", "b", "c"))}
    assert job["links"]["results"] == f"/jobs/{job['id']}/results" and job["links"]["preview"] is None
    assert [(file["index"], file["name"], file["state"]) for file in listed(gateway, job)] == [
        (0, "a.png", "queued"),
        (1, "b.png", "queued"),
        (2, "c.png", "queued"),
    ]
    claimed = gateway.claim()
    assert (claimed.id, claimed.files, claimed.pixels) == (job["id"], 3, 3 * 64)
    kept = [gateway.services.blobs.get(file.key) for file in gateway.services.job_files.page(claimed.id)]
    assert kept == [file[1][1] for file in images("a", "b", "c")]


def test_an_older_worker_does_not_take_a_batch(gateway: Running) -> None:
    job = posted(gateway, images("a.png"))
    with gateway.services.engine.connect() as connection:
        needs = connection.execute(select(jobs.c.needs).where(jobs.c.id == job["id"])).scalar_one()
    assert needs == KNOWS_BATCHES


@pytest.mark.parametrize("kind", ["application/zip", "application/octet-stream"])
def test_an_archive_makes_one_job(gateway: Running, kind: str) -> None:
    answer = gateway.http.post("/denoise", content=zipped(a=png()), headers={"Content-Type": kind})
    assert answer.status_code == 202, answer.text
    assert [(file["name"], file["state"]) for file in listed(gateway, answer.json())] == [("archive", "queued")]
    job = posted(gateway, [("images", ("set.zip", zipped(a=png())))])
    assert [file["name"] for file in listed(gateway, job)] == ["set.zip"]


def test_a_file_whose_header_is_no_good_is_reported_and_not_fatal(gateway: Running) -> None:
    sent = [*images("a.png"), ("images", ("b.png", png()[:40])), ("images", ("c.txt", b"text"))]
    job = posted(gateway, sent)
    files = listed(gateway, job)
    assert [file["state"] for file in files] == ["queued", "failed", "failed"]
    assert [file["error"]["code"] for file in files[1:]] == ["broken_image", "unsupported_format"]
    assert gateway.claim().pixels == 64


@pytest.mark.parametrize(
    "sent",
    [
        [("images", ("a.txt", b"text"))],
        [*images("a.png"), ("image", ("b.png", png()))],
        [("image", ("b.png", png())), *images("a.png")],
    ],
)
def test_what_is_no_batch_is_refused_and_leaves_nothing(gateway: Running, sent: Sent) -> None:
    before = stored(gateway)
    problem = problem_of(gateway.http.post("/denoise", files=sent), 422, "invalid-request")
    assert problem["errors"][0]["field"] == "images"
    assert stored(gateway) == before


def test_a_refused_option_leaves_nothing(gateway: Running) -> None:
    before = stored(gateway)
    answer = gateway.http.post("/denoise", files=images("a.png", "b.png"), data={"strength": "2"})
    problem_of(answer, 422, "invalid-request")
    assert stored(gateway) == before


def test_an_idempotency_key_makes_one_batch(gateway: Running) -> None:
    headers, before = {"Idempotency-Key": "k"}, stored(gateway)
    first = gateway.http.post("/denoise", files=images("a.png", "b.png"), headers=headers)
    again = gateway.http.post("/denoise", files=images("a.png", "b.png"), headers=headers)
    assert again.json()["id"] == first.json()["id"] and again.headers["Idempotency-Replayed"] == "true"
    assert len(stored(gateway) - before) == 2
    other = gateway.http.post("/denoise", files=images("b.png", "a.png"), headers=headers)
    problem_of(other, 422, "idempotency-mismatch")


def test_a_result_is_there_as_soon_as_it_is_done(gateway: Running) -> None:
    job = posted(gateway, images("a.png", "b.png"))
    claimed = gateway.claim()
    files = gateway.services.job_files.page(claimed.id)
    do(gateway, claimed, files[0], b"first")
    path = f"/jobs/{job['id']}"
    assert gateway.http.get(f"{path}/results/0").content == b"first"
    problem_of(gateway.http.get(f"{path}/results/1"), 409, "result-not-ready")
    problem_of(gateway.http.get(f"{path}/result"), 409, "result-not-ready")
    now = gateway.http.get(path).json()
    assert (now["progress"]["done"], now["progress"]["total"], now["progress"]["unit"]) == (1, 2, "image")
    assert now["links"]["result"] is None
    gateway.services.jobs.request_cancel(job["id"])
    assert gateway.services.jobs.canceled(claimed)
    assert [file["state"] for file in listed(gateway, job)] == ["succeeded", "canceled"]
    assert gateway.http.get(f"{path}/results/0").content == b"first"
    problem_of(gateway.http.get(f"{path}/results/1"), 409, "job-has-no-result")
    assert members(gateway.http.get(f"{path}/result"))["a.png"] == b"first"


def test_a_file_s_result_by_index_and_by_name(gateway: Running, done: dict[str, Any]) -> None:
    path = f"/jobs/{done['id']}/results"
    whole = gateway.http.get(f"{path}/2")
    assert (whole.status_code, whole.content, whole.headers["content-type"]) == (200, b"result 2", "image/png")
    assert whole.headers["etag"] == f'"{sha256(b"result 2").hexdigest()}"'
    assert gateway.http.get(f"{path}/2", headers={"If-None-Match": whole.headers["etag"]}).status_code == 304
    part = gateway.http.get(f"{path}/2", headers={"Range": "bytes=7-7"})
    assert (part.status_code, part.content) == (206, b"2")
    assert gateway.http.head(f"{path}/2").headers["content-length"] == "8"
    assert gateway.http.get(f"{path}/a.png").content == b"result 0"  # the first of that name
    assert gateway.http.get(f"{path}/0/report").json() == {"alpha": 0.5}
    bad = problem_of(gateway.http.get(f"{path}/b%2F..%2Fc.png"), 409, "job-has-no-result")
    assert bad["code"] == "broken_image"
    for missing in ("3", "99999999999999999999", "no.png"):
        problem_of(gateway.http.get(f"{path}/{missing}"), 404, "file-not-found")


def test_the_list_comes_in_pages_and_by_name(gateway: Running, done: dict[str, Any]) -> None:
    first = gateway.http.get(f"/jobs/{done['id']}/results", params={"limit": 2}).json()
    assert [file["index"] for file in first["files"]] == [0, 1]
    assert [file["index"] for file in listed(gateway, done, limit=2, cursor=first["next_cursor"])] == [2]
    assert [file["index"] for file in listed(gateway, done, name="a.png")] == [0, 2]


def members(answer: httpx.Response) -> dict[str, bytes]:
    assert answer.status_code == 200, answer.text
    if answer.headers["content-type"] == "application/x-tar":
        with tarfile.open(fileobj=io.BytesIO(answer.content)) as tar:
            return {name: member.read() for name in tar.getnames() if (member := tar.extractfile(name))}
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.mark.parametrize(("accept", "kind"), [("*/*", "application/zip"), ("application/x-tar", "application/x-tar")])
def test_all_results_as_one_archive(gateway: Running, done: dict[str, Any], accept: str, kind: str) -> None:
    path, headers = done["links"]["result"], {"Accept": accept}
    answer = gateway.http.get(path, headers=headers)
    assert answer.headers["content-type"] == kind
    found = members(answer)
    listing = found.pop("results.json")
    assert found == {"a.png": b"result 0", "a-2.png": b"result 2"}
    assert b"It is cut short." in listing
    again = gateway.http.get(path, headers=headers)
    assert (again.content, again.headers["etag"]) == (answer.content, answer.headers["etag"])
    had = gateway.http.get(path, headers=headers | {"If-None-Match": answer.headers["etag"]})
    assert (had.status_code, had.content) == (304, b"")
    assert gateway.http.head(path, headers=headers).headers["etag"] == answer.headers["etag"]


def page(gateway: Running, job: dict[str, Any], **query: Any) -> tuple[dict[str, Any], dict[str, bytes]]:
    """What `results.json` says in a tar of results, and the other members."""
    headers = {"Accept": "application/x-tar"}
    found = members(gateway.http.get(f"/jobs/{job['id']}/results", params=query, headers=headers, timeout=60))
    return json.loads(found.pop("results.json")), found


def test_results_come_as_they_grow(gateway: Running) -> None:
    job = posted(gateway, images("a.png", "a.png", "c.png", "d.png"))
    claimed = gateway.claim()
    files = gateway.services.job_files.page(claimed.id)
    do(gateway, claimed, files[0], b"result 0")
    do(gateway, claimed, files[1], b"result 1", done=2)
    told, found = page(gateway, job)
    assert (told["job"], told["state"], told["error"], told["next_cursor"]) == (job["id"], "running", None, "2")
    assert [(file["index"], file["file"], file["state"]) for file in told["files"]] == [
        (0, "a.png", "succeeded"),
        (1, "a-2.png", "succeeded"),
    ]
    assert found == {"a.png": b"result 0", "a-2.png": b"result 1"}
    told, found = page(gateway, job, limit=1)
    assert (told["next_cursor"], found) == ("1", {"a.png": b"result 0"})
    told, found = page(gateway, job, cursor=2)
    assert (told["files"], told["next_cursor"], found) == ([], "2", {})
    do(gateway, claimed, files[2], None, done=3)
    gateway.services.jobs.request_cancel(job["id"])
    assert gateway.services.jobs.canceled(claimed)
    told, found = page(gateway, job, cursor=2, wait=60)  # what has ended is not waited for
    assert [file["state"] for file in told["files"]] == ["failed", "canceled"] and not found
    assert (told["state"], told["next_cursor"]) == ("canceled", None)
    assert gateway.http.get(f"/jobs/{job['id']}/results", headers={"Accept": "*/*"}).json()["files"]


def test_a_page_of_results_is_bounded_in_bytes(gateway: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "PAGE_BYTES", 5)
    job = posted(gateway, images("a.png", "b.png"))
    claimed = gateway.claim()
    for file in gateway.services.job_files.page(claimed.id):
        do(gateway, claimed, file, b"result")
    finish(gateway, claimed)
    assert [page(gateway, job, cursor=cursor)[0]["next_cursor"] for cursor in (0, 1, 2)] == ["1", None, None]


def test_a_list_is_held_until_a_file_has_ended(gateway: Running) -> None:
    job = posted(gateway, images("a.png", "b.png"))
    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(page, gateway, job, wait=60)
        claimed = gateway.claim()
        do(gateway, claimed, gateway.services.job_files.page(claimed.id)[0], b"first")
        told, found = held.result(timeout=60)
    assert (told["state"], told["next_cursor"], found) == ("running", "1", {"a.png": b"first"})
    told, _ = page(gateway, job, cursor=1, wait=0.2)  # and not for ever
    assert told["files"] == []


def test_a_deleted_batch_is_gone(gateway: Running, done: dict[str, Any]) -> None:
    assert gateway.http.delete(f"/jobs/{done['id']}").status_code == 204
    for path in ("result", "results", "results/0", "results/0/report"):
        problem_of(gateway.http.get(f"/jobs/{done['id']}/{path}"), 410, "result-gone")
    assert not [key for key in stored(gateway) if done["id"] in key]


def test_what_a_batch_has_not_is_said(gateway: Running, done: dict[str, Any]) -> None:
    for path, slug in (("report", "report-not-kept"), ("report.png", "report-not-kept"), ("preview.png", "no-preview")):
        problem_of(gateway.http.get(f"/jobs/{done['id']}/{path}"), 404, slug)
    single = gateway.done()
    problem_of(gateway.http.get(f"/jobs/{single['id']}/results"), 404, "not-a-batch")
    problem_of(gateway.http.get(f"/jobs/{single['id']}/results/0"), 404, "not-a-batch")


def test_bounds_hold_for_batches(tmp_path: Path) -> None:
    size = len(png())
    with running_gateway(tmp_path, max_set_images=2, max_set_bytes=150_000, max_upload_bytes=size) as gateway:
        many = gateway.http.post("/denoise", files=images("a.png", "b.png", "c.png"))
        problem_of(many, 413, "set-too-large")
        large = [("images", ("a.png", bytes(250_000)))]
        problem_of(gateway.http.post("/denoise", files=large), 413, "set-too-large")
        too_large = posted(gateway, [*images("a.png"), ("images", ("b.png", png(200, 200, color=7) + bytes(900)))])
        assert listed(gateway, too_large)[1]["error"]["code"] == "image_too_large"
        single = gateway.http.post("/denoise", files={"image": ("a.png", bytes(size + 1))})
        problem_of(single, 413, "content-too-large")


def test_names_lead_nowhere_and_come_once() -> None:
    names = ["../../etc/passwd", "a.tif", "A.TIF", "/x/./y.png", "", "c:\\d.png", "a:b"]
    assert safe_names(names, [".png"] * len(names)) == [
        "etc/passwd.png",
        "a.png",
        "A-2.png",
        "x/y.png",
        "image.png",
        "c_/d.png",
        "a_b.png",
    ]
