"""What `b2s denoise IN -o OUT` means: a file, a folder or stdout, and which format a name asks for."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import httpx
import pytest

from b2s_client.inputs import InputError, Task, plan_for
from b2s_client.suffixes import MEDIA_TYPE, RESULT_OF, contradicts, fitting, wanted_format
from b2s_client.types import Denoised, Job, Model, Usage
from images.formats import FORMATS
from tests.client.both import BOTH, Call
from tests.client.test_finetune import job

DENOISED = Denoised(b"\x89PNG" * 10_000, "image/png", "job_1", "base-gray", 0.01, 0.02)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("in/a.png", "in/b.tif", "in/c.fits", "in/d.nef"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_bytes(b"-")
    (tmp_path / "there").mkdir()
    return tmp_path


def targets(inputs: list[str], output: str | None, wish: Any = None) -> tuple[list[str], str | None]:
    planned = plan_for(inputs, output, wish)
    return sorted(str(task.target) for task in planned.tasks), planned.output_format


@pytest.mark.parametrize(
    ("inputs", "output", "expected"),
    [
        (["in/a.png"], "clean.png", (["clean.png"], "png")),
        (["in/a.png"], "new/clean.TIFF", (["new/clean.TIFF"], "tiff")),
        (["in/a.png"], "clean", (["clean"], None)),
        (["in/a.png"], "clean/", (["clean/a.png"], None)),
        (["in/a.png"], "there", (["there/a.png"], None)),
        (["in/a.png"], None, (["denoised/a.png"], None)),
        (["in/c.fits"], "clean.fit", (["clean.fit"], None)),
        (["in/d.nef"], "clean.dng", (["clean.dng"], None)),
        (["in/d.nef"], "clean.jpg", (["clean.jpg"], "jpeg")),
        (["in"], "clean.png", (["clean.png/a.png", "clean.png/b.tif", "clean.png/c.fits", "clean.png/d.dng"], None)),
        (["in/a.png", "in/b.tif"], "out", (["out/a.png", "out/b.tif"], None)),
        (["in/*.png"], "out", (["out/a.png"], None)),
        (["-"], None, (["-"], None)),
        (["-"], "clean.webp", (["clean.webp"], "webp")),
        (["-"], "clean.fits", (["clean.fits"], None)),
        (["in/a.png"], "-", (["-"], None)),
    ],
)
def test_where_results_go(folder: Path, inputs: list[str], output: str | None, expected: Any) -> None:
    assert targets(inputs, output) == expected


@pytest.mark.parametrize(
    ("inputs", "output", "said"),
    [
        (["in/a.png"], "clean.fits", r"clean\.png, clean\.jpg"),
        (["in/a.png"], "clean.nef", "cannot be made"),
        (["in/a.png"], "clean.gif", "cannot be made"),
        (["in/a.png"], "in/../in/a.png", "is the input"),
        (["in/a.png"], "in/", "name another folder"),
        (["in/a.png", "in/b.tif"], "in", "name another folder"),
        (["in"], "in", "name another folder"),
        (["in"], "./in/", "name another folder"),
        (["in"], "-", "one input"),
        (["-", "in/a.png"], "out", "no other input"),
        (["-"], "there", "which file in there"),
        (["-"], "x/", "which file in x/"),
    ],
)
def test_what_cannot_be_meant_is_said(folder: Path, inputs: list[str], output: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        plan_for(inputs, output, None)


def test_a_format_that_is_named_has_to_fit_the_name(folder: Path) -> None:
    assert targets(["in/a.png"], "clean.tif", "tiff") == (["clean.tif"], "tiff")
    assert targets(["in/a.png"], "clean", "tiff") == (["clean"], "tiff")
    with pytest.raises(InputError, match=r"call it clean\.png"):
        plan_for(["in/a.png"], "clean.tif", "png")


def test_results_around_the_input_hide_nothing(folder: Path) -> None:
    """`b2s denoise project/scans -o project`: what is read lies in the folder that is written to."""
    assert targets(["in"], ".")[0] == ["a.png", "b.tif", "c.fits", "d.dng"]


def test_a_suffix_promises_what_the_service_writes() -> None:
    for row in FORMATS.values():
        if row.dtypes:
            assert MEDIA_TYPE[row.extension] == row.media_type
    for suffix, result in RESULT_OF.items():
        assert wanted_format(Path(f"x{result}"), Path(f"y{suffix}")) in (None, FORMATS_BY_SUFFIX.get(result))


FORMATS_BY_SUFFIX = {".png": "png", ".apng": "png", ".webp": "webp"} | {
    suffix: name
    for name, suffixes in {"jpeg": ".jpg .jpeg .jpe .jfif", "tiff": ".tif .tiff .btf"}.items()
    for suffix in suffixes.split()
}


def test_what_came_otherwise_than_its_name_says_gets_a_second_suffix(tmp_path: Path) -> None:
    assert fitting(Path("a.png"), "image/jpeg") == Path("a.png.jpg")
    assert fitting(Path("a.JPG"), "image/jpeg") == Path("a.JPG")
    assert fitting(Path("a.odd"), "image/jpeg") == Path("a.odd")
    assert not contradicts(Path("a.ome.tif"), "image/tiff")
    task = Task(tmp_path / "x.png", tmp_path / "a.png")
    assert task.found is None
    (tmp_path / "a.png.jpg").write_bytes(b"-")
    assert task.found == tmp_path / "a.png.jpg"


def test_saving_under_another_kind_s_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"save it as out\.png"):
        DENOISED.save(tmp_path / "out.tif")
    assert list(tmp_path.iterdir()) == []
    assert (
        DENOISED.save(tmp_path / "out.png").read_bytes() == DENOISED.data == DENOISED.save(tmp_path / "o").read_bytes()
    )


@pytest.mark.parametrize("call", BOTH)
def test_a_file_that_cannot_be_had_is_not_sent(call: Call, folder: Path) -> None:
    sent: list[httpx.Request] = []
    with pytest.raises(ValueError, match="cannot be made"):
        call(sent.append, "denoise_file", "in/a.png", "clean.fits")
    with pytest.raises(ValueError, match="by its name"):
        call(sent.append, "denoise_file", "in/a.png", "clean.tif", output_format="png")
    assert not sent


@pytest.mark.parametrize("call", BOTH)
def test_the_suffix_is_asked_for(call: Call, folder: Path) -> None:
    asked: list[str | None] = []

    def tiff(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.params.get("output_format"))
        kind = "image/fits" if asked[-1] is None else f"image/{asked[-1]}"
        return httpx.Response(200, headers={"b2s-job-id": "job_1", "content-type": kind}, content=b"-")

    call(tiff, "denoise_file", "in/a.png", "out.tif")
    call(tiff, "denoise_file", "in/c.fits", "out.fits")
    assert asked == ["tiff", None] and Path("out.tif").read_bytes() == b"-"


def test_no_repr_holds_a_file_or_a_document() -> None:
    assert len(repr(DENOISED)) < 200
    raw = job("succeeded") | {"padding": "x" * 10_000}
    model = {"id": "mdl_1", "channels": 1, "card": {"padding": "x" * 10_000}}
    assert len(repr(Job.from_json(raw))) < 1000 and len(repr(Model.from_json(model))) < 300
    for kind in (Denoised, Job, Model, Usage):
        shown = {field.name: field.repr for field in dataclasses.fields(kind)}
        assert not shown.get("raw", False) and not shown.get("data", False)
