"""Clients that hold a connection and say little, byte by byte over real sockets."""

import re
import socket
import time

import pytest

from service.edge.slow_clients import HEAD_BYTES, ImpatientProtocol
from service.intake import body_limit
from tests.harness.gateway import Running, connection, png

PATIENCE_SECONDS = 60.0


def until_closed(client: socket.socket, dribble: bytes = b"") -> bytes:
    """What the server says before it closes the connection, while a byte goes out now and then."""
    answer = b""
    client.settimeout(0.05)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        try:
            chunk = client.recv(65536)
            if not chunk:
                return answer
            answer += chunk
        except TimeoutError:
            try:
                client.sendall(dribble)
            except OSError:
                return answer
        except OSError:
            return answer
    raise AssertionError("the connection is still open")


@pytest.fixture
def with_heads(gateway: Running, monkeypatch: pytest.MonkeyPatch) -> Running:
    """A gateway impatient with heads."""
    monkeypatch.setattr(ImpatientProtocol, "head_seconds", 0.5)
    return gateway


@pytest.fixture
def with_bodies(gateway: Running, monkeypatch: pytest.MonkeyPatch) -> Running:
    """A gateway impatient with bodies."""
    monkeypatch.setattr(body_limit, "PATIENCE_SECONDS", 0.5)
    return gateway


@pytest.mark.parametrize("begun", [b"", b"GET /", b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: "])
def test_a_head_that_never_ends_is_cut_off(with_heads: Running, begun: bytes) -> None:
    with connection(with_heads) as client:
        client.sendall(begun)
        assert until_closed(client, dribble=b"a" if begun else b"") == b""


def test_the_head_of_a_later_request_is_timed_too(gateway: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    with connection(gateway) as client:
        client.sendall(b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert client.recv(65536).startswith(b"HTTP/1.1 200")
        monkeypatch.setattr(ImpatientProtocol, "head_seconds", 0.5)
        client.sendall(b"GET /livez HTTP/1.1\r\nX-Slow: ")
        assert b"200" not in until_closed(client, dribble=b"a")


def test_a_head_that_is_too_large_is_refused(gateway: Running) -> None:
    with connection(gateway) as client:
        client.sendall(b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n")
        line = b"X-Large: " + b"a" * 1000 + b"\r\n"
        try:
            for _ in range(2 * HEAD_BYTES // len(line)):
                client.sendall(line)
        except OSError:
            pass  # it has closed already
        answer = until_closed(client)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize("dribble", [b"", b"a"])
def test_a_body_that_never_ends_is_a_408(with_bodies: Running, dribble: bytes) -> None:
    head = "POST /denoise HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/png\r\nContent-Length: 100000\r\n\r\n"
    with connection(with_bodies) as client:
        client.sendall(head.encode() + png()[:20])
        answer = until_closed(client, dribble)
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"/problems/body-stalled" in answer and b"connection: close" in answer.lower()


@pytest.mark.parametrize(
    ("path", "content_type", "part"),
    [
        ("/denoise", "image/png", b""),
        ("/denoise", "multipart/form-data; boundary=x", b'--x\r\nContent-Disposition: form-data; name="image"\r\n\r\n'),
        ("/finetune", "application/zip", b""),
        ("/datasets", "application/json", b'{"name": "'),
    ],
)
def test_a_client_that_leaves_in_the_middle_is_no_error_of_ours(
    gateway: Running, capsys: pytest.CaptureFixture[str], path: str, content_type: str, part: bytes
) -> None:
    def answered(status: str) -> float:
        text = gateway.http.get("/metrics").text
        samples = re.findall(rf'^b2s_http_requests_total{{method="POST".*,status="{status}"}} (\S+)$', text, re.M)
        return sum(map(float, samples))

    errors, left = answered("5.."), answered("499")
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {content_type}\r\nContent-Length: 1000\r\n\r\n"
    with connection(gateway) as client:
        client.sendall(head.encode() + part + b"a" * 100)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while answered("499") == left:
        assert time.monotonic() < deadline, "the request is not counted"
        time.sleep(0.05)
    assert answered("5..") == errors
    assert capsys.readouterr().out == ""  # errors alone are logged here


def test_patience_is_for_waiting_only(with_bodies: Running) -> None:
    """An event stream or a wait lasts longer than any body may take."""
    job = with_bodies.post()
    assert with_bodies.http.get(f"/jobs/{job['id']}?wait=1.5").json()["state"] == "queued"
