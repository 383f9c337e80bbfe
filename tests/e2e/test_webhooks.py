"""From an upload to a signed message at a receiver, through every process of the service."""

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from standardwebhooks import Webhook

from tests.harness.ops import ops
from tests.harness.receiver import receiving, status
from tests.harness.service_process import ROOT, Service, running_service

PATIENCE_SECONDS = 180.0


@pytest.fixture
def telling(tmp_path: Path) -> Iterator[Service]:
    """A service whose receivers may be on this machine."""
    with running_service(tmp_path, B2S_WEBHOOK_PRIVATE="1", B2S_WEBHOOK_PORTS="any") as running:
        yield running


def test_the_end_of_a_job_is_told_and_the_telling_is_logged(telling: Service) -> None:
    with httpx.Client(base_url=telling.url, timeout=PATIENCE_SECONDS) as http:
        image = (ROOT / "examples" / "noisy.png").read_bytes()
        with receiving(status(204)) as receiver:
            posted = http.post("/denoise", files={"image": image}, data={"webhook_url": receiver.url})
            assert posted.status_code == 202, posted.text
            job_id = posted.json()["id"]
            deadline = time.monotonic() + PATIENCE_SECONDS
            while not receiver.heard:
                assert time.monotonic() < deadline, telling.log.read_text()[-4000:]
                time.sleep(0.1)
        secret = ops(telling.data_dir, "webhooks", "secret", "default").stdout.strip()
        (heard,) = receiver.heard
        message = Webhook(secret).verify(heard.body, heard.headers)
        assert (message["type"], message["data"]["id"]) == ("job.succeeded", job_id)
        assert http.get(message["data"]["links"]["result"]).status_code == 200
        while (found := http.get(f"/webhooks?job_id={job_id}").json()["deliveries"])[0]["state"] == "pending":
            time.sleep(0.1)
        assert [(delivery["state"], delivery["id"]) for delivery in found] == [
            ("delivered", heard.headers["webhook-id"])
        ]
        used = http.get("/usage").json()["days"]
        assert used[0]["succeeded"] >= 1 and used[0]["worker_seconds"] > 0
