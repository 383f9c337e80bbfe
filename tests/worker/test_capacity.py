"""How many jobs at a time, told from settings and the machine."""

from pathlib import Path

import pytest

from store.settings import Settings
from worker import capacity

LARGE = 512 * 512


@pytest.mark.parametrize(
    ("device", "gpu_present", "expected"),
    [("auto", True, 1), ("auto", False, 2), ("cuda", False, 1), ("cuda:1", False, 1), ("cpu", True, 2)],
)
def test_one_for_a_gpu_two_for_a_cpu(
    device: str, gpu_present: bool, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = tmp_path / "nvidia0"
    if gpu_present:
        node.touch()
    monkeypatch.setattr(capacity, "GPU_DEVICES", (node,))
    assert capacity.denoise_processes(Settings(device=device)) == expected


def test_a_set_number_is_kept() -> None:
    assert capacity.denoise_processes(Settings(denoise_processes=3)) == 3
    assert capacity.denoise_threads(Settings(denoise_threads=5), LARGE, lambda: 9) == 5
    assert capacity.denoise_threads(Settings(denoise_threads=5), 64 * 64, lambda: 9) == 5


def test_a_job_alone_gets_every_core_and_jobs_in_a_crowd_share_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacity, "_cores", lambda: 8)
    settings = Settings(device="cpu", denoise_processes=3)
    assert capacity.denoise_threads(settings, LARGE, lambda: 0) == 8
    assert capacity.denoise_threads(settings, LARGE, lambda: 1) == 2
    monkeypatch.setattr(capacity, "_cores", lambda: 1)
    assert capacity.denoise_threads(settings, LARGE, lambda: 1) == 1


def test_a_small_image_gets_one_core_and_nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacity, "_cores", lambda: 8)
    assert capacity.denoise_threads(Settings(device="cpu"), 64 * 64, lambda: pytest.fail("asked")) == 1
