"""What takes long, as generators that say how far they are; an event that is set meanwhile cancels the job."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from threading import Event
from typing import Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from b2s_client import Client, FineTuned
from b2s_client.arrays import as_result
from b2s_client.errors import B2SError
from b2s_client.types import FineTuneOptions, Job, Options

Array = NDArray[Any]
ASK_SECONDS = 0.3  # between two looks at a job


@dataclass(frozen=True)
class Step:
    """How far the work is: words, and a share of 1 where it is known."""

    words: str
    share: float | None = None


@dataclass(frozen=True)
class Cleaned:
    """A denoised array, of the shape and type of what was sent, and what the service says of it."""

    pixels: Array
    model: str | None
    report: dict[str, Any]
    warnings: list[str]

    @property
    def facts(self) -> dict[str, Any]:
        """For the layer's metadata."""
        return {"model": self.model, "report": self.report, "warnings": self.warnings}

    @property
    def sentence(self) -> str:
        """What was found, in a line."""
        noise = (
            f"noise α {self.report['alpha_native']:.3g}, σ {self.report['sigma_native']:.3g} (in the layer's numbers)"
        )
        return f"Denoised by {self.model}; {noise}."


def denoise(client: Client, pixels: Array, options: Options, stop: Event) -> Generator[Step, None, Cleaned]:
    """Send an array, wait, and fetch the result.

    Raises:
        B2SError: as `Client.denoise`; its text says what to do. JobCanceled, once `stop` is set.
        ValueError: an array of a shape or type that the service does not take.
    """
    yield Step("Sending")
    job = client.submit(pixels, key=str(uuid4()), output_format="tiff", **options)
    yield from _watched(client, job, "Denoising", stop)
    done = client.result(job.id)
    report = client.report(job.id)
    return Cleaned(np.ascontiguousarray(as_result(done.data, pixels)), done.model, report, list(done.warnings))


def finetune(
    client: Client, images: Sequence[Array], options: FineTuneOptions, stop: Event
) -> Generator[Step, None, FineTuned]:
    """Make a model of noisy images alone. Raises as `denoise`."""
    yield Step(f"Sending {len(images)} images")
    job = client.submit_finetune(images, **options)
    try:
        yield from _watched(client, job, "Learning", stop)
        return FineTuned.from_job(client.wait(job.id))
    finally:
        with suppress(B2SError):  # another run may use the images
            client.delete_dataset(job.raw["dataset_id"])


def _watched(client: Client, job: Job, words: str, stop: Event) -> Generator[Step, None, None]:
    """Says how far a job is until it has ended; raises as `Client.wait` if it did not succeed."""
    while not job.final:
        if job.queue_position:
            yield Step(f"Waiting behind {job.queue_position} others")
        else:
            done, total = job.progress.done, job.progress.total
            yield Step(words, done / total if total else None)
        if stop.wait(ASK_SECONDS):
            with suppress(B2SError):  # it may have ended meanwhile
                client.cancel(job.id)
            break
        job = client.job(job.id)
    client.wait(job.id)
