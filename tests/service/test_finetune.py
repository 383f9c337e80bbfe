"""`POST /finetune`: what is taken, what is refused, and that nothing is left of what was refused."""

from __future__ import annotations

import io
import json
import threading
import tracemalloc
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.intake.multipart import MAX_EMPTY_PARTS
from store.job import JobKind
from store.tenants import Allowance, Tenants
from tests.harness.gateway import Running, connection, png, running_gateway


def images(*colors: int) -> list[tuple[str, tuple[str, bytes]]]:
    return [("images", (f"{color}.png", png(color=color))) for color in colors]


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.png", png())
    return buffer.getvalue()


def accepted(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 202, answer.text
    job: dict[str, Any] = answer.json()
    return job


def stored(gateway: Running) -> list[str]:
    return [blob.key for blob in gateway.services.blobs.below("jobs")]


def manifest(gateway: Running, job: dict[str, Any]) -> list[dict[str, Any]]:
    files: list[dict[str, Any]] = json.loads(gateway.services.blobs.get(f"jobs/{job['id']}/input"))["files"]
    return files


def test_many_files_become_one_job(gateway: Running) -> None:
    form = {"max_minutes": "2", "max_steps": "10", "name": "20x", "base_model": "base-gray", "seed": "7"}
    job = accepted(gateway.http.post("/finetune", files=images(1, 2, 3), data=form))
    assert (job["kind"], job["state"], job["model"], job["input"]["files"]) == ("finetune", "queued", "base-gray", 3)
    assert (job["options"]["max_minutes"], job["options"]["name"], job["options"]["seed"]) == (2, "20x", 7)
    files = manifest(gateway, job)
    assert [file["name"] for file in files] == ["1.png", "2.png", "3.png"]
    assert [gateway.services.blobs.get(file["key"]) for file in files] == [png(color=color) for color in (1, 2, 3)]
    claimed = gateway.services.jobs.claim(JobKind.FINETUNE, "test")
    assert claimed is not None and claimed.id == job["id"] and claimed.pixels == 3 * 64


def test_the_method_stands_in_the_row_and_one_that_is_not_known_is_refused(gateway: Running) -> None:
    job = accepted(gateway.http.post("/finetune", files=images(1), data={"method": "blind2sound"}))
    assert job["options"]["method"] == "blind2sound"
    claimed = gateway.services.jobs.claim(JobKind.FINETUNE, "test")
    assert claimed is not None and claimed.id == job["id"]
    refused = gateway.http.post("/finetune", files=images(1), data={"method": "magic"})
    assert refused.status_code == 422 and refused.json()["errors"][0]["field"] == "method"


def test_an_archive_alone_is_a_set(gateway: Running) -> None:
    for content_type in ("application/zip", "application/octet-stream"):
        headers = {"Content-Type": content_type}
        job = accepted(gateway.http.post("/finetune?max_steps=5", content=zipped(), headers=headers))
        assert job["options"]["max_steps"] == 5
        assert [file["archive"] for file in manifest(gateway, job)] == [True]


def test_a_dataset_is_a_set_and_stays_while_it_is_used(gateway: Running) -> None:
    dataset = gateway.http.post("/datasets", json={}).json()
    assert gateway.http.post("/finetune", json={"dataset_id": dataset["id"]}).status_code == 422  # empty
    gateway.http.put(f"/datasets/{dataset['id']}/images/a/b.png", content=png())
    job = accepted(gateway.http.post("/finetune", json={"dataset_id": dataset["id"], "max_steps": 3}))
    assert job["dataset_id"] == dataset["id"] and manifest(gateway, job)[0]["name"] == "a/b.png"
    refused = gateway.http.delete(f"/datasets/{dataset['id']}")
    assert (refused.status_code, refused.json()["job_id"]) == (409, job["id"])
    assert gateway.http.put(f"/datasets/{dataset['id']}/images/a/b.png", content=png(9, 9)).status_code == 409
    gateway.http.post(job["links"]["cancel"])
    assert gateway.http.delete(f"/datasets/{dataset['id']}").status_code == 204
    assert list(gateway.services.blobs.below(f"datasets/{dataset['id']}")) == []


@pytest.mark.parametrize(
    ("request_", "word"),
    [
        ({"data": {"max_steps": "5"}}, "images"),
        ({"files": images(1), "data": {"dataset_id": "set_" + "0" * 32}}, "not both"),
        ({"files": images(1), "data": {"colour": "red"}}, "colour"),
        ({"files": images(1), "data": {"max_minutes": "0"}}, "max_minutes"),
        ({"files": images(1), "data": {"max_minutes": "61"}}, "B2S_FINETUNE_MINUTES"),
        ({"files": images(1), "data": {"base_model": "mdl_x"}}, "GET /models"),
        ({"files": [("image", ("a.png", png()))]}, "only `images`"),
        ({"files": [("images", ("a.txt", b"words")), ("images", ("b.txt", b"words"))]}, "none of the 2 files"),
        ({"files": images(1), "data": {"name": "x" * 5000}}, "4096"),
        ({"json": [1]}, "object"),
        ({"content": b"--x\r\nbroken", "headers": {"Content-Type": "multipart/form-data; boundary=x"}}, "multipart"),
        ({"content": b"x", "headers": {"Content-Type": "multipart/form-data"}}, "boundary"),
    ],
)
def test_refusals_say_what_to_change_and_leave_nothing(gateway: Running, request_: dict[str, Any], word: str) -> None:
    before = stored(gateway)
    answer = gateway.http.post("/finetune", **request_)
    assert answer.status_code == 422 and word in answer.json()["detail"], answer.text
    assert stored(gateway) == before


def test_a_slow_blob_store_keeps_nobody_else_waiting(gateway: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, may_end, ended = threading.Event(), threading.Event(), threading.Event()
    delete_job = gateway.services.blobs.delete_job

    def slow(job_id: str) -> None:
        begun.set()
        may_end.wait(10)
        ended.set()
        delete_job(job_id)

    monkeypatch.setattr(gateway.services.blobs, "delete_job", slow)
    before = stored(gateway)
    with ThreadPoolExecutor(1) as pool:
        refused = pool.submit(gateway.http.post, "/finetune", files=images(1), data={"base_model": "mdl_x"})
        assert begun.wait(10)
        assert gateway.http.get("/livez").status_code == 200 and not ended.is_set()
        may_end.set()
        assert refused.result().status_code == 422
    assert stored(gateway) == before


def test_nothing_is_deleted_where_nothing_was_stored(gateway: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    deleted: list[str] = []
    monkeypatch.setattr(gateway.services.blobs, "delete_job", deleted.append)
    assert gateway.http.post("/finetune", json={"max_steps": 5}).status_code == 422
    assert deleted == []


def test_an_unknown_field_is_refused_before_the_body_ends(gateway: Running) -> None:
    """However many of them a body of 20 GB could bring."""
    head = b"POST /finetune HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=x\r\n"
    head += b"Content-Length: 1000000\r\n\r\n"
    part = b'--x\r\nContent-Disposition: form-data; name="%s"\r\n\r\n5\r\n'
    with connection(gateway) as client:
        client.sendall(head + part % b"max_steps" + part % b"colour" + b"--x\r\n")
        answer = client.recv(65536)
    assert answer.startswith(b"HTTP/1.1 422") and b"colour: this field is not known here" in answer


def test_options_that_are_too_long_are_a_413(gateway: Running) -> None:
    answer = gateway.http.post("/finetune", json={"name": "x" * 70_000})
    assert (answer.status_code, answer.json()["type"]) == (413, "/problems/content-too-large")


def test_other_content_is_refused_with_the_remedy(gateway: Running) -> None:
    answer = gateway.http.post("/finetune", content=b"x", headers={"Content-Type": "text/csv"})
    assert (answer.status_code, "dataset_id" in answer.json()["detail"]) == (415, True)
    gone = gateway.http.post("/finetune", json={"dataset_id": "set_" + "0" * 32})
    assert (gone.status_code, gone.json()["type"]) == (404, "/problems/dataset-not-found")


def test_the_same_key_makes_one_job(gateway: Running) -> None:
    headers, before = {"Idempotency-Key": "set-1"}, set(stored(gateway))
    first = gateway.http.post("/finetune", files=images(1, 2), headers=headers)
    again = gateway.http.post("/finetune", files=images(1, 2), headers=headers)
    other = gateway.http.post("/finetune", files=images(1, 3), headers=headers)
    assert first.json()["id"] == again.json()["id"] and again.headers["idempotency-replayed"] == "true"
    assert (other.status_code, other.json()["type"]) == (422, "/problems/idempotency-mismatch")
    assert {key.split("/")[1] for key in set(stored(gateway)) - before} == {first.json()["id"]}


def test_a_bound_does_not_refuse_the_repetition_of_what_it_let_through(tmp_path: Path) -> None:
    with running_gateway(tmp_path) as gateway:
        key = gateway.services.keys.create("acme")
        Tenants(gateway.services.engine).set_allowance("acme", Allowance(unfinished_jobs=1))
        gateway.wait_until_closed()
        headers = {"Idempotency-Key": "k", "Authorization": f"Bearer {key}"}
        first, again = (gateway.http.post("/finetune", files=images(1), headers=headers) for _ in range(2))
        assert (again.status_code, again.json()["id"]) == (202, first.json()["id"])
        other = gateway.http.post("/finetune", files=images(1), headers=headers | {"Idempotency-Key": "other"})
        assert (other.status_code, other.json()["type"]) == (429, "/problems/too-many-jobs")


def test_bounds_of_a_set(tmp_path: Path) -> None:
    with running_gateway(tmp_path, max_set_images=5, max_set_bytes=50_000, max_upload_bytes=20_000) as gateway:
        many = gateway.http.post("/finetune", files=images(*range(6)))
        assert (many.status_code, "B2S_MAX_SET_IMAGES" in many.json()["detail"]) == (413, True)
        empty = b'--x\r\nContent-Disposition: form-data; name="images"; filename=""\r\n\r\n\r\n'
        form = {"Content-Type": "multipart/form-data; boundary=x"}
        for parts, said in ((MAX_EMPTY_PARTS, "images"), (MAX_EMPTY_PARTS + 1, "are empty")):
            answer = gateway.http.post("/finetune", content=empty * parts + b"--x--\r\n", headers=form)
            assert (answer.status_code, said in answer.text) == (422, True), answer.text
            assert ("are empty" in answer.text) == (parts > MAX_EMPTY_PARTS)
        large = gateway.http.post("/finetune", files=[("images", ("a.png", bytes(200_000)))])
        assert (large.status_code, "B2S_MAX_SET_BYTES" in large.json()["detail"]) == (413, True)
        assert stored(gateway) == []
        accepted(gateway.http.post("/finetune", files=[("images", ("a.zip", zipped() + bytes(30_000)))]))


def test_a_large_set_does_not_fill_the_memory(tmp_path: Path) -> None:
    """1500 files of 40 kB: kept open, as a form parser does, they would take 60 MB and 1500 places."""
    files = [("images", (f"{number}.png", png() + bytes(40_000))) for number in range(1500)]
    body = httpx.Request("POST", "http://x/", files=files)
    data, headers = body.read(), {"Content-Type": body.headers["content-type"]}
    with running_gateway(tmp_path, max_set_images=2000) as roomy:
        tracemalloc.start()
        job = roomy.http.post("/finetune", content=iter([data[at : at + 65536] for at in range(0, len(data), 65536)]),
                              headers=headers, timeout=120)  # fmt: skip
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert job.status_code == 202, job.text
    assert peak < len(data) + 20_000_000  # the chunks above are this test's own


def test_a_fine_tuned_model_is_deleted_only_when_unused(gateway: Running) -> None:
    models, blobs = gateway.services.models, gateway.services.blobs
    mdl = "mdl_" + "1" * 32
    models.register(
        mdl, "mine", 1, {"promoted": True}, f"models/{mdl}.safetensors", 3, "1" * 64, "default", "base-gray"
    )
    blobs.put(f"models/{mdl}.safetensors", b"abc")
    shown = gateway.http.get(f"/models/{mdl}").json()
    assert (shown["name"], shown["base_model"], shown["promoted"]) == ("mine", "base-gray", True)
    job = gateway.post(model=mdl)
    assert gateway.http.delete(f"/models/{mdl}").json()["type"] == "/problems/model-in-use"
    gateway.http.post(f"/jobs/{job['id']}/cancel")
    assert gateway.http.delete(f"/models/{mdl}").status_code == 204
    assert gateway.http.get(f"/models/{mdl}").status_code == 404
    assert list(blobs.below(f"models/{mdl}.safetensors")) == []
    assert gateway.http.delete("/models/base-gray").json()["type"] == "/problems/model-is-shipped"
