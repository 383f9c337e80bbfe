"""A job from its posting to its deletion, through the real Redis, worker and gateway."""

import json
from typing import Any

import httpx

from tests.harness import pictures
from tests.harness.pictures import Picture
from tests.harness.service_process import Service


def post(http: httpx.Client, picture: Picture, **options: Any) -> dict[str, Any]:
    answer = http.post("/denoise", files={"image": picture.data}, data=options)
    assert answer.status_code == 202, answer.text
    job: dict[str, Any] = answer.json()
    return job


def test_async_with_report_timings_and_events(http: httpx.Client) -> None:
    job = post(http, pictures.png(1))
    done = http.get(job["links"]["self"], params={"wait": 120}).json()
    assert (done["state"], done["attempt"], done["model"]) == ("succeeded", 1, "base-gray")
    assert {"queued", "decode", "compute", "encode", "store"} <= set(done["timings"])
    assert done["progress"]["done"] == done["progress"]["total"] > 0

    report = http.get(done["links"]["report"]).json()
    assert 0.003 < report["alpha"] < 0.03 and abs(report["residual_mean"]) < 0.01
    assert len(report["residual_autocorrelation"]) == 3
    drawn = http.get(done["links"]["report_picture"])
    assert drawn.headers["content-type"] == "image/png" and drawn.content.startswith(b"\x89PNG")

    stream = http.get(done["links"]["events"]).text
    data = [json.loads(line.removeprefix("data: ")) for line in stream.splitlines() if line.startswith("data: ")]
    states = [event["state"] for event in data if "state" in event]
    assert states == ["queued", "running", "succeeded"]
    again = http.get(done["links"]["events"], headers={"Last-Event-ID": "1"}).text
    assert stream.endswith(again) and "id: 1\n" not in again


def test_the_same_key_runs_the_model_once(http: httpx.Client) -> None:
    picture = pictures.png(1)
    headers = {"Idempotency-Key": "e2e-1", "Prefer": "wait=120"}
    first, again = (http.post("/denoise", files={"image": picture.data}, headers=headers) for _ in range(2))
    assert first.json() == again.json()
    assert again.headers["idempotency-replayed"] == "true"


def test_cancel_while_it_runs(http: httpx.Client) -> None:
    job = post(http, pictures.many_tiles())
    with http.stream("GET", job["links"]["events"]) as events:
        for line in events.iter_lines():  # wait until a tile is done, so that it is certainly at work
            if line == "event: progress":
                break
    canceled = http.post(job["links"]["cancel"])
    assert canceled.status_code == 202
    ended = http.get(job["links"]["self"], params={"wait": 60}).json()
    assert ended["state"] == "canceled"
    assert ended["progress"]["done"] < ended["progress"]["total"]
    assert http.get(f"/jobs/{job['id']}/result").status_code == 409


def test_delete_while_it_runs_leaves_nothing(http: httpx.Client, service: Service) -> None:
    job = post(http, pictures.many_tiles())
    with http.stream("GET", job["links"]["events"]) as events:
        for line in events.iter_lines():
            if line == "event: progress":
                break
    deleted = http.delete(job["links"]["self"])
    while deleted.status_code == 409:  # a tile takes its time on a slow machine
        deleted = http.delete(job["links"]["self"])
    assert deleted.status_code == 204
    assert http.get(job["links"]["self"]).json()["deleted_at"] is not None
    assert list(service.blobs.below(f"jobs/{job['id']}")) == []


def test_deleting_a_finished_job_makes_its_result_gone(http: httpx.Client) -> None:
    job = post(http, pictures.png(1))
    done = http.get(job["links"]["self"], params={"wait": 120}).json()
    assert http.get(done["links"]["result"]).status_code == 200
    assert http.delete(done["links"]["self"]).status_code == 204
    assert http.get(done["links"]["result"]).status_code == 410


def test_a_broken_image_fails_with_the_reason(http: httpx.Client) -> None:
    headers = {"Prefer": "wait=120", "Accept": "image/*"}
    answer = http.post("/denoise", files={"image": pictures.broken_png()}, headers=headers)
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/job-failed")
    assert answer.json()["code"] == "broken_image"


def test_many_at_once_all_come_back(http: httpx.Client) -> None:
    picture = pictures.png(1)
    jobs = [post(http, picture, report="false") for _ in range(20)]
    states = [http.get(job["links"]["self"], params={"wait": 120}).json()["state"] for job in jobs]
    assert states == ["succeeded"] * 20
