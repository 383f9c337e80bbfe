"""Datasets: filled an image at a time, resumable by name and checksum, and bounded."""

from __future__ import annotations

import hashlib
import io
import random
import zipfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from sqlalchemy.exc import OperationalError

from tests.harness.gateway import Running, connection, png, problem_of, running_gateway


@pytest.fixture
def dataset(gateway: Running) -> dict[str, Any]:
    answer = gateway.http.post("/datasets", json={"name": "20x"})
    assert answer.status_code == 201
    made: dict[str, Any] = answer.json()
    assert answer.headers["location"] == made["links"]["self"]
    return made


def test_fill_look_and_delete(gateway: Running, dataset: dict[str, Any]) -> None:
    images = dataset["links"]["images"]
    for name in ("b.png", "a.png", "deep/er/ü.png"):
        assert gateway.http.put(f"{images}/{name}", content=png()).status_code == 201
    shown = gateway.http.get(dataset["links"]["self"]).json()
    assert (shown["name"], shown["images"], shown["bytes"]) == ("20x", 3, 3 * len(png()))
    assert shown["expires_at"] > shown["created_at"]
    first = gateway.http.get(images, params={"limit": 2}).json()
    second = gateway.http.get(images, params={"limit": 2, "cursor": first["next_cursor"]}).json()
    assert [i["name"] for i in first["images"] + second["images"]] == ["a.png", "b.png", "deep/er/ü.png"]
    assert second["next_cursor"] is None
    assert gateway.http.delete(f"{images}/a.png").status_code == 204
    assert gateway.http.delete(f"{images}/a.png").json()["type"] == "/problems/dataset-image-not-found"
    assert len(list(gateway.services.blobs.below(f"datasets/{dataset['id']}"))) == 2
    assert gateway.http.delete(dataset["links"]["self"]).status_code == 204
    assert gateway.http.get(dataset["links"]["self"]).json()["type"] == "/problems/dataset-not-found"
    assert list(gateway.services.blobs.below(f"datasets/{dataset['id']}")) == []


def test_the_same_bytes_change_nothing_and_others_replace(gateway: Running, dataset: dict[str, Any]) -> None:
    path = f"{dataset['links']['images']}/a.png"
    answers = [gateway.http.put(path, content=data) for data in (png(), png(), png(9, 9))]
    assert [answer.status_code for answer in answers] == [201, 200, 201]
    assert answers[2].json()["sha256"] == hashlib.sha256(png(9, 9)).hexdigest()
    assert len(list(gateway.services.blobs.below(f"datasets/{dataset['id']}"))) == 1


def test_a_checksum_saves_the_upload_and_finds_damage(gateway: Running, dataset: dict[str, Any]) -> None:
    path = f"{dataset['links']['images']}/a.png"
    right = {"sha256": hashlib.sha256(png()).hexdigest()}
    damaged = gateway.http.put(path, content=png()[:-1], params=right)
    assert (damaged.status_code, damaged.json()["type"]) == (422, "/problems/checksum-mismatch")
    assert gateway.http.put(path, content=png(), params=right).status_code == 201
    assert gateway.http.put(path, content=b"", params=right).status_code == 200  # not even read


def test_bytes_stay_if_their_row_may_be_there(
    gateway: Running, dataset: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    put_image = gateway.services.datasets.put_image

    def commits_and_loses_the_answer(*image: Any) -> str | None:
        put_image(*image)
        raise OperationalError("COMMIT", {}, ConnectionError("the connection was cut"))

    monkeypatch.setattr(gateway.services.datasets, "put_image", commits_and_loses_the_answer)
    assert gateway.http.put(f"{dataset['links']['images']}/a.png", content=png()).status_code == 503
    entered = gateway.services.datasets.image(dataset["id"], "a.png")
    assert gateway.services.blobs.get(entered.key) == png()


def test_datasets_are_listed_and_found_by_name(gateway: Running, dataset: dict[str, Any]) -> None:
    other = gateway.http.post("/datasets").json()
    assert other["name"] is None
    listed = gateway.http.get("/datasets").json()["datasets"]
    assert [one["id"] for one in listed][:2] == [other["id"], dataset["id"]]
    assert gateway.http.get("/datasets", params={"name": "20x"}).json()["datasets"][0]["id"] == dataset["id"]


@pytest.mark.parametrize("name", ["..%2Fa", "a%2F%2Fb", "a%5Cb", "a%00b", "x" * 501])
def test_names_that_are_refused(gateway: Running, dataset: dict[str, Any], name: str) -> None:
    assert gateway.http.put(f"{dataset['links']['images']}/{name}", content=png()).status_code == 422


def test_without_a_key_the_body_is_not_asked_for(tmp_path: Path) -> None:
    """uvicorn sends `100 Continue` at the first byte that the app wants of a body."""
    head = b"POST /datasets HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    head += b"Content-Length: 60000000\r\nExpect: 100-continue\r\n\r\n"
    with running_gateway(tmp_path) as gateway:
        gateway.services.keys.create("acme")
        gateway.wait_until_closed()
        with connection(gateway) as client:
            client.sendall(head)
            assert client.recv(65536).startswith(b"HTTP/1.1 401")


@pytest.mark.parametrize("size", [70_000, 300_000])
def test_a_name_that_is_too_large_is_a_413(gateway: Running, size: int) -> None:
    answer = gateway.http.post("/datasets", json={"name": "x" * size})
    assert (answer.status_code, answer.json()["type"]) == (413, "/problems/content-too-large")


@pytest.mark.parametrize("body", ["", "null", " null ", "{}", '{"name": null}'])
def test_a_dataset_needs_no_name(gateway: Running, body: str) -> None:
    answer = gateway.http.post("/datasets", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["name"]) == (201, None)


@pytest.mark.parametrize(
    ("body", "field"), [('{"name": 5}', "name"), ('{"nam": "x"}', "nam"), ("[]", "body"), ("{", "body"), ("5", "body")]
)
def test_a_body_that_names_no_dataset_is_refused(gateway: Running, body: str, field: str) -> None:
    answer = gateway.http.post("/datasets", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422 and answer.json()["errors"][0]["field"] == field, answer.text
    other = gateway.http.post("/datasets", content=body, headers={"Content-Type": "text/plain"})
    assert (other.status_code, "application/json" in other.json()["detail"]) == (415, True)


def noisy_png(side: int) -> bytes:
    """A gray PNG that does not get smaller than its pixels."""
    buffer = io.BytesIO()
    Image.frombytes("L", (side, side), random.Random(1).randbytes(side * side)).save(buffer, "PNG")
    return buffer.getvalue()


def test_what_is_no_image_is_refused(gateway: Running) -> None:
    images = gateway.http.post("/datasets").json()["links"]["images"]
    problem_of(gateway.http.put(f"{images}/a.txt", content=b"words"), 415, "unsupported-media-type")
    problem_of(gateway.http.put(f"{images}/a.png", content=png()[:20]), 422, "broken-image")
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("a.png", png())
    assert gateway.http.put(f"{images}/a.zip", content=archive.getvalue()).status_code == 201
    assert len(gateway.http.get(images).json()["images"]) == 1


def test_bounds(tmp_path: Path) -> None:
    png_of = {side: noisy_png(side) for side in (1, 12)}
    assert len(png_of[12]) > 150 > len(png_of[1])
    with running_gateway(tmp_path, max_set_images=2, max_set_bytes=300, max_upload_bytes=280) as gateway:
        images = gateway.http.post("/datasets").json()["links"]["images"]
        assert gateway.http.put(f"{images}/large", content=bytes(281)).json()["type"] == "/problems/content-too-large"
        assert gateway.http.put(f"{images}/a", content=png_of[12]).status_code == 201
        full = gateway.http.put(f"{images}/b", content=png_of[12])
        assert (full.status_code, "B2S_MAX_SET_BYTES" in full.json()["detail"]) == (413, True)
        assert gateway.http.put(f"{images}/b", content=png_of[1]).status_code == 201
        full = gateway.http.put(f"{images}/c", content=png_of[1])
        assert (full.status_code, "B2S_MAX_SET_IMAGES" in full.json()["detail"]) == (413, True)
        assert len(list(gateway.services.blobs.below("datasets"))) == 2
