import json

import pytest

from service.http.problems import catalogue
from tests.harness.gateway import Running, png, problem_of


@pytest.mark.parametrize(
    ("method", "path", "status", "slug"),
    [
        ("GET", "/nowhere", 404, "not-found"),
        ("GET", "/v1/nowhere", 404, "not-found"),
        ("GET", "/jobs/", 404, "not-found"),
        ("PUT", "/jobs", 405, "method-not-allowed"),
        ("GET", "/denoise", 405, "method-not-allowed"),
        ("GET", "/jobs/job_0", 404, "job-not-found"),
        ("GET", "/jobs/job_0/result", 404, "job-not-found"),
        ("GET", "/jobs/job_0/report", 404, "job-not-found"),
        ("GET", "/jobs/job_0/events", 404, "job-not-found"),
        ("POST", "/jobs/job_0/cancel", 404, "job-not-found"),
        ("DELETE", "/jobs/job_0", 404, "job-not-found"),
        ("GET", "/models/no-such", 404, "model-not-found"),
        ("GET", "/models/no-such/weights", 404, "model-not-found"),
        ("GET", "/models/..%2f..%2fetc%2fpasswd", 404, "not-found"),
        ("GET", "/problems/no-such", 404, "problem-not-found"),
        ("GET", "/jobs?limit=0", 422, "invalid-request"),
        ("GET", "/jobs?limt=5", 422, "invalid-request"),
        ("GET", "/jobs?cursor=%00", 422, "invalid-request"),
        ("GET", "/jobs?state=done", 422, "invalid-request"),
        ("POST", "/denoise?wait=soon", 422, "invalid-request"),
        ("POST", "/denoise", 415, "unsupported-media-type"),
    ],
)
def test_every_error_is_a_problem_document(gateway: Running, method: str, path: str, status: int, slug: str) -> None:
    problem_of(gateway.http.request(method, path), status, slug)


def test_405_names_the_methods_that_work(gateway: Running) -> None:
    allowed = {"/jobs": "GET", "/v1/jobs": "GET", "/jobs/job_0": "DELETE, GET", "/jobs/job_0/result": "GET, HEAD"}
    for path, methods in allowed.items():
        answer = gateway.http.patch(path)
        assert answer.headers.get_list("allow") == [methods]
        assert f"it takes {methods}" in answer.json()["detail"]


def test_every_refused_field_is_named(gateway: Running) -> None:
    form = {"strength": "2", "strenth": "1", "roi": "1,2,3"}
    document = problem_of(gateway.http.post("/denoise", files={"image": png()}, data=form), 422, "invalid-request")
    assert {error["field"] for error in document["errors"]} == {"strength", "strenth", "roi"}
    assert "strenth: this field is not known here" in document["detail"]


def test_types_resolve_to_their_documentation(gateway: Running) -> None:
    listed = gateway.http.get("/problems").json()["problems"]
    assert len(listed) == len(catalogue())
    for kind in listed:
        assert gateway.http.get(kind["type"]).json() == kind
        assert len(kind["description"]) > 30


def test_slugs_are_those_that_were_released() -> None:
    """A client branches on `type`: adding one is fine, changing or losing one breaks somebody."""
    released = [
        "bad-request", "not-found", "job-not-found", "model-not-found", "report-not-kept", "problem-not-found",
        "method-not-allowed", "not-acceptable", "conflict", "result-not-ready", "job-has-no-result", "job-is-final",
        "job-is-running", "job-canceled", "gone", "result-gone", "content-too-large", "image-too-large",
        "unsupported-media-type", "range-not-satisfiable", "host-refused", "invalid-request", "broken-image",
        "idempotency-mismatch", "job-failed", "internal-error", "unavailable", "queue-full",
    ]  # fmt: skip
    assert set(released) <= set(catalogue())


def test_a_request_id_of_the_client_is_kept_and_a_forged_one_is_not(gateway: Running) -> None:
    mine = gateway.http.get("/livez", headers={"X-Request-ID": "trace-42"})
    assert mine.headers["x-request-id"] == "trace-42"
    forged = gateway.http.get("/livez", headers={"X-Request-ID": 'x" event="paid'})
    assert forged.headers["x-request-id"].startswith("req_")


def test_a_bug_answers_500_with_a_problem_and_is_logged(
    gateway: Running, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gateway.services.models, "page", lambda *_: 1 / 0)
    document = problem_of(gateway.http.get("/models"), 500, "internal-error")
    assert "ZeroDivisionError" not in json.dumps(document)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    bug = next(line for line in lines if line["event"] == "unexpected error")
    assert "ZeroDivisionError" in bug["exception"]
    assert bug["request_id"] == document["request_id"]


def test_headers_that_keep_a_browser_safe_are_everywhere(gateway: Running) -> None:
    for path in ("/", "/nowhere", "/livez", "/docs"):
        headers = gateway.http.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "access-control-allow-origin" not in headers


BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


def test_a_browser_is_shown_pages(gateway: Running) -> None:
    """Followed from a problem's `type`, from the list, and where a link leads nowhere; never for scripts."""
    for base in ("", "/v1"):
        listed = gateway.http.get(f"{base}/problems", headers=BROWSER)
        assert f'href="{base}/problems/job-not-found"' in listed.text
        kind = gateway.http.get(f"{base}/problems/job-not-found", headers=BROWSER)
        missing = gateway.http.get(f"{base}/jobs/job_0", headers=BROWSER)
        assert (listed.status_code, kind.status_code, missing.status_code) == (200, 200, 404)
        assert (
            f'href="{base}/problems/job-not-found"' in missing.text and missing.headers["x-request-id"] in missing.text
        )
        for page in (listed, kind, missing):
            assert page.headers["content-type"] == "text/html; charset=utf-8" and page.headers["vary"] == "Accept"
            assert "default-src 'none'" in page.headers["content-security-policy"] and "{b" not in page.text
            style = page.text.split('rel="stylesheet" href="')[1].split('"')[0]
            assert gateway.http.get(style).status_code == 200
    for accept in ("*/*", "application/json", "image/*, application/json;q=0.5", "text/html;q=0.5, application/json"):
        assert gateway.http.get("/jobs/job_0", headers={"Accept": accept}).headers["content-type"].endswith("json")


def test_what_a_request_brings_is_no_markup(gateway: Running) -> None:
    page = gateway.http.get("/<b>x</b>{title}", headers=BROWSER)
    assert page.status_code == 404 and "<b>" not in page.text.split("<body>")[1]
    refused = gateway.http.get("/jobs?limit=<i>", headers=BROWSER)
    assert refused.status_code == 422 and "<i>" not in refused.text and "<code>limit</code>" in refused.text
