"""Which files of a folder are taken, and what their results are called: as the service reads and writes them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from b2s_client.inputs import RESULT_OF, InputError, Task, plan
from b2s_client.sets import collect
from images.formats import FORMATS
from tests.harness.service_process import ROOT, Service
from tests.harness.shell import Shell, write_noise

DOCUMENT = (ROOT / "docs" / "formats.md").read_text()


def files(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"-")


def test_every_format_that_is_read_is_taken_and_named_as_it_is_written() -> None:
    for name, row in FORMATS.items():
        if name != "raw":  # whose suffix is the maker's
            assert RESULT_OF[row.extension] == FORMATS[row.result].extension
    written = {row.extension for row in FORMATS.values() if row.dtypes}
    assert {result for suffix, result in RESULT_OF.items() if result != suffix} <= written


def test_the_document_names_the_same_formats() -> None:
    taken, refused = re.findall(r"^\| (NEF.*?|X-Trans.*?) \|", DOCUMENT, re.M)
    makers = re.findall(r"\b[A-Z][A-Z0-9]{2}\b", taken)
    assert len(makers) >= 10 and all(RESULT_OF[f".{name.lower()}"] == FORMATS["dng"].extension for name in makers)
    assert not {f".{name.lower()}" for name in re.findall(r"\b(X3F|CRW)\b", refused)} & RESULT_OF.keys()
    (said,) = re.findall(r"take, by suffix: (.*?)\.", DOCUMENT, re.S)
    assert {f".{word}" for word in re.findall(r"\b[a-z0-9]{3,4}\b", said)} - {".and"} == RESULT_OF.keys()


def test_results_are_named_for_what_they_are(tmp_path: Path) -> None:
    files(tmp_path / "in", "a.png", "b.NEF", "sub/c.gif", "d.HEIC", "e.dcm", "f.npy", "g.dng")
    tasks = plan([str(tmp_path / "in"), str(tmp_path / "in/b.NEF")], tmp_path / "out", None).tasks
    targets = {task.source.name: str(task.target.relative_to(tmp_path / "out")) for task in tasks}
    assert targets == {
        "a.png": "a.png", "b.NEF": "b.dng", "c.gif": "sub/c.png", "d.HEIC": "d.HEIC", "e.dcm": "e.dcm",
        "f.npy": "f.npy", "g.dng": "g.dng",
    }  # fmt: skip
    (tiff,) = plan([str(tmp_path / "in/b.NEF")], tmp_path / "out", "tiff").tasks
    assert tiff.target.name == "b.tif"
    files(tmp_path, "scan", "x.odd")  # what the server makes of them, only it knows
    assert [task.target.name for task in plan([f"{tmp_path}/scan", f"{tmp_path}/x.odd"], tmp_path, None).tasks] == [
        "scan", "x.odd",
    ]  # fmt: skip


def test_two_that_become_one_are_refused(tmp_path: Path) -> None:
    files(tmp_path, "a.gif", "a.png")
    with pytest.raises(InputError, match=r"both become .*a\.png"):
        plan([str(tmp_path)], tmp_path / "out", None)


def test_what_is_left_out_is_counted_once(tmp_path: Path) -> None:
    files(tmp_path, "a.png", "a.xmp", "sub/b.XMP", "README", ".DS_Store", "out/log.txt")
    planned = plan([str(tmp_path), str(tmp_path / "sub"), str(tmp_path)], tmp_path / "out", None)
    assert planned.left_out == {".xmp": 2, "no suffix": 1}
    assert planned.left_out_words == "3 left out (.xmp, no suffix)"
    assert plan([str(tmp_path / "a.png")], tmp_path / "out", None).left_out_words == ""
    with pytest.raises(InputError, match=r"no image in what was named: 1 left out \(\.xmp\)"):
        plan([str(tmp_path / "sub")], tmp_path / "out", None)


def test_a_deep_avif_that_came_back_as_png_is_done(tmp_path: Path) -> None:
    task = Task(tmp_path / "in/a.avif", tmp_path / "a.avif")
    assert task.found is None
    assert task.target_of("image/avif") == tmp_path / "a.avif"
    files(tmp_path, "a.avif.png")
    assert task.found == task.target_of("image/png") == tmp_path / "a.avif.png"
    assert Task(task.source, tmp_path / "a.png").target_of("image/png") == tmp_path / "a.png"


def test_a_fine_tune_takes_them_too(tmp_path: Path) -> None:
    files(tmp_path, "a.nef", "b.fits", "c.zip", "d.txt")
    assert [image.name for image in collect(tmp_path)] == ["a.nef", "b.fits", "c.zip"]


def test_b2s_denoises_them_and_says_what_it_left_out(service: Service, tmp_path: Path) -> None:
    b2s = Shell(service.url, tmp_path)
    write_noise(tmp_path / "in/a.gif", 1)
    np.save(tmp_path / "in/b.npy", np.random.default_rng(2).integers(0, 255, (48, 48), dtype=np.uint8))
    files(tmp_path / "in", "a.xmp", "notes.txt")
    lines = b2s.lines("denoise", "in", "-o", "out")
    assert lines[-1] == {"state": "left_out", "files": 2, "suffixes": {".txt": 1, ".xmp": 1}}
    assert {(line["output"], line["state"]) for line in lines[:-1]} == {("out/a.png", "done"), ("out/b.npy", "done")}
    with Image.open(tmp_path / "out/a.png") as image:
        assert image.format == "PNG"
    assert "2 skipped, 2 left out (.txt, .xmp)" in b2s("denoise", "in", "-o", "out")
