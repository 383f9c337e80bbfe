"""A rolling restart under load: every process is replaced, one after the other, and nobody's job is lost or doubled."""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path

import httpx

from store.job import JobState
from tests.harness.cluster import PATIENCE_SECONDS, Cluster, cluster
from tests.harness.ports import free_port


class Sender(threading.Thread):
    """Posts one image after the other as a good client does: with a key, and again when a gateway is away."""

    def __init__(self, ports: list[int], image: bytes) -> None:
        super().__init__(daemon=True)
        self._ports = ports
        self._image = image
        self.accepted: list[str] = []
        self.refused: list[str] = []
        self.over = threading.Event()

    def run(self) -> None:
        with httpx.Client(timeout=60) as http:
            turn = 0
            while not self.over.is_set():
                turn += 1
                self._post(http, f"rolling-{turn}")
                time.sleep(0.1)

    def _post(self, http: httpx.Client, key: str) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        for port in self._ports * 100:
            try:
                answer = http.post(
                    f"http://127.0.0.1:{port}/denoise",
                    files={"image": ("x.png", self._image)},
                    headers={"Idempotency-Key": key},
                )
            except httpx.TransportError:
                assert time.monotonic() < deadline
                time.sleep(0.1)
                continue
            if answer.status_code == 202:
                self.accepted.append(answer.json()["id"])
            else:
                self.refused.append(answer.text)
            return


def test_a_rolling_restart_under_load_loses_nothing(tmp_path: Path, redis_url: str, small: bytes) -> None:
    with cluster(tmp_path, redis_url, lease_seconds="30", shutdown_seconds="60") as own:
        ports = [free_port(), free_port()]
        gateways = [own.gateway(port) for port in ports]
        workers = [own.worker() for _ in range(2)]
        for worker in workers:
            own.ready(worker)
        for port in ports:
            _await_gateway(own, port)
        sender = Sender(ports, small)
        sender.start()
        for port, gateway in zip(ports, gateways, strict=True):
            _accepts_more(own, sender)
            assert gateway.stop() in (0, -signal.SIGTERM)  # uvicorn ends by the signal it was sent
            own.gateway(port)
            _await_gateway(own, port)
        for worker in workers:
            _accepts_more(own, sender)
            assert worker.stop() == 0
            own.ready(own.worker())
        sender.over.set()
        sender.join()
        assert sender.refused == []
        jobs = [own.finished(own.jobs.get(job_id)) for job_id in sender.accepted]
        assert {(job.state, job.strikes) for job in jobs} == {(JobState.SUCCEEDED, 0)}
        assert (
            len({job.idempotency_key for job in jobs}) == len(jobs) == len(own.jobs.page("default", limit=10_000).jobs)
        )


def _accepts_more(own: Cluster, sender: Sender) -> None:
    """Wait until there is load."""
    before = len(sender.accepted)
    own.wait(lambda: len(sender.accepted) >= before + 3)


def _await_gateway(own: Cluster, port: int) -> None:
    def answers() -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{port}/livez").status_code == 200
        except httpx.TransportError:
            return False

    own.wait(answers)
