"""Many small files as one job, by both clients and by `b2s`, against the real service."""

from __future__ import annotations

import asyncio
import itertools
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest

from b2s_client import AsyncClient, BatchImage, BatchResult, Client, Job, Retries, TimedOut, batches
from b2s_client.connection import client_arguments
from tests.harness import pictures
from tests.harness.images_of import noisy, png
from tests.harness.service_process import Service
from tests.harness.shell import Shell, write_noise

_SEEDS = itertools.count(5000)


def some(count: int) -> list[BatchImage]:
    """Images that no other test sends."""
    return [(f"{number}.png", png(noisy(24, 32, seed=next(_SEEDS)))) for number in range(count)]


def by_client(url: str, images: list[BatchImage], **options: Any) -> list[BatchResult]:
    with Client(url) as client:
        return list(client.denoise_batch(images, **options))


def by_async_client(url: str, images: list[BatchImage], **options: Any) -> list[BatchResult]:
    async def run() -> list[BatchResult]:
        async with AsyncClient(url) as client:
            return [result async for result in client.denoise_batch(images, **options)]

    return asyncio.run(run())


@pytest.fixture
def b2s(service: Service, tmp_path: Path) -> Shell:
    return Shell(service.url, tmp_path)


@pytest.mark.parametrize("denoise_batch", [by_client, by_async_client])
def test_each_file_has_a_result_or_its_error(service: Service, denoise_batch: Any, tmp_path: Path) -> None:
    write_noise(tmp_path / "x.png", next(_SEEDS))
    (first, data), *_ = some(1)
    images = [(first, data), ("bad.png", pictures.broken_png()), tmp_path / "x.png", ("text", b"not an image")]
    found = denoise_batch(service.url, images, strength=0.5)
    assert [(one.index, one.name, one.error and one.error.code) for one in found] == [
        (0, first, None),
        (1, "bad.png", "broken_image"),
        (2, str(tmp_path / "x.png"), None),
        (3, "text", "unsupported_format"),
    ]
    assert found[1].image is None and found[1].error.detail and len({one.job_id for one in found}) == 1
    with Client(service.url) as client:
        alone = client.denoise_bytes(data, strength=0.5)
        assert client.report(found[2].job_id, 2)["alpha"] == found[2].image.alpha
    made = found[0].image
    assert (made.data, made.media_type, made.model) == (alone.data, "image/png", alone.model)
    assert (made.alpha, made.sigma, made.warnings) == (alone.alpha, alone.sigma, alone.warnings)
    assert found[0].facts["bytes"] == len(made.data)
    assert made.save(tmp_path / "clean.png").read_bytes() == alone.data


@pytest.mark.parametrize("denoise_batch", [by_client, by_async_client])
def test_more_than_one_job_holds_are_several(
    service: Service, denoise_batch: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "FILES", 2)
    monkeypatch.setattr(batches, "IN_MEMORY_BYTES", 0)  # and what is large is sent from the disk
    images = some(5)
    found = denoise_batch(service.url, images)
    assert [one.name for one in found] == [name for name, _ in images]
    assert all(one.image for one in found)
    assert list(Counter(one.job_id for one in found).values()) == [2, 2, 1]
    again = denoise_batch(service.url, images)
    assert [one.job_id for one in again] == [one.job_id for one in found]  # the jobs were found again


class Lossy(httpx.HTTPTransport):
    """Loses the answer to the first request of each kind, when the service has done what it asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.lost: set[str] = set()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = super().handle_request(request)
        kind = f"{request.method} {request.url.path.rsplit('/', 1)[-1]}"
        if kind not in self.lost:
            self.lost.add(kind)
            response.read()
            response.close()
            raise httpx.ReadError("the connection was cut", request=request)
        return response


def test_lost_connections_cost_no_result_and_make_no_second_job(service: Service) -> None:
    transport = Lossy()
    with Client(service.url, retries=Retries(base_seconds=0.01)) as client:
        before = {job.id for job in client.jobs(limit=200)}
        client._http.close()
        client._http = httpx.Client(transport=transport, **client_arguments(service.url, None, 8))
        found = list(client.denoise_batch(some(3)))
        assert transport.lost == {"GET usage", "POST denoise", "GET results"}
        made = {job.id for job in client.jobs(limit=200)} - before
    assert made == {found[0].job_id} and [one.index for one in found if one.image] == [0, 1, 2]


def test_a_batch_is_followed_from_anywhere_and_its_cancel_is_told(service: Service) -> None:
    long: BatchImage = ("long.png", pictures.many_tiles().data)
    with Client(service.url) as client:
        job = client.submit_batch([*some(2), long, long])
        results = client.batch_results(job.id, first=1)
        assert next(results).index == 1
        with pytest.raises(TimedOut):
            list(client.batch_results(job.id, first=3, timeout=0.0))
        client.cancel(job.id)
        last = list(results)
        assert [(one.index, one.image is None) for one in last] == [(2, True), (3, True)]
        assert {one.error.code for one in last if one.error} == {"canceled"}
        kept = list(client.batch_results(job.id))
        assert [one.image is not None for one in kept] == [True, True, False, False]


def test_b2s_sends_many_small_files_as_batches(b2s: Shell) -> None:
    for number in range(60):
        write_noise(b2s.folder / f"in/{'ab'[number % 2]}/{number:02}.png", next(_SEEDS))
    write_noise(b2s.folder / "in/large.png", 1, side=600)
    (b2s.folder / "in/zip.png").write_bytes(b"PK\x03\x04")
    (b2s.folder / "in/broken.png").write_bytes(pictures.broken_png())
    lines = b2s.lines("denoise", "in", "-o", "out", code=1)
    by_state = {state: [line for line in lines if line["state"] == state] for state in ("done", "failed")}
    assert {Path(line["input"]).name for line in by_state["failed"]} == {"zip.png", "broken.png"}
    assert all(line["error"] for line in by_state["failed"]) and len(by_state["done"]) == 61
    jobs = {line["job_id"] for line in by_state["done"] if line["index"] is not None}
    assert len(jobs) == 3  # for several workers
    made = {str(path.relative_to(b2s.folder / "out")) for path in (b2s.folder / "out").rglob("*.png")}
    assert made == {str(Path(line["input"]).relative_to("in")) for line in by_state["done"]}
    with Client(b2s.environment["B2S_URL"]) as client:
        one = next(line for line in by_state["done"] if line["index"] is not None)
        result = next(client.batch_results(one["job_id"], first=one["index"]))
        assert result.image is not None and result.name == Path(one["input"]).name
        assert result.image.data == (b2s.folder / one["output"]).read_bytes()
        assert (result.image.alpha, result.image.warnings) == (one["alpha"], one["warnings"])
    (b2s.folder / "in/zip.png").unlink()
    (b2s.folder / "in/broken.png").unlink()
    assert "61 skipped" in b2s("denoise", "in", "-o", "out")
    again = b2s.lines("denoise", "in", "-o", "out", "--overwrite", "--strict", code=6)
    assert {line["state"] for line in again} == {"done"}


def test_b2s_finds_its_batches_again(b2s: Shell) -> None:
    for number in range(10):
        write_noise(b2s.folder / f"in/{number}.png", next(_SEEDS))
    first = b2s.lines("denoise", "in", "-o", "out")
    again = b2s.lines("denoise", "in", "-o", "other/")
    assert [line["job_id"] for line in again] == [line["job_id"] for line in first]
    assert len({line["job_id"] for line in again}) == 1


def jobs_of_many(client: Client) -> dict[str, Job]:
    return {job.id: job for job in client.jobs(limit=200) if "files" in job.raw["input"]}


def test_ctrl_c_cancels_the_rest_and_keeps_what_is_finished(b2s: Shell) -> None:
    count = 400  # seconds of work
    for number in range(count):
        write_noise(b2s.folder / f"in/{number:03}.png", next(_SEEDS), side=96)
    out = b2s.folder / "out"
    command = b2s.command("denoise", "in", "-o", "out")
    with Client(b2s.environment["B2S_URL"]) as client:
        before = jobs_of_many(client)
        with subprocess.Popen(command, cwd=b2s.folder, env=b2s.environment, stderr=subprocess.PIPE, text=True) as run:
            while not out.is_dir() or not list(out.glob("*.png")):
                assert run.poll() is None
                time.sleep(0.01)
            run.send_signal(signal.SIGINT)
            _, said = run.communicate(timeout=120)
        assert run.returncode == 130 and "run the same command again" in said
        mine = [client.job(job_id) for job_id in jobs_of_many(client).keys() - before.keys()]
        assert mine and all(job.final for job in mine)
        assert any(job.state == "canceled" for job in mine)
        finished = sum(result.image is not None for job in mine for result in _told(client, job))
    assert len(list(out.glob("*.png"))) == finished < count
    assert not list(out.glob(".*.part"))


def _told(client: Client, job: Job) -> list[BatchResult]:
    return list(client.batch_results(job.id))
