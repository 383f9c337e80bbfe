"""Webhooks over HTTP: the option, the log, the replay."""

import json
from pathlib import Path

import pytest

from store.webhooks import Attempt
from tests.harness.gateway import Running, png, problem_of, running_gateway

URL = "https://receiver.example/hook"


def test_the_end_of_a_job_is_in_the_log(gateway: Running) -> None:
    job = gateway.post(webhook_url=URL)
    assert job["options"]["webhook_url"] == URL
    assert gateway.http.get("/webhooks").json()["deliveries"] == []
    gateway.succeed(gateway.claim())
    (delivery,) = gateway.http.get(f"/webhooks?job_id={job['id']}").json()["deliveries"]
    assert (delivery["type"], delivery["state"], delivery["url"]) == ("job.succeeded", "pending", URL)
    detail = gateway.http.get(f"/webhooks/{delivery['id']}").json()
    assert json.loads(detail["body"])["data"]["id"] == job["id"]
    assert detail["log"] == []


def test_what_was_tried_is_shown_and_can_be_replayed(gateway: Running) -> None:
    job = gateway.post(webhook_url=URL)
    gateway.succeed(gateway.claim())
    webhooks = gateway.services.webhooks
    taken = webhooks.claim()
    while taken is not None and taken.job_id != job["id"]:
        taken = webhooks.claim()
    assert taken is not None
    webhooks.record(taken, Attempt(0.2, 410, "the receiver answered 410", final=True))
    detail = gateway.http.get(f"/webhooks/{taken.id}").json()
    assert (detail["state"], detail["last_status"], len(detail["log"])) == ("failed", 410, 1)
    answer = gateway.http.post(f"/webhooks/{taken.id}/replay")
    assert (answer.status_code, answer.json()["state"]) == (202, "pending")
    problem_of(gateway.http.post("/webhooks/msg_0/replay"), 404, "webhook-not-found")


@pytest.mark.parametrize(
    "url",
    ["receiver.example", "http://receiver.example/", "https://u:p@receiver.example/", "https://", "ftp://x.example",
     "https://x:99999/", "https://[::1", "https://" + "a" * 2000, "https://münchen.example/", "https://x.example/ü",
     "https://x.example/a b"],
)  # fmt: skip
def test_a_url_that_no_delivery_can_go_to_is_refused(gateway: Running, url: str) -> None:
    answer = gateway.http.post("/denoise", files={"image": png()}, data={"webhook_url": url})
    document = problem_of(answer, 422, "invalid-request")
    assert [error["field"] for error in document["errors"]] == ["webhook_url"]


def test_a_url_that_is_not_ascii_is_refused_with_the_remedy(gateway: Running) -> None:
    for path, field in (("/denoise", "image"), ("/finetune", "images")):
        url = {"webhook_url": "https://münchen.example/hook"}
        answer = gateway.http.post(path, files={field: ("a.png", png())}, data=url)
        assert "xn--" in problem_of(answer, 422, "invalid-request")["detail"]
    assert gateway.post(webhook_url="https://xn--mnchen-3ya.example/%C3%BC")["state"] == "queued"


def test_inside_ones_own_network_http_will_do(tmp_path: Path) -> None:
    with running_gateway(tmp_path, webhook_private=True, webhook_ports="9, 8443") as gateway:
        assert gateway.post(webhook_url="http://127.0.0.1:9/hook")["options"]["webhook_url"]
        refused = gateway.http.post(
            "/denoise", files={"image": png()}, data={"webhook_url": "http://127.0.0.1:6379/hook"}
        )
        assert "9, 80, 443, 8443" in problem_of(refused, 422, "invalid-request")["detail"]


@pytest.mark.parametrize("port", ["22", "6379", "8080", "5432"])
def test_a_port_that_is_no_web_server_s_is_refused(gateway: Running, port: str) -> None:
    url = {"webhook_url": f"https://example.com:{port}/hook"}
    answer = gateway.http.post("/denoise", files={"image": png()}, data=url)
    assert "B2S_WEBHOOK_PORTS" in problem_of(answer, 422, "invalid-request")["detail"]
    assert gateway.post(webhook_url="https://example.com:443/hook")["state"] == "queued"
