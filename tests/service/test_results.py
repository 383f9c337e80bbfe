import hashlib

import httpx
import pytest

from tests.harness.gateway import Running, problem_of

DATA = bytes(range(256)) * 10_000  # 2.56 MB: more than one chunk


@pytest.fixture
def result(gateway: Running) -> str:
    """Path of a finished result whose bytes are DATA."""
    job = gateway.post()
    gateway.succeed(gateway.claim(), DATA)
    return f"/jobs/{job['id']}/result"


def get_range(gateway: Running, path: str, value: str, **headers: str) -> httpx.Response:
    return gateway.http.get(path, headers={"Range": value, **headers})


def test_the_whole_result(gateway: Running, result: str) -> None:
    answer = gateway.http.get(result)
    assert answer.content == DATA
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["etag"] == f'"{hashlib.sha256(DATA).hexdigest()}"'
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["content-disposition"].endswith('.png"')


def test_head_gives_the_headers_alone(gateway: Running, result: str) -> None:
    answer = gateway.http.head(result)
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-length"] == str(len(DATA))


def test_a_client_that_has_it_gets_304(gateway: Running, result: str) -> None:
    etag = gateway.http.get(result).headers["etag"]
    for given in (etag, f'"other", {etag}', f"W/{etag}", "*"):
        answer = gateway.http.get(result, headers={"If-None-Match": given})
        assert (answer.status_code, answer.content) == (304, b"")
    assert gateway.http.get(result, headers={"If-None-Match": '"other"'}).status_code == 200


@pytest.mark.parametrize(
    ("value", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=5-9", 5, 10),
        ("bytes=2559999-", 2559999, 2560000),
        ("bytes=-10", 2559990, 2560000),
        ("bytes=-9999999", 0, 2560000),
        ("bytes=1000000-9999999", 1000000, 2560000),
    ],
)
def test_a_range(gateway: Running, result: str, value: str, start: int, end: int) -> None:
    answer = get_range(gateway, result, value)
    assert answer.status_code == 206
    assert answer.content == DATA[start:end]
    assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/2560000"


@pytest.mark.parametrize(
    "value",
    ["bytes=", "bytes=-", "bytes=9-5", "bytes=0-1,5-6", "items=0-5", "bytes=a-b", "bytes=0-" + "9" * 5000,
     "bytes=" + "9" * 5000 + "-", "bytes=-" + "9" * 5000],
)  # fmt: skip
def test_a_range_that_means_nothing_is_ignored(gateway: Running, result: str, value: str) -> None:
    answer = get_range(gateway, result, value)
    assert (answer.status_code, len(answer.content)) == (200, len(DATA))


@pytest.mark.parametrize("value", ["bytes=2560000-", "bytes=9999999-99999999", "bytes=-0"])
def test_a_range_outside_is_416(gateway: Running, result: str, value: str) -> None:
    answer = get_range(gateway, result, value)
    problem_of(answer, 416, "range-not-satisfiable")
    assert answer.headers["content-range"] == "bytes */2560000"


def test_if_range_holds_the_range_to_the_same_bytes(gateway: Running, result: str) -> None:
    etag = gateway.http.get(result).headers["etag"]
    assert get_range(gateway, result, "bytes=0-9", **{"If-Range": etag}).status_code == 206
    assert get_range(gateway, result, "bytes=0-9", **{"If-Range": '"other"'}).status_code == 200


def test_an_unfinished_job_says_how_to_wait(gateway: Running) -> None:
    job = gateway.post()
    for part in ("result", "report", "report.png"):
        answer = gateway.http.get(f"/jobs/{job['id']}/{part}")
        document = problem_of(answer, 409, "result-not-ready")
        assert answer.headers["retry-after"] == "1"
        assert f"/jobs/{job['id']}?wait=30" in document["detail"]


def test_a_failed_job_says_why_there_is_no_result(gateway: Running) -> None:
    job = gateway.post()
    gateway.fail(gateway.claim())
    document = problem_of(gateway.http.get(f"/jobs/{job['id']}/result"), 409, "job-has-no-result")
    assert "The image is cut short." in document["detail"]


def test_bytes_that_vanished_are_410(gateway: Running, result: str) -> None:
    job = gateway.services.jobs.get(result.split("/")[2])
    gateway.services.blobs.delete_job(job.id)
    problem_of(gateway.http.get(result), 410, "result-gone")


def test_a_job_without_a_report_says_so(gateway: Running) -> None:
    job = gateway.post(report="false")
    gateway.succeed(gateway.claim(), report=None)
    problem_of(gateway.http.get(f"/jobs/{job['id']}/report"), 404, "report-not-kept")


def test_weights_can_be_fetched_in_parts(gateway: Running) -> None:
    model = gateway.http.get("/models/base-gray").json()
    whole = gateway.http.get(model["links"]["weights"])
    assert hashlib.sha256(whole.content).hexdigest() == model["sha256"]
    assert len(whole.content) == model["weights_bytes"]
    part = get_range(gateway, model["links"]["weights"], "bytes=8-99")
    assert part.content == whole.content[8:100]
    assert (
        gateway.http.get(model["links"]["weights"], headers={"If-None-Match": whole.headers["etag"]}).status_code == 304
    )
