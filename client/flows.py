"""What to ask the server, in which order, as generators: they yield calls, are sent answers, and do no I/O themselves.

`Client` and `AsyncClient` drive the same flows, so the two cannot drift apart (httpx builds its auth flows that way).
"""

from __future__ import annotations

import hashlib
import json
import time
import uuid
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import httpx

from .errors import JobCanceled, JobFailed, TimedOut, checked, wrong_address
from .sets import TrainingImage, set_name
from .types import Denoised, FineTuneOptions, Job, Model, Options, Usage

T = TypeVar("T")
Body = bytes | Path

ROUND_SECONDS = 60.0
"""How long one request is held; a longer wait is several of them. Most proxies allow a minute."""

SLACK_SECONDS = 30.0
"""What a held request may take beyond its wait before it counts as lost."""


JOB_ENDED_BADLY = frozenset({"/problems/job-failed", "/problems/job-died", "/problems/job-canceled"})
"""Problems about the job that a request waited for, not about the request; they name it under `job_id`."""


@dataclass(frozen=True)
class Call:
    """One request. A file as `body` is streamed from disk, anew for each attempt; `json` is a body of its own."""

    method: str
    path: str
    params: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Body | None = None
    held_seconds: float = 0.0
    json: Mapping[str, Any] | None = None

    @property
    def timeout(self) -> httpx.Timeout:
        """Short to connect, long enough to be held."""
        return httpx.Timeout(self.held_seconds + SLACK_SECONDS, connect=10.0)


Flow = Generator[Call, httpx.Response, T]


def submit(body: Body, options: Options, key: str | None) -> Flow[Job]:
    """Post an image and return its job at once."""
    response = yield _post(body, options, key or uuid.uuid4().hex, held_seconds=0.0)
    return _job(response)


def denoise(body: Body, options: Options, key: str | None, seconds: float) -> Flow[Denoised]:
    """Post an image and return what became of it; a key that once led to nothing is replaced by a fresh one."""
    deadline = time.monotonic() + seconds
    response = yield _post(body, options, key or uuid.uuid4().hex, min(seconds, ROUND_SECONDS), accept_image=True)
    if _is_image(response):
        return _denoised(response)
    if response.headers.get("idempotency-replayed") == "true" and _led_to_nothing(response):
        return (yield from denoise(body, options, uuid.uuid4().hex, max(deadline - time.monotonic(), 0.0)))
    job_id = response.json()["job_id"] if _problem_type(response) in JOB_ENDED_BADLY else _job(response).id
    yield from wait(job_id, deadline - time.monotonic())
    return (yield from result(job_id))


def fill(images: Sequence[TrainingImage], on_upload: Callable[[int], None]) -> Flow[str]:
    """Upload what a dataset of these images lacks; its id. `on_upload` hears how many are there."""
    name = set_name(images)
    found = _read((yield Call("GET", "/datasets", {"name": name})), lambda page: list(map(_dataset, page["datasets"])))
    dataset_id, path = found[0] if found else _read((yield Call("POST", "/datasets", json={"name": name})), _dataset)
    there = yield from _checksums(path)
    for number, image in enumerate(images):
        if there.get(image.name) != image.sha256:
            asked = {"sha256": image.sha256}
            checked((yield Call("PUT", f"{path}/{quote(image.name)}", asked, body=image.body)))
        on_upload(number + 1)
    return dataset_id


def _checksums(path: str) -> Flow[dict[str, str]]:
    found: dict[str, str] = {}
    cursor: str | None = None
    while True:
        response = yield Call("GET", path, {"cursor": cursor} if cursor else {})
        page, cursor = _page(response, "images", lambda image: (image["name"], image["sha256"]))
        found |= dict(page)
        if cursor is None:
            return found


def submit_finetune(dataset_id: str, options: FineTuneOptions, images: Sequence[TrainingImage]) -> Flow[Job]:
    """Start a fine-tune; the same images and options find the job again, unless it led to nothing."""
    asked = json.dumps([dataset_id, options, set_name(images)], sort_keys=True)
    key = hashlib.sha256(asked.encode()).hexdigest()
    body = {"dataset_id": dataset_id, **options}
    response = checked((yield Call("POST", "/finetune", headers={"Idempotency-Key": key}, json=body)))
    if response.headers.get("idempotency-replayed") == "true" and _led_to_nothing(response):
        fresh = {"Idempotency-Key": uuid.uuid4().hex}
        response = yield Call("POST", "/finetune", headers=fresh, json=body)
    return _job(response)


def delete_dataset(dataset_id: str) -> Flow[None]:
    """Remove a dataset."""
    checked((yield Call("DELETE", f"/datasets/{dataset_id}")))


def delete_model(model_id: str) -> Flow[None]:
    """Remove a fine-tuned model."""
    checked((yield Call("DELETE", f"/models/{model_id}")))


def weights(model_id: str) -> Flow[bytes]:
    """The safetensors file of a model."""
    return checked((yield Call("GET", f"/models/{model_id}/weights"))).content


def wait(job_id: str, seconds: float) -> Flow[Job]:
    """The job once it has succeeded.

    Raises:
        JobFailed, JobCanceled: it ended otherwise.
        TimedOut: it goes on.
    """
    deadline = time.monotonic() + seconds
    while True:
        left = max(deadline - time.monotonic(), 0.0)
        round_seconds = min(left, ROUND_SECONDS)
        response = yield Call("GET", f"/jobs/{job_id}", {"wait": round(round_seconds, 1)}, held_seconds=round_seconds)
        job = _job(response)
        if job.state == "succeeded":
            return job
        if job.state == "failed":
            raise JobFailed(job)
        if job.state == "canceled":
            raise JobCanceled(job)
        if left == 0.0:
            raise TimedOut(job)


def result(job_id: str) -> Flow[Denoised]:
    """The image of a job that has succeeded."""
    response = yield Call("GET", f"/jobs/{job_id}/result")
    return _denoised(response)


def get_job(job_id: str) -> Flow[Job]:
    """One job as it is now."""
    return _job((yield Call("GET", f"/jobs/{job_id}")))


def list_jobs(state: str | None, limit: int) -> Flow[list[Job]]:
    """The newest jobs, as many pages as `limit` needs."""
    found: list[Job] = []
    cursor: str | None = None
    while len(found) < limit:
        params = {"limit": min(limit - len(found), 200), "state": state, "cursor": cursor}
        response = yield Call("GET", "/jobs", {name: value for name, value in params.items() if value is not None})
        page, cursor = _page(response, "jobs", Job.from_json)
        found += page
        if cursor is None:
            break
    return found


def cancel(job_id: str) -> Flow[Job]:
    """Ask a job to stop."""
    return _job((yield Call("POST", f"/jobs/{job_id}/cancel")))


def delete(job_id: str) -> Flow[None]:
    """Remove the bytes of a job."""
    checked((yield Call("DELETE", f"/jobs/{job_id}")))


def report(job_id: str) -> Flow[dict[str, Any]]:
    """What was measured."""
    return _read((yield Call("GET", f"/jobs/{job_id}/report")), lambda numbers: dict(numbers))


def report_picture(job_id: str) -> Flow[bytes]:
    """The report drawn, as a PNG."""
    return checked((yield Call("GET", f"/jobs/{job_id}/report.png"))).content


def usage(first: date | None, last: date | None) -> Flow[Usage]:
    """What was used from `first` to `last`, and what is left of today."""
    days = {"first": first, "last": last}
    query = {name: day.isoformat() for name, day in days.items() if day is not None}
    return _read((yield Call("GET", "/usage", query)), Usage.from_json)


def models() -> Flow[list[Model]]:
    """All models, page by page."""
    found: list[Model] = []
    cursor: str | None = None
    while True:
        response = yield Call("GET", "/models", {"cursor": cursor} if cursor else {})
        page, cursor = _page(response, "models", Model.from_json)
        found += page
        if cursor is None:
            return found


def _post(body: Body, options: Options, key: str, held_seconds: float, accept_image: bool = False) -> Call:
    params: dict[str, Any] = {name: _parameter(value) for name, value in options.items()}
    if held_seconds > 0:
        params["wait"] = round(held_seconds, 1)
    headers = {
        "Content-Type": "application/octet-stream",  # the server looks at the content
        "Idempotency-Key": key,
        "Accept": "image/*, application/json;q=0.5" if accept_image else "application/json",
    }
    return Call("POST", "/denoise", params, headers, body, held_seconds)


def _parameter(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _led_to_nothing(response: httpx.Response) -> bool:
    """Whether a replayed answer is of a job that failed, was canceled, or whose bytes are gone."""
    if response.status_code >= 400:
        return _problem_type(response) in {*JOB_ENDED_BADLY, "/problems/result-gone"}
    job = _job(response)
    return job.state in ("failed", "canceled") or job.deleted_at is not None


def _problem_type(response: httpx.Response) -> object:
    if response.status_code < 400 or "json" not in response.headers.get("content-type", ""):
        return None
    return response.json().get("type")


def _is_image(response: httpx.Response) -> bool:
    return response.status_code == 200 and "b2s-job-id" in response.headers


def _job(response: httpx.Response) -> Job:
    return _read(response, Job.from_json)


def _dataset(raw: dict[str, Any]) -> tuple[str, str]:
    """Its id, and the path of its images."""
    return raw["id"], raw["links"]["images"]


def _page(response: httpx.Response, name: str, build: Callable[[dict[str, Any]], T]) -> tuple[list[T], str | None]:
    """What `build` makes of the entries of a list's page, and where the next one begins."""
    return _read(response, lambda page: (list(map(build, page[name])), page["next_cursor"]))


def _read(response: httpx.Response, build: Callable[[dict[str, Any]], T]) -> T:
    """What `build` makes of an answer's JSON. Raises WrongAddress if it can make nothing of it, and as `checked`."""
    checked(response)
    try:
        return build(response.json())
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise wrong_address(response) from error


def _denoised(response: httpx.Response) -> Denoised:
    headers = checked(response).headers
    if "b2s-job-id" not in headers:
        raise wrong_address(response)
    return Denoised(
        data=response.content,
        media_type=headers["content-type"],
        job_id=headers["b2s-job-id"],
        model=headers.get("b2s-model"),
        alpha=_number(headers.get("b2s-noise-alpha")),
        sigma=_number(headers.get("b2s-noise-sigma")),
    )


def _number(text: str | None) -> float | None:
    return float(text) if text else None
