"""`GET /usage`: what was used and what is left."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from store.job import Outcome
from store.tenants import Allowance, Tenants
from tests.harness.gateway import Running, png, problem_of, running_gateway


def test_the_day_is_counted_as_it_goes(tmp_path: Path) -> None:
    with running_gateway(tmp_path) as gateway:
        key = gateway.services.keys.create("acme")
        gateway.wait_until_closed()
        Tenants(gateway.services.engine).set_allowance("acme", Allowance(pixels_per_day=1000))
        gateway.http.headers["Authorization"] = f"Bearer {key}"
        assert gateway.http.get("/usage").json()["days"] == []
        for _ in range(2):
            gateway.post()  # 64 pixels
        gateway.succeed(gateway.claim())
        used = gateway.http.get("/usage").json()
    assert (used["tenant"], used["pixels_today"], used["pixels_left_today"]) == ("acme", 128, 872)
    assert used["allowance"]["pixels_per_day"] == 1000
    (day,) = used["days"]
    assert (day["accepted"], day["succeeded"], day["pixels"], day["worker_seconds"]) == (2, 1, 64, 0.1)
    assert day["gpu_seconds"] == 0
    assert day["day"] == datetime.now(UTC).date().isoformat() or datetime.now(UTC).hour == 0
    resets = datetime.fromisoformat(used["resets_at"])
    assert timedelta() < resets - datetime.now(UTC) <= timedelta(days=1)


def test_a_gpu_worker_s_seconds_are_gpu_seconds(gateway: Running) -> None:
    gateway.post()
    gateway.services.jobs.finish(gateway.claim(), Outcome(None, {}, {"queued": 9.0, "compute": 0.5}), "cuda:0")
    (day,) = gateway.http.get("/usage").json()["days"]
    assert (day["worker_seconds"], day["gpu_seconds"]) == (0.5, 0.5)


@pytest.mark.parametrize(
    "query", ["first=2026-11-22&last=2026-11-01", "first=2020-01-01&last=2026-11-01", "first=soon", "days=3"]
)
def test_days_that_make_no_sense_are_refused(gateway: Running, query: str) -> None:
    problem_of(gateway.http.get(f"/usage?{query}"), 422, "invalid-request")


def test_the_ends_of_the_calendar_are_no_bug(gateway: Running) -> None:
    for query in ("last=0001-01-01", "last=9999-12-31", "first=9999-01-01&last=9999-12-31"):
        assert gateway.http.get(f"/usage?{query}").status_code == 200


def test_bytes_that_are_kept_are_counted_and_bounded(tmp_path: Path) -> None:
    with running_gateway(tmp_path) as gateway:
        key = gateway.services.keys.create("acme")
        gateway.wait_until_closed()
        size = len(png())
        Tenants(gateway.services.engine).set_allowance("acme", Allowance(stored_bytes=3 * size))
        gateway.http.headers["Authorization"] = f"Bearer {key}"
        job = gateway.post()
        dataset = gateway.http.post("/datasets").json()
        assert gateway.http.put(f"{dataset['links']['images']}/a.png", content=png()).status_code == 201
        used = gateway.http.get("/usage").json()
        assert (used["stored_bytes"], used["stored_bytes_left"]) == (2 * size, size)
        assert used["allowance"]["stored_bytes"] == 3 * size
        sent = {"files": [("images", png(9, 9)), ("images", png(7, 7))]}
        before = len(list(gateway.services.blobs.below("")))
        problem = problem_of(gateway.http.post("/finetune", **sent), 403, "storage-full")
        assert "GET /usage" in problem["detail"] and len(list(gateway.services.blobs.below(""))) == before
        gateway.post()
        for answer in (
            gateway.http.post("/denoise", files={"image": png()}),
            gateway.http.put(f"{dataset['links']['images']}/b.png", content=png()),
        ):
            problem_of(answer, 403, "storage-full")
        gateway.http.post(f"/jobs/{job['id']}/cancel")
        assert gateway.http.delete(f"/jobs/{job['id']}").status_code == 204
        gateway.post()
