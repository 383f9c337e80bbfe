"""What the service answers, as frozen dataclasses. Fields that a newer server adds are kept in `raw`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any, Literal, TypedDict

from .suffixes import SUFFIX, OutputFormat, contradicts

FINAL = frozenset({"succeeded", "failed", "canceled"})


class Options(TypedDict, total=False):
    """Options of a denoise job; what is left out is decided by the server."""

    model: str
    quality: Literal["fast", "best"]
    strength: float
    output_format: OutputFormat
    output_dtype: Literal["float32"]
    mosaic: Literal["auto", "none", "bayer"]
    roi: str
    normalize: Literal["auto", "dtype", "none"]
    lines: Literal["auto", "keep", "remove"]
    metadata: Literal["keep", "safe", "none"]
    report: bool


class FineTuneOptions(TypedDict, total=False):
    """Options of a fine-tune; what is left out is decided by the server."""

    base_model: str
    quality: Literal["fast", "best"]
    method: Literal["auto", "blind2sound", "thinning"]
    noise: Literal["auto", "independent", "correlated"]
    max_minutes: float
    max_steps: int
    name: str
    seed: int
    frames: Literal["auto", "none", "related", "3", "5"]


Side = Literal["before", "after", "residual"]


@dataclass(frozen=True)
class Preview:
    """What a preview is to show, as `Client.preview` takes it."""

    side: Side
    page: int
    window: tuple[float, float] | None
    max_side: int
    channel: int | None

    def query(self) -> dict[str, Any]:
        """As the service takes it."""
        window = "auto" if self.window is None else ",".join(repr(float(value)) for value in self.window)
        query: dict[str, Any] = {"side": self.side, "page": self.page, "window": window, "max": self.max_side}
        return query if self.channel is None else query | {"channel": self.channel}


@dataclass(frozen=True)
class Progress:
    """`done` of `total` units; total is None until known."""

    done: int
    total: int | None
    unit: str


OnProgress = Callable[[Progress], None]
"""Told how far a job is, as often as it moves on."""


@dataclass(frozen=True)
class JobError:
    """Why a job failed: a stable code, and words."""

    code: str
    detail: str


@dataclass(frozen=True)
class Job:
    """One job. `raw` is the whole document."""

    id: str
    kind: str
    state: str
    progress: Progress
    queue_position: int | None
    model: str | None
    error: JobError | None
    timings: dict[str, float]
    created_at: datetime
    finished_at: datetime | None
    deleted_at: datetime | None
    result: dict[str, Any] | None
    raw: dict[str, Any] = field(repr=False)

    @property
    def final(self) -> bool:
        """Whether it has ended."""
        return self.state in FINAL

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> Job:
        progress, error = raw["progress"], raw.get("error")
        return cls(
            id=raw["id"],
            kind=raw["kind"],
            state=raw["state"],
            progress=Progress(progress["done"], progress["total"], progress["unit"]),
            queue_position=raw.get("queue_position"),
            model=raw.get("model"),
            error=JobError(error["code"], error["detail"]) if error else None,
            timings=raw.get("timings", {}),
            created_at=datetime.fromisoformat(raw["created_at"]),
            finished_at=_time(raw.get("finished_at")),
            deleted_at=_time(raw.get("deleted_at")),
            result=raw.get("result"),
            raw=raw,
        )


@dataclass(frozen=True)
class Model:
    """One model. `raw` is the whole document.

    `promoted`: whether it beat its base on images that it did not learn from; None for a base model.
    """

    id: str
    channels: int
    card: dict[str, Any] = field(repr=False)
    raw: dict[str, Any] = field(repr=False)
    name: str = ""
    promoted: bool | None = None
    base_model: str | None = None

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> Model:
        name = raw.get("name") or raw["card"].get("name") or raw["id"]
        return cls(raw["id"], raw["channels"], raw["card"], raw, str(name), raw.get("promoted"), raw.get("base_model"))


@dataclass(frozen=True)
class DayUsage:
    """One day (UTC) of one kind of job. Pixels are of the jobs that succeeded; `gpu_seconds` of all worker-seconds."""

    day: date
    kind: str
    succeeded: int
    failed: int
    canceled: int
    pixels: int
    worker_seconds: float
    gpu_seconds: float

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> DayUsage:
        values = {name: raw[name] for name in cls.__dataclass_fields__ if name not in ("day", "gpu_seconds")}
        # A server of before GPU-seconds says nothing of them.
        return cls(**values, day=date.fromisoformat(raw["day"]), gpu_seconds=raw.get("gpu_seconds", 0.0))


@dataclass(frozen=True)
class Usage:
    """What a tenant used, newest day first; None of `pixels_left_today`: no bound. `raw` is the whole document."""

    tenant: str
    pixels_today: int
    pixels_left_today: int | None
    resets_at: datetime
    days: list[DayUsage]
    raw: dict[str, Any] = field(repr=False)
    upload_bytes: int | None = None
    """The most bytes of one image; None: the server is older and does not say."""

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> Usage:
        return cls(
            tenant=raw["tenant"],
            pixels_today=raw["pixels_today"],
            pixels_left_today=raw["pixels_left_today"],
            resets_at=datetime.fromisoformat(raw["resets_at"]),
            days=[DayUsage.from_json(day) for day in raw["days"]],
            raw=raw,
            upload_bytes=raw.get("limits", {}).get("upload_bytes"),
        )


@dataclass(frozen=True)
class FineTuned:
    """A model made for your images.

    `promoted`: it beat its base on images that it did not learn from. `scores` are in dB, estimated without clean
    images; `alpha` and `sigma` are the noise of the set, normalised. `kept` and `left_out` count files.
    `method` is the one that was used; `noise` and `frames` say what was found of noise that neighbours share and of
    frames that belong together, and which way was taken.
    """

    model: str
    job_id: str
    promoted: bool
    scores: dict[str, float]
    alpha: float | None
    sigma: float | None
    kept: int
    left_out: int
    warnings: list[str]
    frames: str | None = None
    method: str | None = None
    noise: str | None = None

    @classmethod
    def from_job(cls, job: Job) -> FineTuned:
        facts = job.result or {}
        return cls(
            model=facts["model"],
            job_id=job.id,
            promoted=facts["promoted"],
            scores=facts["scores"],
            alpha=facts.get("alpha"),
            sigma=facts.get("sigma"),
            kept=facts["set"]["kept"],
            left_out=facts["set"]["left_out"],
            warnings=facts["warnings"],
            frames=(facts.get("frames") or {}).get("sentence"),
            method=facts.get("method"),
            noise=facts.get("noise"),
        )


@dataclass(frozen=True)
class Event:
    """One event of a job: `type` is `state` or `progress`; `id` counts up from 1."""

    id: int
    type: str
    data: dict[str, Any]

    @property
    def progress(self) -> Progress | None:
        """How far the job is, if this event tells."""
        if self.type != "progress":
            return None
        return Progress(self.data["done"], self.data.get("total"), self.data.get("unit", "tile"))


@dataclass(frozen=True)
class Denoised:
    """A denoised image as a file's bytes.

    `alpha` and `sigma` are the estimated noise, normalised, None without a report. `warnings` say where the result
    should not be trusted; empty: there is no reason not to.
    """

    data: bytes = field(repr=False)
    media_type: str
    job_id: str
    model: str | None
    alpha: float | None
    sigma: float | None
    warnings: list[str] = field(default_factory=list)

    def save(self, path: str | Path) -> Path:
        """Write the file whole or not at all; a reader never sees half of it.

        Raises:
            ValueError: by its suffix the file would be of another kind than these bytes.
        """
        path = Path(path)
        if contradicts(path, self.media_type):
            suffix = SUFFIX.get(self.media_type, "")
            raise ValueError(
                f"{path} is no name for {self.media_type}, which {self.job_id} made: save it as {path.stem}{suffix}, "
                "or ask for another output_format."
            )
        partial = path.with_name(f".{path.name}.part")
        try:
            partial.write_bytes(self.data)
            partial.replace(path)
        except OSError:
            with suppress(OSError):
                partial.unlink()
            raise
        return path


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
