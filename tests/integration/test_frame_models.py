"""A model that sees a page with its neighbours, from upload to use, through HTTP, with real workers."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from launch.redis_server import redis_server
from store.job import Job, JobState
from tests.harness.cluster import Cluster, Process, cluster
from tests.harness.drifting_scenes import scene
from tests.harness.images_of import png
from tests.harness.ports import free_port

PAGES, HEIGHT, WIDTH = 12, 96, 64
STEPS = 20  # enough that the model looks at the neighbours of a page, whose weights begin at nothing
SEEN = 5
TIFF = {"Content-Type": "image/tiff"}


def stack(channels: int = 1, pages: int = PAGES) -> NDArray[np.uint16]:
    """A scene that drifts, (N, H, W) or (N, H, W, C), with noise that neighbouring pixels share."""
    rng = np.random.default_rng(3)
    noise = rng.normal(0, 0.15, (pages, HEIGHT + 1, WIDTH + 1, channels))
    noise = sum(noise[:, r : r + HEIGHT, c : c + WIDTH] for r in range(2) for c in range(2)) / 2
    truth = np.stack([scene(0.2 * page, 0.1 * page, seed=9)[:HEIGHT, :WIDTH] for page in range(pages)])
    found = (40000 * (truth[..., None] + noise).clip(0, 1.5)).astype(np.uint16)
    return found[..., 0] if channels == 1 else found


def tiff(pixels: NDArray[Any], **how: Any) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, **how)
    return buffer.getvalue()


def time_lapse(pixels: NDArray[Any]) -> bytes:
    return tiff(pixels, imagej=True, metadata={"axes": "TYX" if pixels.ndim == 3 else "TYXS"})


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which a file is the order to die."""
    return tmp_path_factory.mktemp("faults")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, faults: Path) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("cluster")
    with (
        redis_server(folder / "redis") as redis_url,
        cluster(
            folder,
            redis_url,
            lease_seconds="8",
            finetune_threads="1",
            finetune_nice="0",
            min_set_pixels=str(HEIGHT * WIDTH),
            checkpoint_seconds="0.01",
            scratch_dir=str(folder / "scratch"),
        ) as cluster_of_two,
    ):
        cluster_of_two.environment["B2S_FAULTS"] = str(faults)
        yield cluster_of_two


@pytest.fixture(scope="module")
def tuner(running: Cluster) -> Process:
    return running.ready(running.worker("finetune"))


@pytest.fixture(scope="module")
def http(running: Cluster, tuner: Process) -> Iterator[httpx.Client]:
    port = free_port()
    running.gateway(port)
    running.worker()
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=300) as client:
        running.wait(lambda: _answers(client))
        yield client


@pytest.fixture(scope="module")
def tuned(running: Cluster, http: httpx.Client, faults: Path) -> Job:
    """A fine-tune whose worker dies at a checkpoint in the middle of it."""
    (faults / "checkpointed").touch()
    job = finetuned(running, http, {"stack.tif": time_lapse(stack())}, frames=str(SEEN), max_steps=str(STEPS))
    assert job.state is JobState.SUCCEEDED, job.error
    assert not (faults / "checkpointed").exists()
    return job


def finetuned(running: Cluster, http: httpx.Client, files: dict[str, bytes], **options: str) -> Job:
    answer = http.post("/finetune", files=[("images", file) for file in files.items()], data={"seed": "3", **options})
    assert answer.status_code == 202, answer.text
    return running.finished(running.jobs.get(answer.json()["id"]))


def denoised(http: httpx.Client, job: Job, data: bytes, **options: str) -> tuple[dict[str, Any], NDArray[Any]]:
    assert job.result is not None
    asked = {"model": job.result["model"], "wait": "120", "normalize": "none", "output_dtype": "float32", **options}
    done = http.post("/denoise", params=asked, content=data, headers=TIFF).json()
    assert done["state"] == "succeeded", done
    return done["result"], tifffile.imread(io.BytesIO(http.get(f"/jobs/{done['id']}/result").content))


def test_a_stack_makes_a_model_of_frames_and_says_how(http: httpx.Client, tuned: Job) -> None:
    assert tuned.result is not None
    assert tuned.result["frames"]["seen"] == SEEN and tuned.result["frames"]["series"] == 1
    assert "each frame with its neighbours" in tuned.result["frames"]["sentence"]
    model = http.get(f"/models/{tuned.result['model']}").json()
    assert model["card"]["frames"]["seen"] == SEEN and model["card"]["best_step"] == STEPS
    assert http.get(f"/jobs/{tuned.id}/report").json()["frames"] == tuned.result["frames"]


def test_a_worker_that_died_changes_no_weight(running: Cluster, http: httpx.Client, tuner: Process, tuned: Job) -> None:
    assert tuned.attempt == 2 and tuner.logged("training_resumed") == 1
    again = finetuned(running, http, {"stack.tif": time_lapse(stack())}, frames=str(SEEN), max_steps=str(STEPS))
    assert again.attempt == 1
    weights = [http.get(f"/jobs/{job.id}/result").content for job in (tuned, again)]
    first, second = (data[8 + int.from_bytes(data[:8], "little") :] for data in weights)
    assert first == second


def test_every_page_of_a_stack_is_denoised_with_its_neighbours(http: httpx.Client, tuned: Job) -> None:
    """A page that changes changes those that see it, at the ends of the stack as within, and no other."""
    noisy = stack()
    facts, before = denoised(http, tuned, time_lapse(noisy))
    assert before.shape == noisy.shape and not any("by itself" in warning for warning in facts["warnings"])
    others = noisy.copy()
    others[0] = others[0, ::-1]
    _, after = denoised(http, tuned, time_lapse(others))
    changed = [not np.array_equal(a, b) for a, b in zip(before, after, strict=True)]
    assert changed == [True] * (SEEN // 2 + 1) + [False] * (PAGES - SEEN // 2 - 1)


def test_a_single_page_is_denoised_by_itself_and_told(http: httpx.Client, tuned: Job) -> None:
    page = stack()[4]
    facts, alone = denoised(http, tuned, tiff(page))
    assert alone.shape == page.shape
    assert any("sees 5 frames" in warning and "by itself" in warning for warning in facts["warnings"])
    _, within = denoised(http, tuned, time_lapse(stack()))
    assert not np.array_equal(alone, within[4])


def test_color_stacks_go_channel_by_channel_through_a_model_of_gray_frames(http: httpx.Client, tuned: Job) -> None:
    gray = stack()
    color = np.stack([gray, gray[:, ::-1], gray[:, :, ::-1]], -1)
    _, found = denoised(http, tuned, time_lapse(color))
    _, alone = denoised(http, tuned, time_lapse(gray))
    assert found.shape == color.shape and np.allclose(found[..., 0], alone, rtol=1e-3)


def test_a_model_of_color_frames_refuses_gray_in_words(running: Cluster, http: httpx.Client) -> None:
    job = finetuned(
        running, http, {"stack.tif": time_lapse(stack(3))}, frames="3", max_steps="1", base_model="base-rgb"
    )
    assert job.state is JobState.SUCCEEDED and job.result is not None and job.result["frames"]["seen"] == 3
    answer = http.post("/denoise", params={"model": job.result["model"]}, content=time_lapse(stack()), headers=TIFF)
    assert answer.status_code == 422 and "channel" in answer.json()["detail"]
    refused = finetuned(
        running, http, {"stack.tif": time_lapse(stack())}, frames="3", max_steps="1", base_model=job.result["model"]
    )
    assert refused.error is not None and refused.error.code == "base_does_not_fit"
    assert "channels" in refused.error.detail


def test_frames_of_what_has_none_are_refused_in_words(running: Cluster, http: httpx.Client) -> None:
    page = stack()[0]
    files = {"a.png": png((page[:80] >> 8).astype(np.uint8)), "b.png": png((page >> 8).astype(np.uint8))}
    job = finetuned(running, http, files, frames="5", max_steps="1")
    assert job.error is not None and job.error.code == "not_trainable"
    assert "stacks of several pages" in job.error.detail


def test_a_model_of_frames_goes_on_with_single_images_and_says_so(
    running: Cluster, http: httpx.Client, tuned: Job
) -> None:
    assert tuned.result is not None
    files = {f"{place}.png": png((stack()[place] >> 8).astype(np.uint8)) for place in (0, 6)}
    job = finetuned(running, http, files, frames="none", max_steps="1", base_model=tuned.result["model"])
    assert job.state is JobState.SUCCEEDED and job.result is not None, job.error
    assert job.result["frames"]["seen"] == SEEN and "single images" in job.result["frames"]["sentence"]


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/livez").status_code == 200
    except httpx.TransportError:
        return False
