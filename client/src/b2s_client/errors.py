"""What can go wrong, by what a caller would do about it.

B2SError
├── Unreachable          no answer at all: check the address, try again
│   └── WrongAddress     something answers, but not the service: check the address
├── TimedOut             the job goes on, but longer than the caller wanted to wait
├── JobFailed            the job ended without a result; `job.error` says why
├── JobCanceled          somebody canceled it
└── ProblemError         the server answered a problem document (RFC 9457)
    ├── ImageRefused     413, 415, broken image: another file is needed
    ├── RequestRefused   400, 406, 422, other 4xx: another request is needed
    │   └── LimitReached 429: more than the key allows; `error.retry_at` says when there is room again
    ├── NotFound         404
    ├── Conflict         409: not in this state
    ├── Gone             410: deleted or expired
    └── Unavailable      5xx: try again later (already tried several times)
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from .retries import retry_after
from .types import Job


class B2SError(Exception):
    """Base of all errors of this package."""


class Unreachable(B2SError):
    """The server did not answer."""


class WrongAddress(Unreachable):
    """What answers is not the service: another program, a login page, or a proxy that sends elsewhere."""


class TimedOut(B2SError):
    """The wait is over and the job is not. It goes on: `client.wait(error.job.id)` waits again."""

    def __init__(self, job: Job) -> None:
        super().__init__(f"{job.id} is still {job.state}; wait again, or look at it later.")
        self.job = job


class JobFailed(B2SError):
    """The job failed; `job.error` has a code for programs and words for people."""

    def __init__(self, job: Job) -> None:
        super().__init__(f"{job.id} failed: {job.error.detail if job.error else 'no reason was given'}")
        self.job = job


class JobCanceled(B2SError):
    """The job was canceled."""

    def __init__(self, job: Job) -> None:
        super().__init__(f"{job.id} was canceled.")
        self.job = job


class ProblemError(B2SError):
    """The server refused or failed.

    Attributes:
        problem: the whole problem document.
        type: its stable identifier, such as `/problems/image-too-large`.
        status: the HTTP status.
        detail: what went wrong and what to do about it.
        request_id: under which the server logged it.
    """

    def __init__(self, problem: dict[str, Any]) -> None:
        self.problem = problem
        self.type: str = problem.get("type", "about:blank")
        self.status: int = problem.get("status", 0)
        self.detail: str = problem.get("detail", "")
        self.request_id: str | None = problem.get("request_id")
        super().__init__(self.detail or problem.get("title", f"HTTP {self.status}"))


class ImageRefused(ProblemError):
    """The server does not take this image."""


class RequestRefused(ProblemError):
    """The server does not take this request."""


class LimitReached(RequestRefused):
    """More than the key allows: requests a minute, unfinished jobs, or pixels a day.

    Short waits were waited for already; this one is long, or came again and again.

    Attributes:
        retry_at: when there is room again, as the server says; None if it does not.
    """

    def __init__(self, problem: dict[str, Any], retry_at: datetime | None = None) -> None:
        super().__init__(problem)
        self.retry_at = retry_at

    @property
    def is_quota(self) -> bool:
        """Whether the quota of the day is used up: no other image of this day will pass, unless it is smaller."""
        return self.type == QUOTA_EXCEEDED


class NotFound(ProblemError):
    """There is no such job or model."""


class Conflict(ProblemError):
    """The job is not in a state for this."""


class Gone(ProblemError):
    """The bytes were deleted or have expired."""


class Unavailable(ProblemError):
    """The server cannot answer now."""


BROKEN_IMAGE = "/problems/broken-image"
QUOTA_EXCEEDED = "/problems/quota-exceeded"


def checked(response: httpx.Response) -> httpx.Response:
    """The answer, if it says yes.

    Raises:
        ProblemError: the service refused or failed.
        WrongAddress: the service never answers like this.
    """
    if response.status_code >= 300 or _is_page(response):
        raise refusal(response)
    return response


def refusal(response: httpx.Response) -> B2SError:
    """The exception for an answer that is not the one that was asked for."""
    return problem_error(response) if response.status_code >= 400 else wrong_address(response)


def wrong_address(response: httpx.Response) -> WrongAddress:
    """What to tell a person whose request was answered by something else."""
    if "location" in response.headers:
        what = f"sends on to {response.url.join(response.headers['location'])}"
    else:
        what = f"answers {response.status_code} {response.headers.get('content-type', '')}, as the service never does"
    return WrongAddress(f"{response.url} {what}. Set B2S_URL to the address of the service itself.")


def problem_error(response: httpx.Response) -> ProblemError:
    """The exception for an answer of 400 or more; a proxy's plain answer becomes a problem document too."""
    try:
        problem: dict[str, Any] = dict(response.json())
    except (ValueError, TypeError):
        said = "" if _is_page(response) else response.text[:500].strip()
        problem = {"type": "about:blank", "title": response.reason_phrase, "detail": said}
    problem.setdefault("status", response.status_code)
    if response.status_code == 429:
        seconds = retry_after(response)
        return LimitReached(problem, None if seconds is None else datetime.now(UTC) + timedelta(seconds=seconds))
    return _kind(response.status_code, problem.get("type"))(problem)


def _is_page(response: httpx.Response) -> bool:
    return bool(response.headers.get("content-type", "").startswith("text/html"))


def _kind(status: int, type_uri: object) -> type[ProblemError]:
    if status in (413, 415) or type_uri == BROKEN_IMAGE:
        return ImageRefused
    if status >= 500:
        return Unavailable
    return {404: NotFound, 409: Conflict, 410: Gone}.get(status, RequestRefused)
