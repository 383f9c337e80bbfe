"""One trace from the caller through the gateway and the queue to the worker, as a collector sees it."""

from __future__ import annotations

import httpx

from store.job import JobState
from tests.harness.cluster import Cluster
from tests.harness.ports import free_port
from tests.integration.collector import collecting

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_one_trace_goes_from_the_caller_to_the_worker(own: Cluster, small: bytes) -> None:
    with collecting() as collector:
        told = {"B2S_TRACES": "1", "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "100"}
        job = _denoise(own, small, told)
        own.wait(lambda: "denoise" in collector.of("b2s-denoise"))
        own.wait(lambda: "POST /denoise" in collector.of("b2s-gateway"))
    gateway, worker = collector.of("b2s-gateway"), collector.of("b2s-denoise")
    request, work = gateway["POST /denoise"], worker["denoise"]
    _, trace, caller, _ = CALLER.split("-")
    assert (request.trace, request.parent) == (trace, caller)
    assert (work.trace, work.parent) == (trace, request.id)
    assert work.attributes["b2s.job_id"] == job
    assert work.attributes["b2s.outcome"] == "succeeded"
    assert work.attributes["b2s.request_id"] == "req-traced"
    assert {"queued", "decode", "compute", "encode"} <= worker.keys()
    assert {worker[name].parent for name in ("queued", "decode", "compute", "encode")} == {work.id}
    assert request.begin < worker["queued"].begin <= worker["queued"].end <= worker["compute"].begin
    assert not [span for span in collector.spans if "livez" in span.name], "probes would bury what matters"
    assert "secret" not in repr(collector.spans), "a query may hold what is nobody's business"


def test_nothing_is_exported_unless_a_setting_says_so(own: Cluster, small: bytes) -> None:
    with collecting() as collector:
        told = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "100"}
        job = _denoise(own, small, told)
        for process in own.processes:
            process.stop()
    assert collector.spans == []
    assert own.jobs.get(job).traceparent is None


def _denoise(own: Cluster, image: bytes, told: dict[str, str]) -> str:
    """Have one image denoised by a gateway and a worker with these variables; the job's id."""
    port = free_port()
    own.gateway(port, **told)
    own.ready(own.worker(**told))
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=300) as http:
        own.wait(lambda: _alive(http))
        answer = http.post(
            "/denoise?wait=120&strength=1&webhook_url=https://example.org/hook?secret=1",
            content=image,
            headers={"traceparent": CALLER, "X-Request-ID": "req-traced", "Content-Type": "image/png"},
        )
    assert answer.status_code == 200, answer.text
    assert answer.json()["state"] == JobState.SUCCEEDED
    job: str = answer.json()["id"]
    return job


def _alive(http: httpx.Client) -> bool:
    try:
        return http.get("/livez").status_code == 200
    except httpx.TransportError:
        return False
