"""Both clients against the real service."""

import asyncio
import io
import ssl
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from numpy.typing import NDArray
from PIL import Image

import b2s_client as b2s
from b2s_client import AsyncClient, Client, Usage
from b2s_client.connection import client_arguments
from tests.harness import pictures
from tests.harness.service_process import ROOT, Service


def image_like(shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
    """A gradient with noise, of any shape; every channel and page differs."""
    generator = np.random.default_rng(3)
    values = np.clip(np.linspace(0.2, 0.7, int(np.prod(shape))).reshape(shape) + generator.normal(0, 0.02, shape), 0, 1)
    scale = {"uint8": 255, "uint16": 65535, "float32": 1.0}[dtype]
    return (values * scale).astype(dtype)


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((64, 48), "uint8"),
        ((64, 48), "uint16"),
        ((64, 48), "float32"),
        ((64, 48, 1), "uint16"),
        ((64, 48, 3), "uint8"),
        ((48, 64, 5), "uint16"),
        ((3, 64, 48, 1), "uint16"),
        ((2, 64, 48, 3), "float32"),
    ],
)
def test_an_array_comes_back_as_it_was_but_for_the_noise(client: Client, shape: tuple[int, ...], dtype: str) -> None:
    image = image_like(shape, dtype)
    same = client.denoise(image, strength=0.0, report=False)
    assert same.dtype == image.dtype and np.array_equal(same, image)  # nothing reordered on the way
    out = client.denoise(image)
    assert out.shape == image.shape and out.dtype == image.dtype
    assert not np.array_equal(out, image)


@pytest.mark.parametrize(
    ("shape", "part"),
    [
        ((64, 48), (9, 20)),
        ((64, 48, 1), (9, 20, 1)),
        ((64, 48, 3), (1, 20, 3)),
        ((64, 48, 5), (9, 1, 5)),
        ((1, 64, 48, 1), (1, 9, 20, 1)),
        ((3, 64, 48, 1), (3, 9, 20, 1)),
        ((2, 64, 48, 3), (2, 9, 20, 3)),
    ],
)
def test_a_crop_of_an_array_keeps_its_axes(client: Client, shape: tuple[int, ...], part: tuple[int, ...]) -> None:
    image = image_like(shape, "uint16")
    height, width = part[-2:] if len(part) == 2 else part[-3:-1]
    crop = client.denoise(image, roi=f"5,7,{width},{height}", strength=0.0, report=False)
    rows = (slice(None),) * (image.ndim == 4)
    assert crop.shape == part
    assert np.array_equal(crop, image[(*rows, slice(7, 7 + height), slice(5, 5 + width))])


@pytest.mark.parametrize("dtype", ["int64", "uint64", "float64", "int16"])
def test_an_array_comes_back_in_its_type(client: Client, dtype: str) -> None:
    image = image_like((64, 48), "uint8").astype(dtype)
    result = client.denoise(image, report=False)
    assert result.dtype == image.dtype and result.shape == image.shape and not np.array_equal(result, image)
    assert np.array_equal(client.denoise(image, strength=0.0, report=False), image)


def test_denoising_helps(client: Client) -> None:
    picture = pictures.tiff16()
    assert picture.gain(client.denoise(picture.noisy)) > 4


@pytest.mark.parametrize("image", [np.zeros((4, 4), "complex64"), np.zeros((0, 4), "uint8"), np.zeros(4, "uint8")])
def test_an_array_that_no_image_is_refused_before_it_is_sent(image: NDArray[Any]) -> None:
    with pytest.raises(ValueError, match=r"not taken|none of"):
        Client("http://127.0.0.1:9").denoise(image)


def test_a_file_becomes_a_file_of_its_kind(client: Client, tmp_path: Path) -> None:
    noisy = tmp_path / "noisy.png"
    noisy.write_bytes(pictures.png(3).data)
    done = client.denoise_file(noisy, tmp_path / "clean.png")
    assert (done.model, done.media_type) == ("base-rgb", "image/png")
    assert done.alpha is not None and done.alpha > 0
    with Image.open(tmp_path / "clean.png") as out:
        assert (out.size, out.mode) == ((512, 512), "RGB")
    assert client.report(done.job_id)["alpha"] == pytest.approx(done.alpha)
    assert client.report_picture(done.job_id).startswith(b"\x89PNG")
    before = Image.open(io.BytesIO(client.preview(done.job_id, "before")))
    assert np.array_equal(np.asarray(before), np.asarray(Image.open(noisy)))
    part = Image.open(io.BytesIO(client.preview(done.job_id, max_side=64, window=(0, 100), channel=1)))
    assert (part.size, part.mode) == ((64, 64), "L")
    with pytest.raises(b2s.ProblemError, match="page: 3 is not there"):
        client.preview(done.job_id, page=3)


def test_a_path_becomes_an_array(client: Client, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "in.tif", image_like((64, 48), "uint16"))
    assert client.denoise(tmp_path / "in.tif").shape == (64, 48)
    with pytest.raises(FileNotFoundError, match="missing"):
        client.denoise(tmp_path / "missing.tif")


def test_submit_wait_result_delete(client: Client) -> None:
    job = client.submit(pictures.png(1).data, key="client-1")
    assert client.submit(pictures.png(1).data, key="client-1").id == job.id
    assert client.wait(job.id).state == "succeeded"
    assert client.result(job.id).data.startswith(b"\x89PNG")
    assert job.id in [found.id for found in client.jobs("succeeded")]
    client.delete(job.id)
    with pytest.raises(b2s.Gone) as gone:
        client.result(job.id)
    assert gone.value.type == "/problems/result-gone"


def test_a_key_whose_job_was_deleted_runs_anew(client: Client, tmp_path: Path) -> None:
    noisy = tmp_path / "noisy.png"
    noisy.write_bytes(pictures.png(1).data)
    first = client.denoise_file(noisy, tmp_path / "a.png", key="client-2")
    again = client.denoise_file(noisy, tmp_path / "b.png", key="client-2")
    assert again.job_id == first.job_id
    client.delete(first.job_id)
    anew = client.denoise_file(noisy, tmp_path / "c.png", key="client-2")
    assert anew.job_id != first.job_id and anew.data == first.data


def test_errors_carry_the_problem(client: Client, tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("no image")
    with pytest.raises(b2s.ImageRefused) as refused:
        client.denoise(text)
    assert (refused.value.status, refused.value.type) == (415, "/problems/unsupported-media-type")
    assert refused.value.request_id and refused.value.problem["title"]
    with pytest.raises(b2s.RequestRefused, match="strength"):
        client.denoise(image_like((8, 8), "uint8"), strength=2.0)
    with pytest.raises(b2s.NotFound):
        client.job("job_0")


def test_a_failed_job_is_an_exception_with_the_job(client: Client, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(pictures.broken_png())
    with pytest.raises(b2s.JobFailed) as failed:
        client.denoise_file(broken, tmp_path / "out.png")
    assert failed.value.job.error is not None and failed.value.job.error.code == "broken_image"
    assert not (tmp_path / "out.png").exists()


def test_a_wait_that_is_too_short_says_where_the_job_is(client: Client) -> None:
    job = client.submit(pictures.many_tiles().data)
    with pytest.raises(b2s.TimedOut) as late:
        client.wait(job.id, timeout=0.1)
    assert late.value.job.id == job.id
    client.cancel(job.id)
    with pytest.raises(b2s.JobCanceled):
        client.wait(job.id)
    with pytest.raises(b2s.Conflict):
        client.result(job.id)


def test_events_until_the_end(client: Client) -> None:
    job = client.submit(pictures.png(1).data)
    events = list(client.events(job.id))
    assert [event.id for event in events] == list(range(1, len(events) + 1))
    assert events[-1].data["state"] == "succeeded"
    assert [event.id for event in client.events(job.id, after=2)] == [event.id for event in events[2:]]


def test_usage_tells_what_was_used_and_on_what(client: Client, service: Service) -> None:
    client.denoise(image_like((32, 40), "uint8"))
    today = datetime.now(UTC).date()
    used = client.usage(today - timedelta(days=1), today)
    (day,) = [day for day in used.days if day.kind == "denoise" and day.day >= today]
    assert (used.tenant, used.pixels_left_today) == ("default", None)
    assert day.succeeded >= 1 and day.pixels > 0 and day.worker_seconds > 0
    assert day.gpu_seconds == (day.worker_seconds if torch.cuda.is_available() else 0)
    assert client.usage(date(2020, 1, 1), date(2020, 1, 2)).days == []

    async def run() -> Usage:
        async with AsyncClient(service.url) as http:
            return await http.usage()

    assert asyncio.run(run()).tenant == "default"


def test_models(client: Client) -> None:
    assert {"base-gray", "base-rgb"} <= {model.id for model in client.models()}


def test_the_async_client_runs_many_at_once(service: Service) -> None:
    async def run() -> list[NDArray[Any]]:
        async with AsyncClient(service.url) as http:
            images = [image_like((32 + n, 40), "uint8") for n in range(6)]
            done = await asyncio.gather(*(http.denoise(image) for image in images))
            assert [out.shape for out in done] == [image.shape for image in images]
            assert (await http.denoise(images[0], roi="0,0,8,16")).shape == (16, 8)
            job = await http.submit(images[0])
            assert [event.data async for event in http.events(job.id)][-1]["state"] == "succeeded"
            assert (await http.wait(job.id)).final
            return done

    assert len(asyncio.run(run())) == 6


def test_nobody_there(tmp_path: Path) -> None:
    retries = b2s.Retries(attempts=2, base_seconds=0.01)
    with Client("http://127.0.0.1:9", retries=retries) as nobody, pytest.raises(b2s.Unreachable, match="B2S_URL"):
        nobody.models()


def test_over_http_no_authority_is_loaded_and_none_is_trusted() -> None:
    context = client_arguments("http://127.0.0.1:9", None, 1)["verify"]
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert context.get_ca_certs() == []
    assert "verify" not in client_arguments("https://b2s.example", None, 1)  # httpx checks with its own authorities


def test_the_bytes_of_a_file_do_as_well_as_the_file(client: Client, tmp_path: Path) -> None:
    file = tmp_path / "x.png"
    file.write_bytes(pictures.png(1).data)
    by_bytes = client.denoise_bytes(file.read_bytes(), key="bytes-or-file")
    assert client.denoise_bytes(file, key="bytes-or-file") == by_bytes
    assert by_bytes.data.startswith(b"\x89PNG")


def test_it_imports_neither_torch_nor_the_server() -> None:
    code = (
        "import sys, b2s_client, b2s_client.cli\n"
        "heavy = {'torch', 'service', 'worker', 'store', 'model', 'images', 'numpy', 'PIL'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    path = {"PYTHONPATH": str(ROOT / "client" / "src")}
    run = subprocess.run([sys.executable, "-c", code], env=path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
