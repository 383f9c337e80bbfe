"""The work of a denoise job: bytes in, bytes out, and a report of what was done to them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import astuple, dataclass, replace
from io import SEEK_END, BytesIO
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from images import scratch
from images.crop import crop, place
from images.decode import Decoded, decode
from images.encode import encode_to, lost
from images.limits import MIB, Limits
from images.note import compose
from model import Denoiser
from model.arrays.missing import find
from model.inference.line_step import LineStep, Whole
from model.inference.rounding import Rounding
from model.report.layout import SAME, Layout
from store import faults
from store.blobs import Blobs
from store.job import Outcome
from store.options import DenoiseOptions
from worker.attempt import Attempt
from worker.choice import choose
from worker.cut import NAME as CUT
from worker.cut import Cut
from worker.errors import Refused
from worker.metrics import WorkerMetrics
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
    why: str


@dataclass(frozen=True)
class Result:
    """The encoded image in an open file: in memory, or on disk if it is large."""

    file: IO[bytes]
    media_type: str
    extension: str


class DenoiseWork:
    """Runs denoise jobs with warm models. A large stack goes through page by page and never stands in memory."""

    def __init__(
        self,
        blobs: Blobs,
        models: WarmModels,
        limits: Limits,
        take_cores: Callable[[int], None] = lambda pixels: None,
        metrics: WorkerMetrics | None = None,
    ) -> None:
        """`take_cores` hears an image's pixels before the network runs, to choose how many threads it may use."""
        self._blobs = blobs
        self._models = models
        self._limits = limits
        self._take_cores = take_cores
        self._metrics = metrics

    def __call__(self, attempt: Attempt, stages: Stages) -> Outcome:
        """Denoise the job's image and store result and report under keys of this attempt.

        Raises:
            ImageError, ModelError, ModelNotFound, OptionsNotUnderstood, Refused: the job cannot work.
            BlobStoreError: the bytes could not be read or written.
            Stopped: the attempt should not go on.
        """
        options = DenoiseOptions.read(attempt.job.options)
        decoded, seed = self._fetch(attempt, options, stages)
        attempt.check()
        made = self._compute(attempt, options, decoded, seed, stages)
        with _room(decoded) as file:
            with stages("encode"):
                result = _encoded(file, options, made)
            attempt.check()
            return self._store(attempt, made, result, stages)

    def _fetch(self, attempt: Attempt, options: DenoiseOptions, stages: Stages) -> tuple[Decoded, int]:
        """The image, and the start of its file's SHA-256 as a number."""
        job = attempt.job
        if job.input_key is None:
            raise Refused("input_gone", "The bytes of this job were deleted before a worker took it.")
        if (job.input or {}).get("bytes", 0) > IN_MEMORY:
            return self._fetch_large(job.input_key, attempt, options, stages)
        with stages("store"):
            data = self._blobs.get(job.input_key)
        with stages("decode"):
            return decode(data, self._limits, options.mosaic, attempt.check), _number(hashlib.sha256(data))

    def _fetch_large(self, key: str, attempt: Attempt, options: DenoiseOptions, stages: Stages) -> tuple[Decoded, int]:
        digest = hashlib.sha256()
        with scratch.file() as file:
            with stages("store"):
                for chunk in self._blobs.stream(key):
                    digest.update(chunk)
                    file.write(chunk)
                file.flush()
            with stages("decode"):
                return decode(file.fileno(), self._limits, options.mosaic, attempt.check), _number(digest)

    def _compute(
        self, attempt: Attempt, options: DenoiseOptions, decoded: Decoded, seed: int, stages: Stages
    ) -> Denoised:
        missing = find(decoded.pixels, decoded.missing, decoded.shift)
        choice = choose(self._models.register, attempt.job, options, decoded, missing)
        denoiser = self._models.get(choice.model)
        decoded = replace(decoded, warnings=(*decoded.warnings, *choice.warnings, *_doubts(denoiser, decoded)))
        scalings = denoiser.scalings(decoded.pixels, options.normalize, decoded.page_channels, missing)
        lines = LineStep(options.lines)
        if options.roi is not None:  # cut out last, so that a preview is what the whole result will be there
            whole, region = decoded, astuple(options.roi)
            decoded = crop(whole, *region)
            lines = LineStep(options.lines, Whole(whole.pixels, missing, *place(whole, *region)))
            missing = replace(missing, declared=decoded.missing)
        absent = lost(decoded, options.output_format, options.metadata, options.output_dtype)
        decoded = replace(decoded, warnings=(*decoded.warnings, *absent))
        noisy = decoded.pixels
        out = scratch.empty(noisy.shape, options.output_dtype or noisy.dtype)

        def on_page(done: int, total: int) -> None:
            scratch.release(noisy)
            scratch.release(out)
            if total > 1:
                attempt.on_page(done, total)

        self._take_cores(noisy.shape[0] * noisy.shape[1] * noisy.shape[2])
        halved = denoiser.out_of_memory_retries
        with stages("compute"):
            pixels, report = denoiser.denoise_with_report(
                noisy,
                strength=options.strength,
                normalize=scalings,
                page_channels=decoded.page_channels,
                page_series=decoded.series,
                top=None if decoded.top is None else int(decoded.top),
                on_tile=attempt.on_tile if len(noisy) == 1 else attempt.on_tile_of_page,
                on_page=on_page,
                out=out,
                report=options.report,
                missing=missing,
                rounding=_rounding(options, decoded, seed),
                lines=lines,
                kind=choice.kind if options.roi is None else None,
                layout=_layout(decoded),
            )
        if self._metrics:
            self._metrics.observe_compute(denoiser.backend, denoiser.out_of_memory_retries - halved)
        numbers = None
        if report is not None:
            numbers = _in_file_units(report.to_dict(), decoded)
            numbers["warnings"] = [*decoded.warnings, *numbers["warnings"]]
        return Denoised(decoded, pixels, numbers, denoiser, choice.why)

    def _store(self, attempt: Attempt, made: Denoised, result: Result, stages: Stages) -> Outcome:
        numbers = made.report
        facts = _facts(made, result)
        files: dict[str, bytes | IO[bytes]] = {f"result{result.extension}": _from_start(result.file)}
        if numbers is not None:
            with stages("report"):
                files[CUT] = Cut.of(made.decoded.pixels, made.pixels).to_bytes()
            files["report.json"] = json.dumps(numbers | _about(made, stages)).encode()
        with stages("store"):
            for name, data in files.items():
                self._blobs.put(attempt.key(name), data)
        faults.point("stored")
        return Outcome(
            result_key=attempt.key(f"result{result.extension}"),
            report_key=attempt.key("report.json") if numbers else None,
            result=facts,
            timings=stages.seconds,
            progress=attempt.progress,
        )


def _about(made: Denoised, stages: Stages) -> dict[str, Any]:
    """What the report says of how it was made."""
    return {
        "model": made.denoiser.name,
        "model_sha256": made.denoiser.sha256,
        "model_reason": made.why,
        "backend": made.denoiser.backend,
        "timings": stages.seconds,
    }


def _number(digest: hashlib._Hash) -> int:
    return int.from_bytes(digest.digest()[:8], "little")


def _rounding(options: DenoiseOptions, decoded: Decoded, seed: int) -> Rounding:
    """By the file and the place in it, so that a crop and another attempt have the pixels of the whole."""
    whole = np.dtype(decoded.info.dtype).kind in "iu" and options.output_dtype is None
    y, x = (options.roi.y, options.roi.x) if options.roi else (0, 0)
    step = 1 if decoded.sites is None else 2
    return Rounding(seed, y // step, x // step, integers=whole)


def _layout(decoded: Decoded) -> Layout:
    """How the report names places: those of a mosaic's planes as the mosaic's."""
    sites = decoded.sites
    return SAME if sites is None else Layout(2, sites.top, sites.left, sites.height, sites.width)


def _in_file_units(numbers: dict[str, Any], decoded: Decoded) -> dict[str, Any]:
    """The report with brightness and noise in the numbers that other programs show for the file's samples."""
    units = decoded.units
    for of in (numbers, *numbers["channels"]):
        of["black_native"] = units.value(of["black_native"] - decoded.shift)
        of["alpha_native"] *= abs(units.scale)
        of["sigma_native"] *= abs(units.scale)
    for of in (numbers["noise_kind"], numbers["noise_kind"].get("after") or {}):
        for name in ("std", "row_lines", "column_lines"):
            if name in of:
                of[name] *= abs(units.scale)
        for pattern in of.get("patterns", ()):
            pattern["amplitude"] *= abs(units.scale)
    return numbers | {"unit_native": units.name}


def _room(decoded: Decoded) -> IO[bytes]:
    """An empty file for the result: on disk if the image is large."""
    return scratch.file() if decoded.pixels.nbytes > scratch.LARGE else BytesIO()


def _encoded(file: IO[bytes], options: DenoiseOptions, made: Denoised) -> Result:
    note = compose(made.denoiser.name)
    media_type, extension = encode_to(
        file, made.decoded, made.pixels, options.output_format, options.metadata, note, options.output_dtype
    )
    return Result(file, media_type, extension)


def _from_start(file: IO[bytes]) -> bytes | IO[bytes]:
    """A file as the blob store takes it."""
    if isinstance(file, BytesIO):
        return file.getvalue()
    file.seek(0)
    return file


def _doubts(denoiser: Denoiser, decoded: Decoded) -> list[str]:
    """A model can be worse than its base, or see less than it was made for, but never silently."""
    doubts = []
    if denoiser.card.get("promoted") is False:
        doubts.append(
            f"The model {denoiser.name} did not beat its base on images that it did not learn from: compare with that."
        )
    if denoiser.frames > 1 and len(set(decoded.series)) == len(decoded.series):
        doubts.append(
            f"The model {denoiser.name} sees {denoiser.frames} frames of a stack at once, and here no page has a "
            "neighbour, so it saw each by itself: send the stack, or use a model for single images."
        )
    return doubts


def _facts(made: Denoised, result: Result) -> dict[str, Any]:
    result.file.seek(0)
    digest = hashlib.file_digest(result.file, "sha256").hexdigest()  # type: ignore[arg-type]  # any binary file will do
    facts: dict[str, Any] = {
        "media_type": result.media_type,
        "extension": result.extension,
        "bytes": result.file.seek(0, SEEK_END),
        "sha256": digest,
        "width": made.decoded.info.width,
        "height": made.decoded.info.height,
        "model": made.denoiser.name,
        "model_sha256": made.denoiser.sha256,
        "warnings": list(made.decoded.warnings),
    }
    if made.report is not None:
        shown = ("alpha", "sigma", "alpha_native", "sigma_native", "noise_std_in", "noise_std_out", "warnings")
        facts |= {name: made.report[name] for name in shown}
    return facts
