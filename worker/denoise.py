"""The work of a denoise job: bytes in, bytes out, and a report of what was done to them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from io import SEEK_END, BytesIO
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from images import scratch
from images.decode import Decoded, decode
from images.encode import encode_to
from images.limits import MIB, Limits
from images.note import compose
from model import Denoiser
from model.related import are_related
from store import faults
from store.blobs import Blobs, attempt_key
from store.job import Job, Outcome
from worker import picture
from worker.attempt import Attempt
from worker.crop import crop
from worker.errors import Refused
from worker.stages import Stages
from worker.warm_models import WarmModels

IN_MEMORY = 64 * MIB
"""Uploads over this many bytes are decoded from a file on disk."""


@dataclass(frozen=True)
class Denoised:
    """What the model made: pixels as the decoded ones, and the report if one was asked for."""

    decoded: Decoded
    pixels: NDArray[Any]  # (N, H, W, C)
    report: dict[str, Any] | None
    denoiser: Denoiser


@dataclass(frozen=True)
class Result:
    """The encoded image in an open file: in memory, or on disk if it is large."""

    file: IO[bytes]
    media_type: str
    extension: str


class DenoiseWork:
    """Runs denoise jobs with warm models. A large stack goes through page by page and never stands in memory."""

    def __init__(
        self, blobs: Blobs, models: WarmModels, limits: Limits, take_cores: Callable[[], None] = lambda: None
    ) -> None:
        """`take_cores` is called before the network runs: how many threads it may use depends on who else works."""
        self._blobs = blobs
        self._models = models
        self._limits = limits
        self._take_cores = take_cores

    def __call__(self, attempt: Attempt, stages: Stages) -> Outcome:
        """Denoise the job's image and store result and report under keys of this attempt.

        Raises:
            ImageError, ModelError, ModelNotFound, Refused: the job cannot work.
            BlobStoreError: the bytes could not be read or written.
            Stopped: the attempt should not go on.
        """
        job = attempt.job
        decoded = self._fetch(job, stages)
        attempt.check()
        made = self._compute(attempt, decoded, stages)
        with _room(decoded) as file:
            with stages("encode"):
                result = _encoded(file, job, made)
            attempt.check()
            return self._store(attempt, made, result, stages)

    def _fetch(self, job: Job, stages: Stages) -> Decoded:
        if job.input_key is None:
            raise Refused("input_gone", "The bytes of this job were deleted before a worker took it.")
        if (job.input or {}).get("bytes", 0) > IN_MEMORY:
            return self._fetch_large(job.input_key, stages)
        with stages("store"):
            data = self._blobs.get(job.input_key)
        with stages("decode"):
            return decode(data, self._limits)

    def _fetch_large(self, key: str, stages: Stages) -> Decoded:
        with scratch.file() as file:
            with stages("store"):
                for chunk in self._blobs.stream(key):
                    file.write(chunk)
                file.flush()
            with stages("decode"):
                return decode(f"/proc/self/fd/{file.fileno()}", self._limits)

    def _denoiser(self, job: Job, decoded: Decoded) -> tuple[Denoiser, list[str]]:
        """The model that the job asks for or that fits its image, and what the user should know of the choice."""
        channels = decoded.pixels.shape[-1]
        middle = decoded.pixels[len(decoded.pixels) // 2]
        if channels == 3 and not self._was_chosen(job) and not are_related(middle):
            return self._models.for_job(None, job.tenant, 1), [_UNRELATED]
        denoiser = self._models.for_job(job.model, job.tenant, channels)
        return denoiser, _warnings(denoiser)

    def _was_chosen(self, job: Job) -> bool:
        """Whether the user named the model; older gateways filled in `job.model` without saying who chose it."""
        return "model" in job.options or job.model not in (None, self._models.default(3).id)

    def _compute(self, attempt: Attempt, decoded: Decoded, stages: Stages) -> Denoised:
        job = attempt.job
        denoiser, remarks = self._denoiser(job, decoded)
        decoded = replace(decoded, warnings=(*decoded.warnings, *remarks))
        scalings = denoiser.scalings(decoded.pixels, job.options.get("normalize", "auto"), decoded.page_channels)
        if job.options.get("roi"):  # cut out last, so that a preview is what the whole result will be there
            decoded = crop(decoded, job.options["roi"])
        noisy = decoded.pixels
        out = scratch.empty(noisy.shape, noisy.dtype)

        def on_page(done: int, total: int) -> None:
            scratch.release(noisy)
            scratch.release(out)
            if total > 1:
                attempt.on_page(done, total)

        self._take_cores()
        with stages("compute"):
            pixels, report = denoiser.denoise_with_report(
                noisy,
                strength=job.options.get("strength", 1.0),
                normalize=scalings,
                page_channels=decoded.page_channels,
                top=None if decoded.top is None else int(decoded.top),
                on_tile=attempt.on_tile if len(noisy) == 1 else attempt.on_tile_of_page,
                on_page=on_page,
                out=out,
                report=job.options.get("report", True),
            )
        numbers = None
        if report is not None:
            numbers = _in_file_units(report.to_dict(), decoded.shift)
            numbers["warnings"] = [*decoded.warnings, *numbers["warnings"]]
        return Denoised(decoded, pixels, numbers, denoiser)

    def _store(self, attempt: Attempt, made: Denoised, result: Result, stages: Stages) -> Outcome:
        job, numbers = attempt.job, made.report
        facts = _facts(made, result)
        files: dict[str, bytes | IO[bytes]] = {f"result{result.extension}": _from_start(result.file)}
        if numbers is not None:
            with stages("report"):
                files["report.png"] = picture.draw(made.decoded.pixels, made.pixels, numbers)
            about = {"model": made.denoiser.name, "model_sha256": made.denoiser.sha256, "timings": stages.seconds}
            files["report.json"] = json.dumps(numbers | about).encode()
        with stages("store"):
            for name, data in files.items():
                self._blobs.put(attempt_key(job.id, job.attempt, name), data)
        faults.point("stored")
        return Outcome(
            result_key=attempt_key(job.id, job.attempt, f"result{result.extension}"),
            report_key=attempt_key(job.id, job.attempt, "report.json") if numbers else None,
            picture_key=attempt_key(job.id, job.attempt, "report.png") if numbers else None,
            result=facts,
            timings=stages.seconds,
            progress=attempt.progress,
        )


def _in_file_units(numbers: dict[str, Any], shift: int) -> dict[str, Any]:
    """The report with brightness as the file's own samples count it, which may be negative."""
    for of in (numbers, *numbers["channels"]):
        of["black_native"] -= shift
    return numbers


def _room(decoded: Decoded) -> IO[bytes]:
    """An empty file for the result: on disk if the image is large."""
    return scratch.file() if decoded.pixels.nbytes > scratch.LARGE else BytesIO()


def _encoded(file: IO[bytes], job: Job, made: Denoised) -> Result:
    options, note = job.options, compose(made.denoiser.name)
    media_type, extension = encode_to(
        file, made.decoded, made.pixels, options.get("output_format"), options.get("metadata", "keep"), note
    )
    return Result(file, media_type, extension)


def _from_start(file: IO[bytes]) -> bytes | IO[bytes]:
    """A file as the blob store takes it."""
    if isinstance(file, BytesIO):
        return file.getvalue()
    file.seek(0)
    return file


_UNRELATED = (
    "The three channels do not show one scene as a photograph's do, so each was denoised by itself; `model=base-rgb` "
    "makes the model for photographs take them together."
)


def _warnings(denoiser: Denoiser) -> list[str]:
    """A model can be worse than its base, but never silently."""
    if denoiser.card.get("promoted") is not False:
        return []
    return [f"The model {denoiser.name} did not beat its base on images that it did not learn from: compare with that."]


def _facts(made: Denoised, result: Result) -> dict[str, Any]:
    result.file.seek(0)
    digest = hashlib.file_digest(result.file, "sha256").hexdigest()  # type: ignore[arg-type]  # any binary file will do
    facts: dict[str, Any] = {
        "media_type": result.media_type,
        "extension": result.extension,
        "bytes": result.file.seek(0, SEEK_END),
        "sha256": digest,
        "width": int(np.shape(made.pixels)[2]),
        "height": int(np.shape(made.pixels)[1]),
        "model": made.denoiser.name,
        "warnings": list(made.decoded.warnings),
    }
    if made.report is not None:
        shown = ("alpha", "sigma", "alpha_native", "sigma_native", "noise_std_in", "noise_std_out", "warnings")
        facts |= {name: made.report[name] for name in shown}
    return facts
