import resource
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.harness.gateway import Running, png, problem_of, running_gateway


def test_alive_and_degraded_without_a_broker(gateway: Running) -> None:
    assert gateway.http.get("/livez").json() == {"status": "ok"}
    answer = gateway.http.get("/readyz")
    assert answer.status_code == 200  # jobs are taken and kept; the sweep rings later
    parts = {"database": "ok", "blobs": "ok", "broker": "failed", "spool": "ok"}
    assert answer.json() == {"status": "degraded", **parts}


def test_a_spool_without_room_is_degraded(tmp_path: Path) -> None:
    with running_gateway(tmp_path, max_upload_bytes=1 << 60) as gateway:
        answer = gateway.http.get("/readyz")
        assert (answer.status_code, answer.json()["spool"], answer.json()["status"]) == (200, "failed", "degraded")


@pytest.mark.parametrize("path", ["/denoise", "/finetune", "images"])
def test_a_full_spool_is_503_and_passes(tmp_path: Path, path: str) -> None:
    """A limit on the size of files stands for the full disk: a write ends in the middle of an upload."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with running_gateway(tmp_path) as gateway:
        images = gateway.http.post("/datasets").json()["links"]["images"]
        field = "image" if path == "/denoise" else "images"

        def send(size: int) -> httpx.Response:
            body = png() + bytes(size)
            if path == "images":
                return gateway.http.put(f"{images}/a.png", content=body)
            return gateway.http.post(path, files={field: body})

        resource.setrlimit(resource.RLIMIT_FSIZE, (2_500_000, hard))
        try:
            refused = send(4_000_000)
            assert send(10).status_code in (201, 202)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        problem = problem_of(refused, 503, "unavailable")
        assert "TMPDIR" in problem["detail"] and refused.headers["retry-after"] == "5"
        assert send(4_000_000).status_code in (201, 202)


def test_a_lost_database_is_503_everywhere_but_not_dead(tmp_path: Path) -> None:
    with running_gateway(tmp_path) as gateway:
        gateway.services.engine.dispose()
        for file in tmp_path.glob("b2s.sqlite3*"):
            file.unlink()
        (tmp_path / "b2s.sqlite3").mkdir()
        assert gateway.http.get("/livez").status_code == 200
        answer = gateway.http.get("/readyz")
        assert (answer.status_code, answer.json()["database"]) == (503, "failed")
        answer = gateway.http.get("/jobs")
        assert (answer.status_code, answer.json()["type"]) == (503, "/problems/unavailable")
        assert answer.headers["retry-after"] == "5"
        assert "b2s_database_up 0.0" in gateway.http.get("/metrics").text


def metrics_of(gateway: Running) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families = text_string_to_metric_families(gateway.http.get("/metrics").text)
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for family in families for s in family.samples}


def test_metrics_count_requests_by_route_and_jobs_by_kind(gateway: Running) -> None:
    job = gateway.post()
    for _ in range(3):
        gateway.http.get(f"/jobs/{job['id']}")
    metrics = metrics_of(gateway)
    route = (("method", "GET"), ("route", "/jobs/{job_id}"), ("status", "200"))
    assert metrics[("b2s_http_requests_total", route)] >= 3
    assert metrics[("b2s_jobs_queued", (("kind", "denoise"),))] == 1
    assert metrics[("b2s_jobs_running", (("kind", "denoise"),))] == 0
    assert metrics[("b2s_jobs_oldest_queued_seconds", (("kind", "denoise"),))] > 0
    assert metrics[("b2s_upload_bytes_total", ())] > 0


def test_no_label_grows_with_use(gateway: Running) -> None:
    job = gateway.post()
    for path in (f"/jobs/{job['id']}", f"/v1/jobs/{job['id']}", "/made-up-by-a-scanner", "/problems/made-up"):
        gateway.http.get(path)
    gateway.http.request("BREW", "/")
    text = gateway.http.get("/metrics").text
    assert job["id"] not in text
    assert "made-up" not in text
    assert "BREW" not in text
