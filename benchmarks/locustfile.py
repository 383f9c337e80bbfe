"""What each client of `benchmarks.load` does: post an image, wait, fetch the result; come back later when told."""

from __future__ import annotations

import os
import random
from typing import Any

import gevent
from locust import FastHttpUser, between, task
from locust.env import Environment

from tests.harness.images_of import noisy, png

IMAGES = [png(noisy(64, 64, seed=seed)) for seed in range(4)]
ADDRESSES = os.environ["B2S_LOAD_ADDRESSES"].split(",")
FINAL = ("succeeded", "failed", "canceled")


class Client(FastHttpUser):
    """One client, on one of the gateways."""

    wait_time = between(0.0, 0.5)
    network_timeout = connection_timeout = 120.0

    def __init__(self, environment: Environment) -> None:
        self.host = random.choice(ADDRESSES)
        super().__init__(environment)

    @task
    def denoise(self) -> None:
        """One image there and back."""
        job = self._asked("POST /denoise", "POST", "/denoise", headers={"Content-Type": "image/png"},
                          data=random.choice(IMAGES))  # fmt: skip
        while job is not None and job["state"] not in FINAL:
            job = self._asked("GET /jobs/{id}?wait", "GET", f"{job['links']['self']}?wait=20")
        if job is None:
            return
        if job["state"] != "succeeded":
            self._count("not succeeded", ValueError(f"{job['id']} {job['state']}: {job['error']}"))
            return
        with self.client.get(job["links"]["result"], name="GET /jobs/{id}/result", catch_response=True) as answer:
            if answer.status_code != 200 or not (answer.content or b"").startswith(b"\x89PNG"):
                answer.failure(f"{answer.status_code}")

    def _asked(self, name: str, method: str, path: str, **request: Any) -> dict[str, Any] | None:
        """The job that an answer brings; None: it said when to come back, and this client has waited so long."""
        with self.client.request(method, path, name=name, catch_response=True, **request) as answer:
            if answer.status_code in (200, 202):
                job: dict[str, Any] = answer.json()
                return job
            retry_after = (answer.headers or {}).get("retry-after")
            if answer.status_code not in (429, 503) or retry_after is None:
                answer.failure(f"{answer.status_code} {answer.error or answer.text}")
                return None
            answer.success()
        self._count(f"{answer.status_code} with Retry-After")
        gevent.sleep(float(retry_after) * random.uniform(0.5, 1.5))
        return None

    def _count(self, name: str, error: Exception | None = None) -> None:
        self.environment.events.request.fire(
            request_type="", name=name, response_time=0, response_length=0, exception=error
        )
