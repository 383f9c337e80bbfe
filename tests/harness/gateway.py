"""A gateway on a real port in a thread of the test, over a real SQLite file and folder; no worker, no Redis."""

import io
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from PIL import Image
from sqlalchemy import delete

from service.__main__ import Gateway, counted_protocol
from service.app import create_app
from service.services import Services
from store.blobs import attempt_key
from store.database import connect
from store.job import Job, JobError, JobKind, Outcome, Progress
from store.migrate import upgrade
from store.schema import job_events, jobs
from store.settings import Settings
from tests.harness.ports import free_port

CONNECTION_SECONDS = 30.0


def png(width: int = 8, height: int = 8, mode: str = "L", color: Any = 0) -> bytes:
    """A small PNG of one colour."""
    buffer = io.BytesIO()
    Image.new(mode, (width, height), color).save(buffer, "PNG")
    return buffer.getvalue()


@dataclass
class Running:
    """A running gateway: its address, its clients, and a worker's hands."""

    url: str
    http: httpx.Client
    services: Services
    settings: Settings

    def wait_until_closed(self) -> None:
        """Wait until a key is asked for: a gateway that was open looks for a first key once a second."""
        deadline = time.monotonic() + 30
        while self.http.get("/jobs").status_code != 401:
            assert time.monotonic() < deadline, "keys exist, and the gateway stays open"
            time.sleep(0.05)

    def post(self, image: bytes | None = None, **options: Any) -> dict[str, Any]:
        """Post an image and return the job."""
        answer = self.http.post("/denoise", files={"image": ("x.png", image or png())}, data=options)
        assert answer.status_code == 202, answer.text
        job: dict[str, Any] = answer.json()
        return job

    def claim(self) -> Job:
        """Take the next job as a worker does."""
        job = self.services.jobs.claim(JobKind.DENOISE, "test")
        assert job is not None
        return job

    def succeed(self, job: Job, data: bytes = b"result", report: bytes | None = b"{}") -> Job:
        """Finish a claimed job with these bytes as a worker does."""
        key = attempt_key(job.id, job.attempt, "result.png")
        self.services.blobs.put(key, data)
        report_key = None
        if report is not None:
            report_key = attempt_key(job.id, job.attempt, "report.json")
            self.services.blobs.put(report_key, report)
        facts = {"media_type": "image/png", "extension": ".png", "bytes": len(data), "sha256": sha256(data).hexdigest()}
        facts |= {"alpha": 0.01, "sigma": 0.02, "model": "base-gray"}
        finished = self.services.jobs.finish(job, Outcome(key, facts, {"compute": 0.1}, report_key=report_key))
        assert finished is not None
        return finished

    def fail(self, job: Job, code: str = "broken_image", detail: str = "The image is cut short.") -> None:
        """Fail a claimed job as a worker does."""
        assert self.services.jobs.fail(job, JobError(code, detail)) is not None

    def progress(self, job: Job, done: int, total: int) -> None:
        """Report tiles of a claimed job as a worker does."""
        self.services.jobs.renew(job, Progress(done, total))

    def done(self, **options: Any) -> dict[str, Any]:
        """A job that has succeeded."""
        posted = self.post(**options)
        self.succeed(self.claim())
        job: dict[str, Any] = self.http.get(f"/jobs/{posted['id']}").json()
        return job

    def forget(self) -> None:
        """Drop every job, so that tests which share this gateway do not see each other's."""
        with self.services.engine.begin() as connection:
            connection.execute(delete(job_events))
            connection.execute(delete(jobs))


@contextmanager
def running_gateway(data_dir: Path, **changes: Any) -> Iterator[Running]:
    """Run a gateway over `data_dir` until the block ends; `changes` are settings."""
    # Nobody listens on this Redis port: rings fail at once, and requests must not notice.
    values: dict[str, Any] = {"data_dir": data_dir, "redis_url": f"redis://127.0.0.1:{free_port()}/0", **changes}
    settings = Settings(**values)
    engine = connect(settings.database)
    upgrade(engine)
    engine.dispose()
    app = create_app(settings)
    config = uvicorn.Config(app, http=counted_protocol(app, settings), log_config=None, access_log=False)
    server = Gateway(app, config)
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the gateway did not start"
            time.sleep(0.01)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with httpx.Client(base_url=url, timeout=30) as http:
            yield Running(url, http, app.state.services, settings)
    finally:
        server.should_exit = True
        thread.join(timeout=20)
        assert not thread.is_alive(), "the gateway did not stop"


def problem_of(answer: httpx.Response, status: int, slug: str) -> dict[str, Any]:
    """The RFC 9457 document of a refusal, checked for what every one has."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = answer.json()
    assert document["status"] == status
    assert document["type"] == f"/problems/{slug}"
    assert document["request_id"] == answer.headers["x-request-id"]
    return document


@contextmanager
def connection(gateway: Running) -> Iterator[socket.socket]:
    """A bare connection to a gateway."""
    host, port = gateway.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=CONNECTION_SECONDS) as client:
        yield client
