"""`b2s` as a process against the real service."""

import asyncio
import json
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import tifffile

from b2s_client import AsyncClient, Client, Denoised, Progress, flows
from b2s_client.inputs import InputError, plan
from tests.harness import pictures
from tests.harness.service_process import Service
from tests.harness.shell import Shell, write_noise


@pytest.fixture
def b2s(service: Service, tmp_path: Path) -> Shell:
    return Shell(service.url, tmp_path)


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


FLOATS = ("--dtype", "float32", "--mosaic", "none")


def test_globs_formats_and_options(b2s: Shell) -> None:
    for number in range(3):
        write_noise(b2s.folder / f"x{number}.png", number)
    lines = b2s.lines("denoise", "x*.png", "--format", "tiff", "--strength", "0.5", "--no-report", *FLOATS)
    assert sorted(line["output"] for line in lines) == [f"denoised/x{n}.tif" for n in range(3)]
    assert all(line["alpha"] is None for line in lines)
    with Client(b2s.environment["B2S_URL"]) as client:
        options = client.job(lines[0]["job_id"]).raw["options"]
    assert (options["strength"], options["output_format"], options["report"]) == (0.5, "tiff", False)
    assert (options["output_dtype"], options["mosaic"]) == ("float32", "none")
    assert tifffile.imread(b2s.folder / "denoised" / "x0.tif").dtype == "float32"


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
        mine = [job for job in client.jobs(limit=200) if job.raw["input"].get("width") == side]
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
    assert b2s("preview", done.id, "--side", "residual").strip() == f"{done.id}-residual.png"
    assert (b2s.folder / f"{done.id}-residual.png").read_bytes().startswith(b"\x89PNG")
    seen = b2s.lines("preview", done.id, "-o", "seen.png", "--window", "10", "200", "--max", "100")
    assert seen[0]["bytes"] == (b2s.folder / "seen.png").stat().st_size
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


def test_the_quality_is_asked_for(b2s: Shell) -> None:
    write_noise(b2s.folder / "a.png", 1)
    done = b2s.lines("denoise", "a.png", "-o", "out", "--quality", "best")[-1]
    with Client(b2s.environment["B2S_URL"]) as client:
        assert client.job(done["job_id"]).raw["options"]["quality"] == "best"
    refused = b2s("denoise", "a.png", "-o", "other", "--quality", "fast", "--model", "base-gray", code=1)
    assert "not both" in " ".join(refused.split())


def test_a_pipe_goes_through(b2s: Shell) -> None:
    sent = pictures.png(1).data
    command = b2s.command("denoise", "-", "--json")
    run = subprocess.run(command, cwd=b2s.folder, env=b2s.environment, input=sent, capture_output=True, check=False)
    assert run.returncode == 0 and run.stdout.startswith(b"\x89PNG"), run.stderr
    line = json.loads(run.stderr)
    assert (line["input"], line["output"], line["state"], line["warnings"]) == ("-", "-", "done", [])
    assert list(b2s.folder.iterdir()) == []


def test_the_options_of_one_image_reach_the_service(b2s: Shell) -> None:
    write_noise(b2s.folder / "a.png", 1)
    (line,) = b2s.lines(
        "denoise", "a.png", "-o", "a.tif", "--roi", "4,8,16,24", "--normalize", "dtype", "--lines", "keep"
    )
    assert tifffile.imread(b2s.folder / "a.tif").shape == (24, 16)
    with Client(b2s.environment["B2S_URL"]) as client:
        options = client.job(line["job_id"]).raw["options"]
    wanted = {"roi": "4,8,16,24", "normalize": "dtype", "lines": "keep", "output_format": "tiff"}
    assert wanted.items() <= options.items()
    assert b2s("denoise", "a.png", "-o", "a.tif").count("a.png → a.tif") == 1  # what is named itself is made again
    assert tifffile.imread(b2s.folder / "a.tif").shape == (48, 48)


def test_usage_shows_what_was_used(b2s: Shell) -> None:
    write_noise(b2s.folder / "a.png", 2)
    b2s("denoise", "a.png", "-o", "b.png", "--model", "base-gray")
    (line,) = b2s.lines("usage")
    assert line["pixels_today"] >= 48 * 48
    said = b2s("usage")
    assert "denoise" in said and "no bound" in said
    assert b2s.lines("usage", "--first", "2026-11-01", "--last", "2026-11-02")[0]["days"] == []
    assert "There is no model" in b2s("denoise", "a.png", "-o", "b.png", "--model", "nothing", code=4)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_job_tells_how_far_it_is(service: Service, asynchronous: bool, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(flows, "OPEN_SECONDS", 0.0)  # every job is a long one
    write_noise(tmp_path / "x.png", 20 + asynchronous, side=2048)
    heard: list[Progress] = []

    async def awaited() -> Denoised:
        async with AsyncClient(service.url) as client:
            return await client.denoise_bytes(tmp_path / "x.png", on_progress=heard.append)

    if asynchronous:
        done = asyncio.run(awaited())
    else:
        with Client(service.url) as client:
            done = client.denoise_bytes(tmp_path / "x.png", on_progress=heard.append)
    assert done.data.startswith(b"\x89PNG") and done.alpha is not None
    assert heard and all(step.total and step.done <= step.total for step in heard)
