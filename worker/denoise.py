"""The work of a denoise job: bytes in, bytes out, and a report of what was done to them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from images.decode import Decoded, decode
from images.encode import Encoded, encode
from images.limits import Limits
from images.note import compose
from model import Denoiser
from store import faults
from store.blobs import Blobs, attempt_key
from store.job import Job, Outcome
from worker import picture
from worker.attempt import Attempt
from worker.crop import crop
from worker.errors import Refused
from worker.stages import Stages
from worker.warm_models import WarmModels


@dataclass(frozen=True)
class Denoised:
    """What the model made: pixels as the decoded ones, and the report if one was asked for."""

    decoded: Decoded
    pixels: NDArray[Any]  # (N, H, W, C)
    report: dict[str, Any] | None
    denoiser: Denoiser


class DenoiseWork:
    """Runs denoise jobs with warm models."""

    def __init__(self, blobs: Blobs, models: WarmModels, limits: Limits) -> None:
        self._blobs = blobs
        self._models = models
        self._limits = limits

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
        options = job.options
        with stages("encode"):
            note = compose(made.denoiser.name)
            encoded = encode(decoded, made.pixels, options.get("output_format"), options.get("metadata", "keep"), note)
        attempt.check()
        return self._store(attempt, made, encoded, stages)

    def _fetch(self, job: Job, stages: Stages) -> Decoded:
        if job.input_key is None:
            raise Refused("input_gone", "The bytes of this job were deleted before a worker took it.")
        with stages("store"):
            data = self._blobs.get(job.input_key)
        with stages("decode"):
            decoded = decode(data, self._limits)
        return crop(decoded, job.options["roi"]) if job.options.get("roi") else decoded

    def _compute(self, attempt: Attempt, decoded: Decoded, stages: Stages) -> Denoised:
        job = attempt.job
        denoiser = self._models.for_job(job.model, job.tenant, decoded.pixels.shape[-1])
        with stages("compute"):
            pixels, report = denoiser.denoise_with_report(
                decoded.pixels,
                strength=job.options.get("strength", 1.0),
                normalize=job.options.get("normalize", "auto"),
                on_tile=attempt.on_tile,
                report=job.options.get("report", True),
            )
        numbers = None
        if report is not None:
            numbers = report.to_dict()
            numbers["warnings"] = [*decoded.warnings, *numbers["warnings"]]
        return Denoised(decoded, pixels, numbers, denoiser)

    def _store(self, attempt: Attempt, made: Denoised, encoded: Encoded, stages: Stages) -> Outcome:
        job, numbers = attempt.job, made.report
        files = {f"result{encoded.extension}": encoded.data}
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
            result_key=attempt_key(job.id, job.attempt, f"result{encoded.extension}"),
            report_key=attempt_key(job.id, job.attempt, "report.json") if numbers else None,
            picture_key=attempt_key(job.id, job.attempt, "report.png") if numbers else None,
            result=_facts(made, encoded),
            timings=stages.seconds,
            progress=attempt.progress,
        )


def _facts(made: Denoised, encoded: Encoded) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "media_type": encoded.media_type,
        "extension": encoded.extension,
        "bytes": len(encoded.data),
        "sha256": hashlib.sha256(encoded.data).hexdigest(),
        "width": int(np.shape(made.pixels)[2]),
        "height": int(np.shape(made.pixels)[1]),
        "model": made.denoiser.name,
        "warnings": list(made.decoded.warnings),
    }
    if made.report is not None:
        shown = ("alpha", "sigma", "alpha_native", "sigma_native", "noise_std_in", "noise_std_out", "warnings")
        facts |= {name: made.report[name] for name in shown}
    return facts
