"""The client for ordinary code."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import date
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, Unpack

import httpx

from . import batches, flows
from .arrays import as_body, as_result, exact
from .batches import BatchImage, BatchResult
from .calls import Call, Flow
from .connection import CHUNK_BYTES, call_arguments, client_arguments, content, unreachable
from .errors import B2SError
from .events import EventReader, NoStream, is_stream
from .inputs import check_folder
from .retries import Retries
from .sets import Images, collect, training_seconds
from .suffixes import wanted_format
from .types import (
    Denoised,
    Event,
    FineTuned,
    FineTuneOptions,
    Job,
    Model,
    OnProgress,
    Options,
    Preview,
    Side,
    Usage,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Image = NDArray[Any] | str | Path

T = TypeVar("T")


class Client:
    """Talks to one service; keeps its connections. Safe to share between threads.

    Args:
        url: address of the service; default B2S_URL, else http://127.0.0.1:8000.
        api_key: default B2S_API_KEY.
        timeout: seconds to wait for a job by default.
    """

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        timeout: float = 600.0,
        retries: Retries | None = None,
        connections: int = 32,
    ) -> None:
        self._http = httpx.Client(**client_arguments(url, api_key, connections))
        self._timeout = timeout
        self._retries = retries or Retries()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def denoise(self, image: Image, *, timeout: float | None = None, **options: Unpack[Options]) -> NDArray[Any]:
        """The denoised image as an array.

        Args:
            image: an array (H, W), (H, W, C) or (N, H, W, C) of uint8, uint16 or float32, or the path of an image file.
            options: see `Options`.

        Returns:
            An array; of the same axes and type, if an array was given, and of the same shape but for a `roi`.

        Raises:
            ImageRefused, RequestRefused: another image or other options are needed.
            LimitReached: more than the key allows, and there is no room again soon; `retry_at` says when.
            JobFailed, JobCanceled, TimedOut: the job ended badly, or not in time.
            Unreachable, Unavailable: after several attempts.
        """
        seconds = self._timeout if timeout is None else timeout
        done = self._run(flows.denoise(as_body(image), exact(options), None, seconds))
        return as_result(done.data, image)

    def denoise_file(
        self,
        image: str | Path,
        to: str | Path,
        *,
        key: str | None = None,
        timeout: float | None = None,
        on_progress: OnProgress | None = None,
        **options: Unpack[Options],
    ) -> Denoised:
        """Denoise a file into another, in the format that its suffix names. Raises as `denoise`.

        Raises:
            ValueError: an image like this cannot be had as a file of that name; nothing was sent.
        """
        check_folder(to)
        if asked := wanted_format(Path(to), Path(image), options.get("output_format")):
            options = {**options, "output_format": asked}
        done = self.denoise_bytes(Path(image), key=key, timeout=timeout, on_progress=on_progress, **options)
        done.save(to)
        return done

    def denoise_bytes(
        self,
        image: bytes | Path,
        *,
        key: str | None = None,
        timeout: float | None = None,
        on_progress: OnProgress | None = None,
        **options: Unpack[Options],
    ) -> Denoised:
        """Denoise an image file, or the bytes of one; the result's bytes are in `data`. Raises as `denoise`.

        `on_progress` hears how far a job is that takes longer than a second.
        """
        seconds = self._timeout if timeout is None else timeout
        if on_progress is None:
            return self._run(flows.denoise(image, options, key, seconds))
        deadline = time.monotonic() + seconds
        begun = self._run(flows.begin(image, options, key, seconds, flows.OPEN_SECONDS))
        if isinstance(begun, Denoised):
            return begun
        for event in self._events(begun, EventReader(deadline=deadline)):
            if event.progress is not None:
                on_progress(event.progress)
        return self._run(flows.finish(begun, deadline - time.monotonic()))

    def submit(self, image: Image | bytes, *, key: str | None = None, **options: Unpack[Options]) -> Job:
        """Start a job and return at once; `key` makes it safe to ask twice."""
        body = image if isinstance(image, bytes) else as_body(image)
        return self._run(flows.submit(body, options, key))

    def denoise_batch(
        self, images: Iterable[BatchImage], *, timeout: float | None = None, **options: Unpack[Options]
    ) -> Iterator[BatchResult]:
        """Denoise many files as one job, or as several where the service or FILES and BYTES allow no more in one.

        Yields each result as soon as it is there, in order. A file that cannot be denoised has an `error` and stops no
        other. Asked for again it finds its jobs of before. What is sent is best small: a job's files are denoised one
        after another.

        Args:
            images: paths of image files, or names with the bytes of one. An archive (zip, tar) stands for its files.
            timeout: longest time in seconds without a result; default: the client's.
            options: see `Options`; they hold for every image.

        Raises:
            ValueError, FileNotFoundError: there are no such images.
            RequestRefused, ImageRefused, LimitReached: the service takes no such batch, or no file is an image.
            TimedOut, Unreachable, Unavailable: as `denoise`.
        """
        files = batches.listed(images)
        ahead: list[Job] = []  # one job is sent while the one before it is worked on
        for group in batches.grouped(files, self.batch_limits()):
            ahead.append(self._submit_batch(group, options, None))
            if len(ahead) > 1:
                yield from self.batch_results(ahead.pop(0).id, timeout=timeout)
        for job in ahead:
            yield from self.batch_results(job.id, timeout=timeout)

    def batch_limits(self) -> batches.Limits:
        """The most files and bytes of one batch, as the service says."""
        return self._run(batches.limits())

    def submit_batch(self, images: Iterable[BatchImage], *, key: str | None = None, **options: Unpack[Options]) -> Job:
        """Start one job of many files and return at once; `batch_results` follows it. Raises as `denoise_batch`.

        `key` makes it safe to ask twice; by default the same files with the same options have the same one.
        """
        return self._submit_batch(batches.listed(images), options, key)

    def _submit_batch(self, files: Sequence[batches.Sent], options: Options, key: str | None) -> Job:
        with batches.form(files) as (kind, body):
            return self._run(batches.submit(kind, body, options, key or batches.batch_key(files, options)))

    def batch_results(self, job_id: str, *, first: int = 0, timeout: float | None = None) -> Iterator[BatchResult]:
        """The results of a batch from index `first` on, each as soon as it is there; outlives lost connections.

        They end with the job, whichever way it ends: what was done before a cancel is told. Raises as `denoise_batch`,
        and NotFound, Gone.
        """
        following = batches.Following(job_id, self._timeout if timeout is None else timeout, first)
        while following.goes_on:
            yield from self._run(following.more())

    def finetune(
        self,
        images: Images,
        *,
        timeout: float | None = None,
        keep_dataset: bool = False,
        on_upload: Callable[[int, int], None] = lambda done, total: None,
        on_event: Callable[[Event], None] = lambda event: None,
        **options: Unpack[FineTuneOptions],
    ) -> FineTuned:
        """Make a model for images like these, from the noisy images alone.

        Cut off and called again, it uploads only what is missing and goes on with the job that runs.

        Args:
            images: a folder, files, or arrays (H, W) or (H, W, C).
            timeout: seconds to wait for the job, its events included; default: its minutes, and an hour in the queue.
            keep_dataset: leave the uploaded images on the server, for another run.
            on_upload: told (done, total) as images are uploaded.
            on_event: told of every event of the job.
            options: see `FineTuneOptions`.

        Raises:
            ValueError, FileNotFoundError: there are no such images.
            RequestRefused, JobFailed, JobCanceled, TimedOut, Unreachable, Unavailable: as `denoise`.
        """
        listed = collect(images)
        dataset_id = self._run(flows.fill(listed, lambda done: on_upload(done, len(listed))))
        job = self._run(flows.submit_finetune(dataset_id, options, listed))
        deadline = time.monotonic() + (training_seconds(options) if timeout is None else timeout)
        for event in self._events(job.id, EventReader(deadline=deadline)):
            on_event(event)
        made = FineTuned.from_job(self.wait(job.id, deadline - time.monotonic()))
        if not keep_dataset:
            with suppress(B2SError):  # another run may use it, or be done with it: that is no reason to lose the model
                self._run(flows.delete_dataset(dataset_id))
        return made

    def submit_finetune(
        self,
        images: Images,
        *,
        on_upload: Callable[[int, int], None] = lambda done, total: None,
        **options: Unpack[FineTuneOptions],
    ) -> Job:
        """Upload images, start a fine-tune and return at once; `FineTuned.from_job` reads what `wait` gives.

        The images stay on the server as the dataset that `Job.raw["dataset_id"]` names, until `delete_dataset`.
        Arguments and errors are those of `finetune`.
        """
        listed = collect(images)
        dataset_id = self._run(flows.fill(listed, lambda done: on_upload(done, len(listed))))
        return self._run(flows.submit_finetune(dataset_id, options, listed))

    def delete_dataset(self, dataset_id: str) -> None:
        """Remove uploaded images. Raises Conflict while a job learns from them."""
        self._run(flows.delete_dataset(dataset_id))

    def wait(self, job_id: str, timeout: float | None = None) -> Job:
        """The job once it has succeeded. Raises JobFailed, JobCanceled or TimedOut."""
        return self._run(flows.wait(job_id, self._timeout if timeout is None else timeout))

    def result(self, job_id: str) -> Denoised:
        """The image of a job that has succeeded. Raises Conflict while it has not, Gone once it is deleted."""
        return self._run(flows.result(job_id))

    def job(self, job_id: str) -> Job:
        """One job as it is now. Raises NotFound."""
        return self._run(flows.get_job(job_id))

    def jobs(self, state: str | None = None, limit: int = 50) -> list[Job]:
        """The newest jobs."""
        return self._run(flows.list_jobs(state, limit))

    def cancel(self, job_id: str) -> Job:
        """Ask a job to stop. Raises Conflict if it has ended."""
        return self._run(flows.cancel(job_id))

    def delete(self, job_id: str) -> None:
        """Remove the bytes of a job."""
        self._run(flows.delete(job_id))

    def report(self, job_id: str, index: int | None = None) -> dict[str, Any]:
        """What was measured: noise, residual, warnings; of a batch, in the file at `index`."""
        return self._run(flows.report(job_id, index))

    def report_picture(self, job_id: str) -> bytes:
        """The report drawn, as a PNG."""
        return self._run(flows.report_picture(job_id))

    def preview(
        self,
        job_id: str,
        side: Side = "after",
        *,
        page: int = 0,
        window: tuple[float, float] | None = None,
        max_side: int = 1024,
        channel: int | None = None,
    ) -> bytes:
        """The image of any format as a PNG of 8 bits for a screen: `before`, `after`, or the `residual` between them.

        Args:
            page: of a stack, from 0.
            window: the values, in the numbers that other programs show, that become black and white; None: by itself.
            max_side: most pixels of the longest side, up to 2048.
            channel: one channel, from 0, in gray; None: its colours.
        """
        return self._run(flows.preview(job_id, Preview(side, page, window, max_side, channel)))

    def delete_model(self, model_id: str) -> None:
        """Remove a fine-tuned model. Raises Conflict while a job uses it."""
        self._run(flows.delete_model(model_id))

    def weights(self, model_id: str) -> bytes:
        """A model's safetensors file."""
        return self._run(flows.weights(model_id))

    def usage(self, first: date | None = None, last: date | None = None) -> Usage:
        """What your tenant used on these days (UTC), by default the last 30, and what is left of today's quota."""
        return self._run(flows.usage(first, last))

    def models(self) -> list[Model]:
        """All models."""
        return self._run(flows.models())

    def model(self, name: str) -> Model:
        """A model by its id, or by the name that its maker gave it. Raises NotFound, or B2SError if several have it."""
        return self._run(flows.model(name))

    def events(self, job_id: str, after: int = 0) -> Iterator[Event]:
        """Events of a job behind number `after`, as they come, until it has ended; outlives lost connections."""
        return self._events(job_id, EventReader(after))

    def _events(self, job_id: str, reader: EventReader) -> Iterator[Event]:
        while reader.goes_on:
            try:
                yield from self._one_stream(job_id, reader)
                if reader.goes_on:
                    reader.closed(self.job(job_id).final)
            except (httpx.TransportError, NoStream) as error:
                time.sleep(reader.pause(error, self._retries, self._http.base_url))

    def _one_stream(self, job_id: str, reader: EventReader) -> Iterator[Event]:
        with self._http.stream(**reader.call(job_id)) as response:
            if not is_stream(response):
                response.read()
                raise NoStream(response)
            for line in response.iter_lines():
                yield from reader.feed(line)
                if reader.late:
                    return

    def _run(self, flow: Flow[T]) -> T:
        """Drive a flow: send what it yields, give it the answers."""
        try:
            call = next(flow)
            while True:
                call = flow.send(self._send(call))
        except StopIteration as end:
            value: T = end.value
            return value

    def _send(self, call: Call) -> httpx.Response:
        for attempt in range(1, self._retries.attempts + 1):
            response: httpx.Response | None = None
            try:
                response = self._send_once(call)
                failure = None
            except httpx.TransportError as error:
                failure = error
            pause = self._retries.pause(attempt, response)
            if pause is None and failure is not None:
                raise unreachable(self._http.base_url, failure) from failure
            if pause is None and response is not None:
                return response
            time.sleep(pause or 0.0)
        raise AssertionError("the last attempt has no pause")

    def _send_once(self, call: Call) -> httpx.Response:
        if not isinstance(call.body, Path):
            return self._http.request(**call_arguments(call), content=content(call))
        with call.body.open("rb") as file:
            return self._http.request(**call_arguments(call), content=iter(lambda: file.read(CHUNK_BYTES), b""))
