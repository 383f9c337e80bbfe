"""Small promises of both clients that need no service to be kept."""

from __future__ import annotations

import time
from pathlib import Path

import httpx
import pytest

from b2s_client import AsyncClient, B2SError, Client, LimitReached
from tests.client.both import BOTH, URL, Call
from tests.client.test_finetune import job


@pytest.mark.parametrize("call", BOTH)
def test_a_folder_that_is_not_there_is_said_before_anything_is_sent(call: Call, tmp_path: Path) -> None:
    sent: list[httpx.Request] = []
    (tmp_path / "x.png").write_bytes(b"-")
    with pytest.raises(FileNotFoundError, match="There is no folder"):
        call(sent.append, "denoise_file", tmp_path / "x.png", tmp_path / "missing" / "x.png")
    assert not sent


@pytest.mark.parametrize("call", BOTH)
def test_the_second_try_of_a_key_has_what_is_left_of_the_time(call: Call) -> None:
    waits: list[float] = []

    def replaying(request: httpx.Request) -> httpx.Response:
        waits.append(float(request.url.params["wait"]))
        if len(waits) > 1:
            return httpx.Response(200, headers={"b2s-job-id": "job_2", "content-type": "image/png"}, content=b"-")
        time.sleep(0.5)
        return httpx.Response(200, headers={"idempotency-replayed": "true"}, json=job("failed"))

    assert call(replaying, "denoise_bytes", b"-", key="k", timeout=2.0).job_id == "job_2"
    assert waits[0] == 2.0 and waits[1] <= 1.5


@pytest.mark.parametrize("call", BOTH)
@pytest.mark.parametrize("seconds", ["9" * 15, "9" * 400])
def test_a_wait_for_ever_is_a_date(call: Call, seconds: str) -> None:
    answer = httpx.Response(429, headers={"retry-after": seconds}, json={"detail": "full"})
    with pytest.raises(LimitReached) as refused:
        call(lambda request: answer, "models")
    assert refused.value.retry_at is not None and refused.value.retry_at.year > 2100


@pytest.mark.parametrize("made", [Client, AsyncClient])
@pytest.mark.parametrize("key", ["b2s_\u2014", "b2s_x\ny"])
def test_what_can_be_no_key_is_refused_and_not_shown(made: type[Client], key: str) -> None:
    with pytest.raises(B2SError, match="B2S_API_KEY") as error:
        made(URL, key)
    assert key not in str(error.value)


def test_a_key_may_end_with_the_line_it_was_copied_from() -> None:
    with Client(URL, " b2s_x\n") as client:
        assert client._http.headers["authorization"] == "Bearer b2s_x"
