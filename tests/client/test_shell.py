"""What goes wrong in a shell is a line and an exit code, never a traceback; what others wrote is shown as they did."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner, Result

from b2s_client import Client, cli
from b2s_client.types import Denoised
from tests.client.both import HURRIED, URL
from tests.client.test_finetune import job
from tests.harness.shell import write_noise

NAME = "a[b]/x[/i].png"


@pytest.fixture
def b2s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """`b2s` in a folder of its own, on a service that answers as told."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, answer: Callable[[httpx.Request], httpx.Response] = refused) -> Result:
        def made(**options: Any) -> Client:
            client = Client(URL, retries=HURRIED)
            client._http = httpx.Client(base_url=URL, transport=httpx.MockTransport(answer))
            return client

        monkeypatch.setattr(cli, "Client", made)
        result = CliRunner().invoke(cli.app, list(arguments))
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    return run


def refused(request: httpx.Request) -> httpx.Response:
    return httpx.Response(415, json={"detail": "This is no image [/x]; send [png]."})


def test_brackets_in_names_and_answers_are_no_markup(b2s: Callable[..., Result], tmp_path: Path) -> None:
    write_noise(tmp_path / NAME, 1)
    said = b2s("denoise", NAME)
    assert said.exit_code == cli.FAILED
    assert f"failed {NAME}: This is no image [/x]; send [png]." in " ".join(said.output.split())
    said = b2s("models")
    assert said.exit_code == cli.REFUSED and "This is no image [/x]; send [png]." in said.output
    model = {"id": "mdl_1", "channels": 1, "card": {"name": "[/] mine [red]"}}
    models = httpx.Response(200, json={"models": [model], "next_cursor": None})
    said = b2s("models", answer=lambda request: models)
    assert said.exit_code == 0 and "[/] mine [red]" in said.output


def test_what_cannot_be_written_is_a_line(b2s: Callable[..., Result], tmp_path: Path) -> None:
    said = b2s("report", "job_1", "--save", "missing/x.png", answer=lambda request: httpx.Response(200, json={}))
    assert said.exit_code == cli.FAILED and "missing/x.png" in "".join(said.output.split())
    write_noise(tmp_path / "x.png", 1)
    (tmp_path / "out").write_text("a file")
    said = b2s("denoise", "x.png", "-o", "out/", "--json")
    assert said.exit_code == cli.FAILED and "File exists" in json.loads(said.output)["error"]


def test_a_name_that_is_too_long_for_its_result_fails_alone(b2s: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / f"{'a' * 250}.avif").write_bytes(b"-")
    said = b2s("denoise", ".", "-o", "out")
    assert said.exit_code == cli.FAILED and "1 failed" in said.output and "too long" in " ".join(said.output.split())


def test_files_that_are_late_have_their_own_state_and_exit_code(b2s: Callable[..., Result], tmp_path: Path) -> None:
    for number in range(2):
        write_noise(tmp_path / f"in/{number}.png", number)

    def slow(request: httpx.Request) -> httpx.Response:
        return httpx.Response(202, json=job("running"))

    said = b2s("denoise", "in", "--timeout", "0.1", "--json", answer=slow)
    lines = [json.loads(line) for line in said.output.splitlines()]
    assert [(line["state"], line["job_id"]) for line in lines] == [("late", "job_1")] * 2
    assert said.exit_code == cli.LATE
    assert "2 late" in b2s("denoise", "in", "--timeout", "0.1", answer=slow).output

    def one_refused(request: httpx.Request) -> httpx.Response:
        refuse = request.method == "POST" and len(refusals) == 0
        refusals.append(refuse)
        return refused(request) if refuse else slow(request)

    refusals: list[bool] = []
    assert b2s("denoise", "in", "--timeout", "0.1", "-p", "1", answer=one_refused).exit_code == cli.FAILED


def test_a_save_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "x.png").mkdir()
    with pytest.raises(OSError, match=r"x\.png"):
        Denoised(b"-", "image/png", "job_1", None, None, None).save(tmp_path / "x.png")
    assert [path.name for path in tmp_path.iterdir()] == ["x.png"]


def many_small(folder: Path, count: int = 9) -> None:
    for number in range(count):
        write_noise(folder / f"in/{number}.png", number)


@pytest.mark.parametrize("usage", [httpx.Response(200, json={"limits": {"set_images": 9, "set_bytes": 10**6}}),
                                   httpx.Response(403, json={"detail": "This key may not read."}),
                                   httpx.Response(200, json={"limits": {}})])  # fmt: skip
def test_where_no_batch_is_taken_each_file_is_a_job(
    b2s: Callable[..., Result], tmp_path: Path, usage: httpx.Response
) -> None:
    many_small(tmp_path)
    batches: list[str] = []

    def older(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/usage":
            return usage
        if request.headers["content-type"].startswith("multipart"):
            batches.append(request.url.path)
            return httpx.Response(422, json={"detail": "There is no field images."})
        return refused(request)

    said = b2s("denoise", "in", "--json", answer=older)
    lines = [json.loads(line) for line in said.output.splitlines()]
    assert [(line["state"], line["error"]) for line in lines] == [("failed", refused_words())] * 9
    assert len(batches) == (usage.status_code == 200 and usage.json()["limits"] != {})


def refused_words() -> str:
    return str(refused(httpx.Request("GET", URL)).json()["detail"])


def test_files_of_a_batch_that_is_late_are_late(b2s: Callable[..., Result], tmp_path: Path) -> None:
    many_small(tmp_path)
    listing = json.dumps({"job": "job_1", "state": "running", "error": None, "files": [], "next_cursor": "0"}).encode()
    page = io.BytesIO()
    with tarfile.open(fileobj=page, mode="w") as tar:
        member = tarfile.TarInfo("results.json")
        member.size = len(listing)
        tar.addfile(member, io.BytesIO(listing))

    def slow(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/usage":
            return httpx.Response(200, json={"limits": {"set_images": 5, "set_bytes": 10**6}})
        if request.url.path.endswith("/results"):
            return httpx.Response(200, content=page.getvalue(), headers={"Content-Type": "application/x-tar"})
        return httpx.Response(202, json=job("running"))

    said = b2s("denoise", "in", "--timeout", "0.05", "--json", answer=slow)
    lines = [json.loads(line) for line in said.output.splitlines()]
    assert [(line["state"], line["job_id"]) for line in lines] == [("late", "job_1")] * 9
    assert sorted(line["index"] for line in lines) == [0, 0, 1, 1, 2, 2, 3, 3, 4]  # two jobs, as the service allows
    assert said.exit_code == cli.LATE
