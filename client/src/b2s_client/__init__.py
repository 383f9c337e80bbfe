"""Python client of the denoising service: `Client`, `AsyncClient`, and the `b2s` command. No torch, no server in it."""

from .aio import AsyncClient
from .batches import BatchImage, BatchResult
from .errors import (
    B2SError,
    Conflict,
    Gone,
    ImageRefused,
    JobCanceled,
    JobFailed,
    LimitReached,
    NotFound,
    ProblemError,
    RequestRefused,
    TimedOut,
    Unavailable,
    Unreachable,
    WrongAddress,
)
from .retries import Retries
from .sync import Client
from .types import (
    DayUsage,
    Denoised,
    Event,
    FineTuned,
    FineTuneOptions,
    Job,
    JobError,
    Model,
    Options,
    Progress,
    Usage,
)
from .version import __version__

__all__ = [
    "AsyncClient",
    "B2SError",
    "BatchImage",
    "BatchResult",
    "Client",
    "Conflict",
    "DayUsage",
    "Denoised",
    "Event",
    "FineTuneOptions",
    "FineTuned",
    "Gone",
    "ImageRefused",
    "Job",
    "JobCanceled",
    "JobError",
    "JobFailed",
    "LimitReached",
    "Model",
    "NotFound",
    "Options",
    "ProblemError",
    "Progress",
    "RequestRefused",
    "Retries",
    "TimedOut",
    "Unavailable",
    "Unreachable",
    "Usage",
    "WrongAddress",
    "__version__",
]
