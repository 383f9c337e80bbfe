"""Redis is a doorbell: while it is down, jobs are taken and kept, and they run once it is back."""

from contextlib import ExitStack
from pathlib import Path

import httpx

from tests.harness import pictures
from tests.harness.ports import free_port
from tests.harness.servers import redis_on_port
from tests.harness.service_process import running_service


def test_jobs_posted_while_redis_is_down_run_when_it_is_back(tmp_path: Path) -> None:
    port = free_port()
    url = f"redis://127.0.0.1:{port}/0"
    with ExitStack() as stack:
        with redis_on_port(tmp_path / "redis-1", port):
            running = stack.enter_context(running_service(tmp_path, B2S_REDIS_URL=url, B2S_SWEEP_SECONDS="1"))
        http = stack.enter_context(httpx.Client(base_url=running.url, timeout=180))
        ready = http.get("/readyz")
        assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
        picture = pictures.png(1)
        posted = [http.post("/denoise", files={"image": picture.data}) for _ in range(3)]
        assert [answer.status_code for answer in posted] == [202] * 3
        stack.enter_context(redis_on_port(tmp_path / "redis-2", port))
        for answer in posted:
            path = answer.headers["location"]
            assert http.get(path, params={"wait": 120}).json()["state"] == "succeeded"
