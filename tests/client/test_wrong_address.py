"""What answers is not the service: a proxy that sends elsewhere, a login page, another program. All say what to set."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from typer.testing import CliRunner

from b2s_client import Client, Unavailable, Unreachable, WrongAddress
from b2s_client.cli import UNREACHABLE, app
from tests.client.both import BOTH, URL, Call
from tests.harness.shell import write_noise

IMAGE = np.zeros((4, 4), np.uint8)
ANSWERS = {
    "redirect": httpx.Response(308, headers={"location": "https://b2s.test/elsewhere"}),
    "login": httpx.Response(200, html="<h1>Log in</h1>"),
    "text": httpx.Response(200, text="pong"),
    "another program": httpx.Response(200, json={"status": "ok"}),
    "a list": httpx.Response(200, json=["ok"]),
}
CALLS: list[tuple[str, tuple[Any, ...]]] = [
    ("denoise", (IMAGE,)),
    ("submit", (IMAGE,)),
    ("finetune", ([IMAGE],)),
    ("wait", ("job_1",)),
    ("result", ("job_1",)),
    ("jobs", ()),
    ("models", ()),
    ("usage", ()),
    ("events", ("job_1",)),
]


@pytest.mark.parametrize("call", BOTH)
@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize(("method", "arguments"), CALLS)
def test_it_is_said_with_what_to_set(call: Call, answer: str, method: str, arguments: tuple[Any, ...]) -> None:
    given = ANSWERS[answer]
    with pytest.raises(WrongAddress, match="B2S_URL") as error:
        call(lambda request: copy(given), method, *arguments)
    assert URL in str(error.value)
    assert ("https://b2s.test/elsewhere" in str(error.value)) == (answer == "redirect")


@pytest.mark.parametrize("call", BOTH)
@pytest.mark.parametrize("method", ["report_picture", "preview", "weights", "delete", "delete_model"])
@pytest.mark.parametrize("answer", ["redirect", "login"])
def test_a_page_is_taken_for_no_bytes(call: Call, method: str, answer: str) -> None:
    with pytest.raises(WrongAddress):
        call(lambda request: copy(ANSWERS[answer]), method, "x_1")


@pytest.mark.parametrize("call", BOTH)
def test_the_page_of_a_proxy_is_not_shown(call: Call) -> None:
    with pytest.raises(Unavailable, match=r"^Bad Gateway$"):
        call(lambda request: httpx.Response(502, html="<html>nginx</html>"), "models")


@pytest.mark.parametrize("url", ["b2s.test", "localhost:8000", "ftp://b2s.test", "http://", "http://b2s:x"])
def test_what_is_no_address_is_refused_at_once(url: str) -> None:
    with pytest.raises(Unreachable, match="B2S_URL"):
        Client(url)


@pytest.fixture
def proxy() -> Iterator[str]:
    """A real one that sends everything to https, as Caddy does."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            self.send_response(308)
            self.send_header("location", "https://b2s.test" + self.path)
            self.send_header("content-length", "0")
            self.end_headers()

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(
    "command", [["models"], ["jobs", "--json"], ["watch", "job_1"], ["denoise", "in", "-o", "out"]]
)
def test_b2s_says_it_too_in_a_line(proxy: str, command: list[str], tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    for number in range(3):
        write_noise(tmp_path / f"in/{number}.png", number)
    run = CliRunner().invoke(app, ["--url", proxy, *command])
    assert run.exit_code == UNREACHABLE
    assert run.output.count("sends on to https://b2s.test/") == 1 and "B2S_URL" in run.output


def copy(response: httpx.Response) -> httpx.Response:
    return httpx.Response(response.status_code, headers=response.headers, content=response.content)
