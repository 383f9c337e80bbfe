"""`b2s` as a process against the real service."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from client import Client
from client.inputs import InputError, plan
from tests.e2e import pictures
from tests.e2e.service_process import ROOT, Service


class Shell:
    """Runs `b2s` in a folder."""

    def __init__(self, url: str, folder: Path) -> None:
        self.folder = folder
        self.environment = {"PATH": os.environ["PATH"], "B2S_URL": url, "PYTHONPATH": str(ROOT)}

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "client", *arguments]

    def __call__(self, *arguments: str, code: int = 0) -> str:
        run = subprocess.run(
            self.command(*arguments), cwd=self.folder, env=self.environment, capture_output=True, text=True,
            timeout=900, check=False,
        )  # fmt: skip
        assert run.returncode == code, (run.returncode, run.stdout, run.stderr)
        assert "Traceback" not in run.stderr
        return run.stdout + run.stderr

    def lines(self, *arguments: str, code: int = 0) -> list[dict[str, Any]]:
        """The objects that `--json` prints."""
        return [json.loads(line) for line in self(*arguments, "--json", code=code).splitlines()]


@pytest.fixture
def b2s(service: Service, tmp_path: Path) -> Shell:
    return Shell(service.url, tmp_path)


def write_noise(path: Path, seed: int, side: int = 48) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (side, side), dtype=np.uint8)).save(path)


def test_a_folder_keeps_its_structure_and_is_done_once(b2s: Shell) -> None:
    for number, name in enumerate(["a.png", "sub/b.png", "sub/deep/c.jpg"]):
        write_noise(b2s.folder / "in" / name, number)
    (b2s.folder / "in" / "notes.txt").write_text("not an image")
    *first, left_out = b2s.lines("denoise", "in", "-o", "out")
    assert left_out == {"state": "left_out", "files": 1, "suffixes": {".txt": 1}}
    assert {line["state"] for line in first} == {"done"}
    made = {str(path.relative_to(b2s.folder / "out")) for path in (b2s.folder / "out").rglob("*") if path.is_file()}
    assert made == {"a.png", "sub/b.png", "sub/deep/c.jpg"}
    assert [line["state"] for line in b2s.lines("denoise", "in", "-o", "out")] == ["skipped"] * 3 + ["left_out"]
    assert "3 skipped" in b2s("denoise", "in", "-o", "out")
    *again, _ = b2s.lines("denoise", "in", "-o", "out", "--overwrite")
    assert {line["job_id"] for line in again} == {line["job_id"] for line in first}  # the jobs were found again


def test_globs_formats_and_options(b2s: Shell) -> None:
    for number in range(3):
        write_noise(b2s.folder / f"x{number}.png", number)
    lines = b2s.lines("denoise", "x*.png", "--format", "tiff", "--strength", "0.5", "--no-report")
    assert sorted(line["output"] for line in lines) == [f"denoised/x{n}.tif" for n in range(3)]
    assert all(line["alpha"] is None for line in lines)
    with Client(b2s.environment["B2S_URL"]) as client:
        options = client.job(lines[0]["job_id"]).raw["options"]
    assert (options["strength"], options["output_format"], options["report"]) == (0.5, "tiff", False)


def test_one_bad_file_stops_no_other(b2s: Shell) -> None:
    write_noise(b2s.folder / "in/good.png", 1)
    (b2s.folder / "in/bad.png").write_bytes(b"not a png")
    (b2s.folder / "in/broken.png").write_bytes(pictures.broken_png())
    lines = {Path(line["input"]).name: line for line in b2s.lines("denoise", "in", code=1)}
    assert {name: line["state"] for name, line in lines.items()} == {
        "good.png": "done", "bad.png": "failed", "broken.png": "failed",
    }  # fmt: skip
    assert "not an image" in lines["bad.png"]["error"]
    assert "1 done, 2 failed" in b2s("denoise", "in", "--overwrite", code=1)


def test_a_run_that_is_killed_is_taken_up_where_it_stopped(b2s: Shell) -> None:
    count, side = 24, 1024  # many seconds of work: the signal comes well before the end on any machine
    for number in range(count):
        write_noise(b2s.folder / "in" / f"{number:02}.png", number, side=side)
    out = b2s.folder / "out"
    command = b2s.command("denoise", "in", "-o", "out", "-p", "4")
    with subprocess.Popen(command, cwd=b2s.folder, env=b2s.environment, stderr=subprocess.PIPE, text=True) as killed:
        while len(list(out.glob("*.png"))) < 5:
            assert killed.poll() is None
            time.sleep(0.01)
        killed.send_signal(signal.SIGINT)
        _, said = killed.communicate(timeout=60)
    assert killed.returncode == 130
    assert "run the same command again" in said
    there = {path.name for path in out.glob("*.png")}
    assert 5 <= len(there) < count
    assert not list(out.glob(".*.part"))

    lines = b2s.lines("denoise", "in", "-o", "out", "-p", "4")
    states = {Path(line["input"]).name: line["state"] for line in lines}
    assert {name for name, state in states.items() if state == "skipped"} == there
    assert sum(state == "done" for state in states.values()) == count - len(there)
    with Client(b2s.environment["B2S_URL"]) as client:
        mine = [job for job in client.jobs(limit=200) if job.raw["input"]["width"] == side]
    assert len(mine) == count  # no file was denoised twice


def test_jobs_watch_report_cancel_delete(b2s: Shell) -> None:
    with Client(b2s.environment["B2S_URL"]) as client:
        done, long = client.submit(pictures.png(1).data), client.submit(pictures.many_tiles().data)
        client.wait(done.id)
    assert {done.id, long.id} <= {line["id"] for line in b2s.lines("jobs")}
    assert done.id in b2s("jobs", "--state", "succeeded", "--limit", "200")
    assert b2s.lines("watch", done.id)[-1]["state"] == "succeeded"
    assert "succeeded" in b2s("watch", done.id)
    assert "alpha" in b2s("report", done.id)
    assert b2s.lines("report", done.id, "--save", "report.png")[0]["noise_std_in"] > 0
    assert (b2s.folder / "report.png").read_bytes().startswith(b"\x89PNG")
    b2s("cancel", long.id)
    assert "was canceled" in b2s("watch", long.id, code=1)
    assert "deleted" in b2s("delete", done.id)
    assert b2s.lines("report", done.id, code=4)[0]["error"]["type"] == "/problems/result-gone"


def test_models(b2s: Shell) -> None:
    assert "base-gray" in b2s("models")
    assert {"base-gray", "base-rgb"} <= {line["id"] for line in b2s.lines("models")}


def test_exit_codes(b2s: Shell) -> None:
    assert "There is no file" in b2s("denoise", "missing.png", code=2)
    b2s("denoise", code=2)
    b2s("frobnicate", code=2)
    assert "GET /jobs" in b2s("report", "job_0", code=4)
    write_noise(b2s.folder / "x.png", 1)
    assert "B2S_URL" in b2s("--url", "http://127.0.0.1:9", "denoise", "x.png", code=3)
    assert "B2S_URL" in b2s.lines("--url", "http://127.0.0.1:9", "models", code=3)[0]["error"]["detail"]


def test_two_files_of_one_name_are_refused_before_anything_is_sent(tmp_path: Path) -> None:
    write_noise(tmp_path / "a/x.png", 1)
    write_noise(tmp_path / "b/x.png", 2)
    with pytest.raises(InputError, match="both become"):
        plan([str(tmp_path / "a/x.png"), str(tmp_path / "b/x.png")], tmp_path / "out", None)


def test_results_inside_the_input_folder_are_no_inputs(tmp_path: Path) -> None:
    write_noise(tmp_path / "x.png", 1)
    write_noise(tmp_path / "denoised/x.png", 2)
    write_noise(tmp_path / ".cache/y.png", 3)
    tasks = plan([str(tmp_path)], tmp_path / "denoised", None).tasks
    assert [task.source for task in tasks] == [tmp_path / "x.png"]
