import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import httpx
import pytest

from service.routes.results import result_headers
from tests.harness.gateway import Running, png, problem_of


def post_waiting(gateway: Running, headers: dict[str, str], seconds: float = 20, **form: Any) -> httpx.Response:
    wait = {"Prefer": f"wait={seconds:g}"}
    return gateway.http.post("/denoise", files={"image": png()}, data=form, headers=headers | wait)


def while_waiting(gateway: Running, headers: dict[str, str], work: Any, **form: Any) -> httpx.Response:
    """The answer to a waiting request while `work(job)` plays the worker."""
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(post_waiting, gateway, headers, **form)
        while gateway.services.jobs.due("denoise") == 0:  # type: ignore[arg-type]
            assert not answer.done(), answer.result().text
            time.sleep(0.005)
        work(gateway.claim())
        return answer.result()


def test_without_a_wait_the_answer_is_202_and_where_to_look(gateway: Running) -> None:
    answer = gateway.http.post("/denoise", files={"image": png()})
    job = answer.json()
    assert answer.status_code == 202
    assert answer.headers["location"] == job["links"]["self"] == f"/jobs/{job['id']}"
    assert (job["state"], job["queue_position"], job["attempt"]) == ("queued", 1, 0)
    assert gateway.http.get(job["links"]["self"]).json() == job


def test_under_v1_links_stay_under_v1(gateway: Running) -> None:
    job = gateway.http.post("/v1/denoise", files={"image": png()}).json()
    assert job["links"]["self"] == f"/v1/jobs/{job['id']}"
    assert gateway.http.get(job["links"]["self"]).json() == job


def test_waiting_ends_with_the_job(gateway: Running) -> None:
    answer = while_waiting(gateway, {}, gateway.succeed)
    assert answer.status_code == 200
    assert answer.json()["state"] == "succeeded"
    assert answer.headers["preference-applied"] == "wait=20"


def test_waiting_in_vain_answers_202_and_loses_nothing(gateway: Running) -> None:
    answer = post_waiting(gateway, {"Accept": "image/*"}, seconds=0.2)
    answer = gateway.http.post("/denoise?wait=0.2", files={"image": png()}, headers={"Accept": "image/*"})
    assert answer.status_code == 202
    assert answer.json()["state"] == "queued"
    gateway.succeed(gateway.claim())
    gateway.succeed(gateway.claim())
    assert gateway.http.get(answer.headers["location"] + "/result").content == b"result"


def test_accept_image_answers_the_image_and_what_to_know_of_it(gateway: Running) -> None:
    answer = while_waiting(gateway, {"Accept": "image/*"}, gateway.succeed)
    assert (answer.status_code, answer.content) == (200, b"result")
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["b2s-model"] == "base-gray"
    assert (answer.headers["b2s-noise-alpha"], answer.headers["b2s-noise-sigma"]) == ("0.01", "0.02")
    assert answer.headers["b2s-warnings"] == "[]"
    job = answer.headers["b2s-job-id"]
    assert answer.headers["location"] == f"/jobs/{job}"
    assert gateway.http.get(f"/jobs/{job}/result").headers["etag"] == answer.headers["etag"]


def test_warnings_stand_in_a_header_that_every_proxy_passes(gateway: Running) -> None:
    gateway.http.post("/denoise", files={"image": png()})
    job = gateway.succeed(gateway.claim())
    assert job.result is not None
    few = result_headers(replace(job, result=job.result | {"warnings": ["σ is\nhigh"]}))["B2S-Warnings"]
    assert few.isascii() and few.isprintable() and json.loads(few) == ["σ is\nhigh"]
    assert result_headers(replace(job, result=job.result | {"warnings": ["x" * 200] * 30}))["B2S-Warnings"] == "30"


@pytest.mark.parametrize(
    "accept", ["*/*", "application/json", "image/*;q=0.5, application/json", "text/html", "image/*;q=0"]
)
def test_other_accepts_answer_the_job(gateway: Running, accept: str) -> None:
    answer = while_waiting(gateway, {"Accept": accept}, gateway.succeed)
    assert answer.json()["state"] == "succeeded"


def test_an_accept_that_the_result_cannot_meet_is_refused_before_work(gateway: Running) -> None:
    document = problem_of(post_waiting(gateway, {"Accept": "image/jpeg"}), 406, "not-acceptable")
    assert "image/png" in document["detail"]
    assert gateway.http.get("/jobs").json()["jobs"] == []
    answer = while_waiting(gateway, {"Accept": "image/jpeg"}, gateway.succeed, output_format="jpeg")
    assert answer.status_code == 200


def test_a_failed_job_is_a_problem_where_an_image_was_wanted(gateway: Running) -> None:
    document = problem_of(while_waiting(gateway, {"Accept": "image/*"}, gateway.fail), 422, "job-failed")
    assert document["detail"] == "The image is cut short."
    assert document["code"] == "broken_image"
    assert gateway.http.get(f"/jobs/{document['job_id']}").json()["error"]["code"] == "broken_image"


def test_a_job_that_the_server_failed_is_no_fault_of_the_client(gateway: Running) -> None:
    answer = while_waiting(gateway, {"Accept": "image/*"}, lambda job: gateway.fail(job, "worker_lost", "It died."))
    problem_of(answer, 500, "job-died")


def test_a_failed_job_is_a_job_where_a_job_was_wanted(gateway: Running) -> None:
    answer = while_waiting(gateway, {}, gateway.fail)
    assert answer.status_code == 200
    assert answer.json()["error"] == {"code": "broken_image", "detail": "The image is cut short."}


def test_a_wait_is_cut_to_the_servers_bound(gateway: Running) -> None:
    answer = while_waiting(gateway, {"Prefer": "wait=86400"}, gateway.succeed)
    assert answer.status_code == 200
    headers = {"Prefer": "respond-async, wait=86400"}
    with ThreadPoolExecutor() as pool:
        pending = pool.submit(gateway.http.post, "/denoise", files={"image": png()}, headers=headers)
        while gateway.services.jobs.due("denoise") == 0:  # type: ignore[arg-type]
            time.sleep(0.005)
        gateway.succeed(gateway.claim())
        assert pending.result().headers["preference-applied"] == "wait=120"


def test_the_same_key_and_request_give_the_first_job_again(gateway: Running) -> None:
    def send(strength: str, image: bytes = png()) -> httpx.Response:
        key = {"Idempotency-Key": "k-1"}
        return gateway.http.post("/denoise", files={"image": image}, data={"strength": strength}, headers=key)

    first, again = send("0.5"), send("0.50")
    assert first.json()["id"] == again.json()["id"]
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    problem_of(send("0.6"), 422, "idempotency-mismatch")
    problem_of(send("0.5", png(9, 9)), 422, "idempotency-mismatch")
    assert len(gateway.http.get("/jobs").json()["jobs"]) == 1
    assert len(list(gateway.services.blobs.below(f"jobs/{first.json()['id']}"))) == 1


def test_a_raced_key_makes_one_job_and_keeps_one_upload(gateway: Running) -> None:
    before = len(list(gateway.services.blobs.below("jobs")))
    barrier = threading.Barrier(8)

    def send(_: int) -> str:
        barrier.wait()
        answer = gateway.http.post("/denoise", files={"image": png()}, headers={"Idempotency-Key": "k-2"})
        assert answer.status_code == 202
        job: str = answer.json()["id"]
        return job

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(send, range(8)))) == 1
    assert len(list(gateway.services.blobs.below("jobs"))) == before + 1


@pytest.mark.parametrize("key", ["", "x" * 256, "with space", "ümlaut"])
def test_an_odd_key_is_refused(gateway: Running, key: str) -> None:
    headers = httpx.Headers({"Idempotency-Key": key}, encoding="utf-8")
    answer = gateway.http.post("/denoise", files={"image": png()}, headers=headers)
    assert problem_of(answer, 422, "invalid-request")["errors"][0]["field"].lower() == "idempotency-key"


def test_a_broker_that_is_down_delays_no_request(gateway: Running) -> None:
    """Nobody listens on the Redis port of these tests: every ring fails."""
    jobs = [gateway.post() for _ in range(10)]
    positions = [gateway.http.get(job["links"]["self"]).json()["queue_position"] for job in jobs]
    assert positions == list(range(1, 11))


def test_a_retry_after_a_wait_finds_the_finished_job(gateway: Running) -> None:
    key = {"Idempotency-Key": "k-3"}
    gateway.http.post("/denoise", files={"image": png()}, headers=key)
    gateway.succeed(gateway.claim())
    answer = post_waiting(gateway, key | {"Accept": "image/*"})
    assert (answer.status_code, answer.content) == (200, b"result")
