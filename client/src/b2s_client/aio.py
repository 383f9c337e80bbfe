"""The client for code that runs on an event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence
from contextlib import aclosing, suppress
from datetime import date
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar, Unpack

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


class AsyncClient:
    """Talks to one service; keeps its connections. Everything as `Client`, awaited.

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
        self._http = httpx.AsyncClient(**client_arguments(url, api_key, connections))
        self._timeout = timeout
        self._retries = retries or Retries()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def denoise(self, image: Image, *, timeout: float | None = None, **options: Unpack[Options]) -> NDArray[Any]:
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
        body = await asyncio.to_thread(as_body, image)
        done = await self._run(flows.denoise(body, exact(options), None, seconds))
        return await asyncio.to_thread(as_result, done.data, image)

    async def denoise_file(
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
        done = await self.denoise_bytes(Path(image), key=key, timeout=timeout, on_progress=on_progress, **options)
        await asyncio.to_thread(done.save, to)
        return done

    async def denoise_bytes(
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
            return await self._run(flows.denoise(image, options, key, seconds))
        deadline = time.monotonic() + seconds
        begun = await self._run(flows.begin(image, options, key, seconds, flows.OPEN_SECONDS))
        if isinstance(begun, Denoised):
            return begun
        async with aclosing(self._events(begun, EventReader(deadline=deadline))) as events:
            async for event in events:
                if event.progress is not None:
                    on_progress(event.progress)
        return await self._run(flows.finish(begun, deadline - time.monotonic()))

    async def submit(self, image: Image | bytes, *, key: str | None = None, **options: Unpack[Options]) -> Job:
        """Start a job and return at once; `key` makes it safe to ask twice."""
        body = image if isinstance(image, bytes) else await asyncio.to_thread(as_body, image)
        return await self._run(flows.submit(body, options, key))

    async def denoise_batch(
        self, images: Iterable[BatchImage], *, timeout: float | None = None, **options: Unpack[Options]
    ) -> AsyncIterator[BatchResult]:
        """Yields what became of each of many files, as `Client.denoise_batch` does, which says all of it."""
        files = await asyncio.to_thread(batches.listed, images)
        ahead: list[Job] = []  # one job is sent while the one before it is worked on
        for group in batches.grouped(files, await self.batch_limits()):
            ahead.append(await self._submit_batch(group, options, None))
            if len(ahead) > 1:
                async for result in self.batch_results(ahead.pop(0).id, timeout=timeout):
                    yield result
        for job in ahead:
            async for result in self.batch_results(job.id, timeout=timeout):
                yield result

    async def batch_limits(self) -> batches.Limits:
        """The most files and bytes of one batch, as the service says."""
        return await self._run(batches.limits())

    async def submit_batch(
        self, images: Iterable[BatchImage], *, key: str | None = None, **options: Unpack[Options]
    ) -> Job:
        """Start one job of many files and return at once; `batch_results` follows it. Raises as `denoise_batch`.

        `key` makes it safe to ask twice; by default the same files with the same options have the same one.
        """
        return await self._submit_batch(await asyncio.to_thread(batches.listed, images), options, key)

    async def _submit_batch(self, files: Sequence[batches.Sent], options: Options, key: str | None) -> Job:
        if key is None:
            key = await asyncio.to_thread(batches.batch_key, files, options)
        with batches.form(files) as (kind, body):
            return await self._run(batches.submit(kind, body, options, key))

    async def batch_results(
        self, job_id: str, *, first: int = 0, timeout: float | None = None
    ) -> AsyncIterator[BatchResult]:
        """The results of a batch from index `first` on, each as soon as it is there; outlives lost connections.

        They end with the job, whichever way it ends: what was done before a cancel is told. Raises as `denoise_batch`,
        and NotFound, Gone.
        """
        following = batches.Following(job_id, self._timeout if timeout is None else timeout, first)
        while following.goes_on:
            for result in await self._run(following.more()):
                yield result

    async def finetune(
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
        listed = await asyncio.to_thread(collect, images)
        dataset_id = await self._run(flows.fill(listed, lambda done: on_upload(done, len(listed))))
        job = await self._run(flows.submit_finetune(dataset_id, options, listed))
        deadline = time.monotonic() + (training_seconds(options) if timeout is None else timeout)
        async with aclosing(self._events(job.id, EventReader(deadline=deadline))) as events:
            async for event in events:
                on_event(event)
        made = FineTuned.from_job(await self.wait(job.id, deadline - time.monotonic()))
        if not keep_dataset:
            with suppress(B2SError):  # another run may use it, or be done with it: that is no reason to lose the model
                await self._run(flows.delete_dataset(dataset_id))
        return made

    async def submit_finetune(
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
        listed = await asyncio.to_thread(collect, images)
        dataset_id = await self._run(flows.fill(listed, lambda done: on_upload(done, len(listed))))
        return await self._run(flows.submit_finetune(dataset_id, options, listed))

    async def delete_dataset(self, dataset_id: str) -> None:
        """Remove uploaded images. Raises Conflict while a job learns from them."""
        await self._run(flows.delete_dataset(dataset_id))

    async def wait(self, job_id: str, timeout: float | None = None) -> Job:
        """The job once it has succeeded. Raises JobFailed, JobCanceled or TimedOut."""
        return await self._run(flows.wait(job_id, self._timeout if timeout is None else timeout))

    async def result(self, job_id: str) -> Denoised:
        """The image of a job that has succeeded. Raises Conflict while it has not, Gone once it is deleted."""
        return await self._run(flows.result(job_id))

    async def job(self, job_id: str) -> Job:
        """One job as it is now. Raises NotFound."""
        return await self._run(flows.get_job(job_id))

    async def jobs(self, state: str | None = None, limit: int = 50) -> list[Job]:
        """The newest jobs."""
        return await self._run(flows.list_jobs(state, limit))

    async def cancel(self, job_id: str) -> Job:
        """Ask a job to stop. Raises Conflict if it has ended."""
        return await self._run(flows.cancel(job_id))

    async def delete(self, job_id: str) -> None:
        """Remove the bytes of a job."""
        await self._run(flows.delete(job_id))

    async def report(self, job_id: str, index: int | None = None) -> dict[str, Any]:
        """What was measured: noise, residual, warnings; of a batch, in the file at `index`."""
        return await self._run(flows.report(job_id, index))

    async def report_picture(self, job_id: str) -> bytes:
        """The report drawn, as a PNG."""
        return await self._run(flows.report_picture(job_id))

    async def preview(
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
        return await self._run(flows.preview(job_id, Preview(side, page, window, max_side, channel)))

    async def delete_model(self, model_id: str) -> None:
        """Remove a fine-tuned model. Raises Conflict while a job uses it."""
        await self._run(flows.delete_model(model_id))

    async def weights(self, model_id: str) -> bytes:
        """A model's safetensors file."""
        return await self._run(flows.weights(model_id))

    async def usage(self, first: date | None = None, last: date | None = None) -> Usage:
        """What your tenant used on these days (UTC), by default the last 30, and what is left of today's quota."""
        return await self._run(flows.usage(first, last))

    async def models(self) -> list[Model]:
        """All models."""
        return await self._run(flows.models())

    async def model(self, name: str) -> Model:
        """A model by its id, or by the name that its maker gave it. Raises NotFound, or B2SError if several have it."""
        return await self._run(flows.model(name))

    async def events(self, job_id: str, after: int = 0) -> AsyncIterator[Event]:
        """Events of a job behind number `after`, as they come, until it has ended; outlives lost connections."""
        async with aclosing(self._events(job_id, EventReader(after))) as events:
            async for event in events:
                yield event

    async def _events(self, job_id: str, reader: EventReader) -> AsyncGenerator[Event, None]:
        while reader.goes_on:
            try:
                async with aclosing(self._one_stream(job_id, reader)) as events:
                    async for event in events:
                        yield event
                if reader.goes_on:
                    reader.closed((await self.job(job_id)).final)
            except (httpx.TransportError, NoStream) as error:
                await asyncio.sleep(reader.pause(error, self._retries, self._http.base_url))

    async def _one_stream(self, job_id: str, reader: EventReader) -> AsyncGenerator[Event, None]:
        async with self._http.stream(**reader.call(job_id)) as response:
            if not is_stream(response):
                await response.aread()
                raise NoStream(response)
            async for line in response.aiter_lines():
                for event in reader.feed(line):
                    yield event
                if reader.late:
                    return

    async def _run(self, flow: Flow[T]) -> T:
        """Drive a flow: send what it yields, give it the answers."""
        try:
            call = next(flow)
            while True:
                call = flow.send(await self._send(call))
        except StopIteration as end:
            value: T = end.value
            return value

    async def _send(self, call: Call) -> httpx.Response:
        for attempt in range(1, self._retries.attempts + 1):
            response: httpx.Response | None = None
            try:
                response = await self._send_once(call)
                failure = None
            except httpx.TransportError as error:
                failure = error
            pause = self._retries.pause(attempt, response)
            if pause is None and failure is not None:
                raise unreachable(self._http.base_url, failure) from failure
            if pause is None and response is not None:
                return response
            await asyncio.sleep(pause or 0.0)
        raise AssertionError("the last attempt has no pause")

    async def _send_once(self, call: Call) -> httpx.Response:
        if not isinstance(call.body, Path):
            return await self._http.request(**call_arguments(call), content=content(call))
        with call.body.open("rb") as file:
            return await self._http.request(**call_arguments(call), content=_chunks(file))


async def _chunks(file: BinaryIO) -> AsyncIterator[bytes]:
    while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
        yield chunk
