"""A real Prometheus with our rules scrapes the real service at work: every query of every rule and panel gives data.

NVIDIA's driver alone is a stand-in (`fake_driver`), so that the panels of GPUs have something to show.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.docker.queries import ALERTS, RULES_FILE, compared, queries
from tests.docker.running import needs_prometheus, running_prometheus
from tests.harness.images_of import noisy, png
from tests.harness.ports import free_port
from tests.harness.receiver import receiving, status
from tests.harness.service_process import running_service

SIDE = 96
IMAGES = 4
SCRAPED_SECONDS = 60.0
"""What was counted last is scraped within a second; what is computed of two scrapes, within two."""

METRICS_PORTS = {
    "denoise": "B2S_METRICS_PORT",
    "finetune": "B2S_FINETUNE_METRICS_PORT",
    "courier": "B2S_COURIER_METRICS_PORT",
}
QUICK = {
    "B2S_MIN_SET_PIXELS": str(SIDE * SIDE),
    "B2S_CHECKPOINT_SECONDS": "0.01",  # at every step
    "B2S_FINETUNE_NICE": "0",
}

ASKED = {name: query.removesuffix(" or vector(0)") for name, query in queries().items()}
ASKED |= {f"rule {alert['alert']}": compared(alert["expr"]) for alert in ALERTS}

pytestmark = needs_prometheus


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """Its API, after denoise jobs with webhooks and one fine-tune."""
    folder = tmp_path_factory.mktemp("monitored")
    ports = {job: free_port() for job in METRICS_PORTS}
    environment = {variable: str(ports[job]) for job, variable in METRICS_PORTS.items()}
    stand_in = {
        "PYTHONPATH": str(Path(__file__).parent / "fake_driver"),
        "B2S_WEBHOOK_PRIVATE": "1",
        "B2S_WEBHOOK_PORTS": "any",
    }
    with (
        receiving(status(200)) as receiver,
        running_service(folder, **environment, **stand_in, **QUICK) as service,
        running_prometheus(folder, scraping({"gateway": httpx.URL(service.url).port or 0} | ports)) as client,
    ):
        load(service.url, receiver.url)
        yield client


def scraping(ports: dict[str, int]) -> dict[str, Any]:
    """The configuration that scrapes these ports of this machine, each a job of its own."""
    scrapes = [{"job_name": job, "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]} for job, port in ports.items()]
    return {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(RULES_FILE)],
        "scrape_configs": scrapes,
    }


def load(url: str, webhook: str) -> None:
    """Denoise small images one after another, each with a webhook, until a fine-tune has ended."""
    image = png(noisy(SIDE, SIDE))
    files = [("images", (f"{number}.png", png(noisy(SIDE, SIDE, seed=number)))) for number in range(IMAGES)]
    with httpx.Client(base_url=url, timeout=300) as http:
        http.post("/finetune", files=files, data={"max_steps": 4}).raise_for_status()
        while (tuned := http.get("/jobs?kind=finetune").json()["jobs"][0])["finished_at"] is None:
            http.post("/denoise?wait=60", files={"image": image}, data={"webhook_url": webhook}).raise_for_status()
        assert tuned["state"] == "succeeded", tuned


@pytest.mark.parametrize("name", ASKED)
def test_a_query_gives_data(prometheus: httpx.Client, name: str) -> None:
    deadline = time.monotonic() + SCRAPED_SECONDS
    while not series(prometheus, ASKED[name]):
        assert time.monotonic() < deadline, ASKED[name]
        time.sleep(0.2)


def series(prometheus: httpx.Client, query: str) -> int:
    """How many series a query gives, those left out whose value is no number: 0 / 0 draws nothing."""
    answer = prometheus.get("/api/v1/query", params={"query": query}).json()
    assert answer["status"] == "success", answer
    return sum(not math.isnan(float(one["value"][1])) for one in answer["data"]["result"])
