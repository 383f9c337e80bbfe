"""A real receiver of webhooks on loopback, which answers as it is told to."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Heard:
    """One request."""

    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """Where it is and what it heard. `answer` may be changed at any time."""

    port: int
    answer: Callable[[BaseHTTPRequestHandler], None]
    heard: list[Heard] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"


def status(code: int, **headers: str) -> Callable[[BaseHTTPRequestHandler], None]:
    """Answer with a status and headers (`retry_after` for Retry-After)."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


@contextmanager
def receiving(answer: Callable[[BaseHTTPRequestHandler], None], port: int = 0) -> Iterator[Receiver]:
    """Run a receiver until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            receiver.heard.append(Heard({name.lower(): value for name, value in self.headers.items()}, body))
            receiver.answer(self)

        do_GET = do_POST  # noqa: N815 - the name http.server looks for

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    receiver = Receiver(server.server_address[1], answer)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
