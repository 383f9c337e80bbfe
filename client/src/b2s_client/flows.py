"""What to ask the server, in which order, as generators: they yield calls, are sent answers, and do no I/O themselves.

`Client` and `AsyncClient` drive the same flows, so the two cannot drift apart (httpx builds its auth flows that way).
"""

from __future__ import annotations

import hashlib
import json
import time
import uuid
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import date
from typing import Any, TypeVar
from urllib.parse import quote

import httpx

from .calls import Body, Call, Flow, read
from .errors import B2SError, JobCanceled, JobFailed, ProblemError, TimedOut, checked, problem_error, wrong_address
from .sets import TrainingImage, set_name
from .types import Denoised, FineTuneOptions, Job, Model, Options, Preview, Usage
from .upload_size import require_size

T = TypeVar("T")

OPEN_SECONDS = 1.0
"""How long a post is held whose caller wants to hear of the progress; a longer job's events are followed then."""

ROUND_SECONDS = 60.0
"""How long one request is held; a longer wait is several of them. Most proxies allow a minute."""

DRAWING_SECONDS = 30.0
"""How long a picture may be waited for that is drawn when it is asked for; servers wait less by default."""


NO_IMAGE = frozenset({f"/problems/{kind}" for kind in ("broken-image", "unsupported-media-type", "image-too-large")})
JOB_ENDED_BADLY = frozenset({"/problems/job-failed", "/problems/job-died", "/problems/job-canceled"})
"""Problems about the job that a request waited for, not about the request; they name it under `job_id`."""


def submit(body: Body, options: Options, key: str | None) -> Flow[Job]:
    """Post an image and return its job at once. Raises ImageRefused for one that is too large to be taken."""
    yield from require_size(body)
    response = yield post(body, options, key or uuid.uuid4().hex)
    return _job(response)


def denoise(body: Body, options: Options, key: str | None, seconds: float) -> Flow[Denoised]:
    """Post an image and return what became of it; a key that once led to nothing is replaced by a fresh one."""
    deadline = time.monotonic() + seconds
    begun = yield from begin(body, options, key, seconds, ROUND_SECONDS)
    return begun if isinstance(begun, Denoised) else (yield from finish(begun, deadline - time.monotonic()))


def begin(body: Body, options: Options, key: str | None, seconds: float, held_seconds: float) -> Flow[Denoised | str]:
    """Post an image, held for at most `held_seconds` of the `seconds` there are: the result, or the id of its job."""
    deadline = time.monotonic() + seconds
    yield from require_size(body)
    held = min(seconds, held_seconds)
    response = yield post(body, options, key or uuid.uuid4().hex, held, accept_image=True)
    if _is_image(response):
        return (yield from _denoised(response))
    if response.headers.get("idempotency-replayed") == "true" and led_to_nothing(response):
        left = max(deadline - time.monotonic(), 0.0)
        return (yield from begin(body, options, uuid.uuid4().hex, left, held_seconds))
    job_id: str = response.json()["job_id"] if _problem_type(response) in JOB_ENDED_BADLY else _job(response).id
    return job_id


def finish(job_id: str, seconds: float) -> Flow[Denoised]:
    """The image of a job once it has succeeded. Raises as `wait`."""
    yield from wait(job_id, seconds)
    return (yield from result(job_id))


def fill(images: Sequence[TrainingImage], on_upload: Callable[[int], None]) -> Flow[str]:
    """Upload what a dataset of these images lacks; its id. `on_upload` hears how many are there.

    What the service takes for no image is left out with a warning; raises ImageRefused if nothing else is there.
    """
    name = set_name(images)
    found = read((yield Call("GET", "/datasets", {"name": name})), lambda page: list(map(_dataset, page["datasets"])))
    dataset_id, path = found[0] if found else read((yield Call("POST", "/datasets", json={"name": name})), _dataset)
    there = yield from _checksums(path)
    refused: list[ProblemError] = []
    for number, image in enumerate(images):
        if there.get(image.name) != image.sha256:
            asked = {"sha256": image.sha256}
            response = yield Call("PUT", f"{path}/{quote(image.name)}", asked, body=image.body)
            if _problem_type(response) in NO_IMAGE:
                refused.append(problem_error(response))
                warnings.warn(f"{image.name} is left out: {refused[-1].detail}", stacklevel=2)
            else:
                checked(response)
        on_upload(number + 1)
    if len(refused) == len(images):
        raise refused[0]
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
    if response.headers.get("idempotency-replayed") == "true" and led_to_nothing(response):
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
    return (yield from _denoised(response))


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


def report(job_id: str, index: int | None = None) -> Flow[dict[str, Any]]:
    """What was measured; of a batch, in the file at `index`."""
    path = f"/jobs/{job_id}/report" if index is None else f"/jobs/{job_id}/results/{index}/report"
    return read((yield Call("GET", path)), lambda numbers: dict(numbers))


def report_picture(job_id: str) -> Flow[bytes]:
    """The report drawn, as a PNG."""
    return checked((yield Call("GET", f"/jobs/{job_id}/report.png", held_seconds=DRAWING_SECONDS))).content


def preview(job_id: str, wishes: Preview) -> Flow[bytes]:
    """The image before or after, or what was taken out, as a PNG for a screen."""
    call = Call("GET", f"/jobs/{job_id}/preview.png", params=wishes.query(), held_seconds=DRAWING_SECONDS)
    return checked((yield call)).content


def usage(first: date | None, last: date | None) -> Flow[Usage]:
    """What was used from `first` to `last`, and what is left of today."""
    days = {"first": first, "last": last}
    query = {name: day.isoformat() for name, day in days.items() if day is not None}
    return read((yield Call("GET", "/usage", query)), Usage.from_json)


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


def model(name: str) -> Flow[Model]:
    """The model with this id, else the one with this name.

    Raises:
        NotFound: there is none.
        B2SError: several have the name.
    """
    response = yield Call("GET", f"/models/{quote(name, safe='')}")
    if response.status_code != 404:
        return read(response, Model.from_json)
    named = [one for one in (yield from models()) if one.name == name]
    if not named:
        raise problem_error(response)
    if len(named) > 1:
        raise B2SError(f"{len(named)} models are called {name!r}: use the id, {', '.join(one.id for one in named)}.")
    return named[0]


def post(
    body: Body,
    options: Options,
    key: str,
    held_seconds: float = 0.0,
    accept_image: bool = False,
    media_type: str = "application/octet-stream",
) -> Call:
    """The request that makes a job. Of the bytes of an image the service looks at the content, not at their type."""
    params: dict[str, Any] = {name: _parameter(value) for name, value in options.items()}
    if held_seconds > 0:
        params["wait"] = round(held_seconds, 1)
    headers = {
        "Content-Type": media_type,
        "Idempotency-Key": key,
        "Accept": "image/*, application/json;q=0.5" if accept_image else "application/json",
    }
    return Call("POST", "/denoise", params, headers, body, held_seconds)


def _parameter(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def led_to_nothing(response: httpx.Response) -> bool:
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
    return read(response, Job.from_json)


def _dataset(raw: dict[str, Any]) -> tuple[str, str]:
    """Its id, and the path of its images."""
    return raw["id"], raw["links"]["images"]


def _page(response: httpx.Response, name: str, build: Callable[[dict[str, Any]], T]) -> tuple[list[T], str | None]:
    """What `build` makes of the entries of a list's page, and where the next one begins."""
    return read(response, lambda page: (list(map(build, page[name])), page["next_cursor"]))


def _denoised(response: httpx.Response) -> Flow[Denoised]:
    headers = checked(response).headers
    if "b2s-job-id" not in headers:
        raise wrong_address(response)
    return Denoised(
        warnings=(yield from _warnings(headers)),
        data=response.content,
        media_type=headers["content-type"],
        job_id=headers["b2s-job-id"],
        model=headers.get("b2s-model"),
        alpha=_number(headers.get("b2s-noise-alpha")),
        sigma=_number(headers.get("b2s-noise-sigma")),
    )


def _warnings(headers: httpx.Headers) -> Flow[list[str]]:
    """Those of the header; where they do not fit it, or an older server measured noise without telling, of the job.

    A job that went meanwhile leaves none, since that is no reason to lose the image at hand.
    """
    told = "b2s-warnings" if "b2s-warnings" in headers else "b2s-noise-alpha"
    if told not in headers:
        return []
    with suppress(ValueError):
        found = json.loads(headers[told])
        if isinstance(found, list):
            return [str(warning) for warning in found]
    response = yield Call("GET", f"/jobs/{headers['b2s-job-id']}")
    if response.status_code != 200:
        return []
    return list((_job(response).result or {}).get("warnings", []))


def _number(text: str | None) -> float | None:
    return float(text) if text else None
