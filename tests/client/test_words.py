"""What `b2s` says about a run, a model and a fine-tune: lines that a person can act on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from rich.console import Console
from typer.testing import Result

from b2s_client import FineTuned, cli
from b2s_client.batch import Outcome
from b2s_client.display import file_line, fine_tuned, models_table
from b2s_client.errors import B2SError, NotFound
from b2s_client.inputs import Task
from b2s_client.types import Model
from tests.client.both import BOTH, Call
from tests.client.test_finetune import job
from tests.client.test_shell import b2s  # noqa: F401 - a fixture
from tests.harness.shell import write_noise

Shell = Callable[..., Result]


def made(promoted: bool, gain: float | None) -> str:
    scores = {} if gain is None else {"gain_db": gain}
    return fine_tuned(FineTuned("mdl_1", "job_1", promoted, scores, None, None, 3, 0, []))


def test_the_way_that_was_chosen_is_told() -> None:
    sentence = "10 frames of one series: the scene stands still; learned from: pairs of frames."
    noise = "The noise is independent from pixel to pixel."
    told = {"frames": sentence, "method": "thinning", "noise": noise}
    said = fine_tuned(FineTuned("m", "j", True, {}, None, None, 3, 1, [], **told))
    assert "learned from 3 of 4 files, by thinning" in said and sentence in said and noise in said


@pytest.mark.parametrize("gain", [0.28, 0.0, -0.1, None])
def test_a_model_that_was_not_promoted_is_not_recommended(gain: float | None) -> None:
    said = made(False, gain)
    assert "use it" not in said and "use the base: b2s denoise" in said
    assert "beat its base by" not in said
    assert ("within what chance gives" in said) == (gain is not None and gain > 0)


def test_one_that_was_is() -> None:
    assert "It beats its base by 0.28 dB" in made(True, 0.28) and "use it: b2s denoise --model mdl_1" in made(
        True, 0.28
    )


def test_a_line_tells_what_became_of_a_file() -> None:
    task = Task(Path("a[b].png"), Path("out/a[b].png"))
    outcome = Outcome(task, "done", 1.0, "job_1", "base-gray", 0.0101, 0.0004, warnings=("Stripes.", "Too [dark]."))
    console = Console(width=500)
    with console.capture() as shown:
        console.print(file_line(outcome), highlight=False)
    line = "a[b].png → out/a[b].png  noise α 0.0101 σ 0.0004  base-gray  ! Stripes.  ! Too [dark]."
    assert shown.get().strip() == line
    assert outcome.to_dict()["warnings"] == ["Stripes.", "Too [dark]."]


def test_models_show_which_beat_their_base() -> None:
    card = {"name": "confocal"}
    raw = [{"id": f"mdl_{state}", "channels": 1, "card": card, "promoted": state} for state in (True, False, None)]
    console = Console(width=200)
    with console.capture() as shown:
        console.print(models_table(map(Model.from_json, raw)))
    lines = shown.get().splitlines()
    assert [next(word for word in ("not shown", "yes", "") if word in line) for line in lines[1:]] == [
        "yes",
        "not shown",
        "",
    ]
    assert all("confocal" in line for line in lines[1:])


def answering(warnings: str | None) -> Callable[[httpx.Request], httpx.Response]:
    """A service whose result carries this header, and a job that knows three warnings."""
    headers = {"b2s-job-id": "job_1", "content-type": "image/png", "b2s-noise-alpha": "0.1", "b2s-noise-sigma": "0.1"}

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/jobs/job_1":
            return httpx.Response(200, json=job("succeeded") | {"result": {"warnings": ["a", "b", "c"]}})
        return httpx.Response(
            200, headers=headers | ({} if warnings is None else {"b2s-warnings": warnings}), content=b"-"
        )

    return answer


@pytest.mark.parametrize("call", BOTH)
@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("[]", []),
        ('["\\u03c3 is high"]', ["σ is high"]),
        ("3", ["a", "b", "c"]),
        (None, ["a", "b", "c"]),
        ("[", ["a", "b", "c"]),
    ],
)
def test_warnings_come_with_the_result(call: Call, header: str | None, expected: list[str]) -> None:
    assert call(answering(header), "denoise_bytes", b"-").warnings == expected
    assert call(answering(header), "result", "job_1").warnings == expected


def test_strict_makes_warnings_an_exit_code(b2s: Shell, tmp_path: Path) -> None:  # noqa: F811
    write_noise(tmp_path / "x.png", 1)
    warned = answering('["Stripes."]')
    said = b2s("denoise", "x.png", "-o", "y.png", answer=warned)
    assert said.exit_code == 0 and "! Stripes." in said.output and "1 done, 1 with warnings" in said.output
    assert b2s("denoise", "x.png", "-o", "y.png", "--strict", answer=warned).exit_code == cli.WARNED
    assert b2s("denoise", "x.png", "-o", "y.png", "--strict", answer=answering("[]")).exit_code == 0
    said = b2s("denoise", "x.png", "-o", "z.png", "--json", answer=warned)
    assert json.loads(said.output)["warnings"] == ["Stripes."]


@pytest.mark.parametrize("call", BOTH)
def test_a_model_is_found_by_id_and_by_name(call: Call) -> None:
    listed = [
        {"id": f"mdl_{n}", "channels": 1, "card": {}, "name": name} for n, name in enumerate(["a/b", "two", "two"])
    ]

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/models":
            return httpx.Response(200, json={"models": listed, "next_cursor": None})
        found = [one for one in listed if request.url.path == f"/models/{one['id']}"]
        return (
            httpx.Response(200, json=found[0]) if found else httpx.Response(404, json={"detail": "There is no model."})
        )

    assert call(answer, "model", "mdl_1").name == "two"
    assert call(answer, "model", "a/b").id == "mdl_0"
    with pytest.raises(B2SError, match="mdl_1, mdl_2"):
        call(answer, "model", "two")
    with pytest.raises(NotFound):
        call(answer, "model", "three")


def test_a_file_that_is_too_large_is_not_sent(b2s: Shell, tmp_path: Path) -> None:  # noqa: F811
    with (tmp_path / "stack.tif").open("wb") as file:
        file.truncate(17 * 2**20)
    posted: list[str] = []
    usage = {
        "tenant": "t",
        "pixels_today": 0,
        "pixels_left_today": None,
        "resets_at": "2026-12-02T00:00:00Z",
        "days": [],
    }

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/usage":
            return httpx.Response(200, json=usage | {"limits": {"upload_bytes": 2**24}})
        posted.append(request.url.path)
        return httpx.Response(413, json={"detail": "Too large."})

    said = b2s("denoise", "stack.tif", "-o", "clean.tif", answer=answer)
    assert said.exit_code == cli.FAILED and "17,825,792 bytes as sent and the service takes 16,777,216" in " ".join(
        said.output.split()
    )
    assert posted == []
    del usage["tenant"]  # what answers is older, or forbids it: the service itself refuses
    assert (
        "Too large."
        in b2s(
            "denoise",
            "stack.tif",
            "-o",
            "clean.tif",
            answer=lambda _: httpx.Response(413, json={"detail": "Too large."}),
        ).output
    )
