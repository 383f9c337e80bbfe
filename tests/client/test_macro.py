"""`examples/b2s.ijm`: the `curl` lines that Fiji would run, with the macro's own words, on a real service."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tifffile

from tests.harness.ports import free_port
from tests.harness.service_process import ROOT, Service

MACRO = (ROOT / "examples" / "b2s.ijm").read_text()
POST, ASK, FETCH = re.findall(r"exec\((.*)\);", MACRO)
TERM = re.compile(r'\s*(?:"((?:[^"\\]|\\.)*)"|(\w+))\s*([,+]?)')

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")


def run(line: str, **variables: str) -> str:
    """Stdout of an `exec(…)`: its arguments are literals and variables, joined by `+`."""
    arguments, joined = [""], TERM.finditer(line)
    for literal, name, sign in (found.groups() for found in joined):
        arguments[-1] += variables[name] if name else literal
        if sign == ",":
            arguments.append("")
    assert arguments[0] == "curl" and all(arguments)
    return subprocess.run(arguments, capture_output=True, text=True, timeout=120, check=False).stdout


@pytest.fixture
def names(service: Service, tmp_path: Path) -> dict[str, str]:
    """The macro's variables, over a stack as ImageJ saves it."""
    stack = np.random.default_rng(0).poisson(40, (3, 40, 50)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "noisy.tif", stack, imagej=True, resolution=(4, 4), metadata={"unit": "um"})
    places = {"noisy": str(tmp_path / "noisy.tif"), "clean": str(tmp_path / "clean.tif")}
    return places | {"url": service.url, "key": "", "strength": "0.9", "wait": "100"}


def require_result(names: dict[str, str]) -> None:
    with tifffile.TiffFile(names["clean"]) as file, tifffile.TiffFile(names["noisy"]) as before:
        clean, noisy = file.asarray(), before.asarray()
        assert file.is_imagej and (file.imagej_metadata or {})["unit"] == "um"
    assert clean.shape == noisy.shape and clean.dtype == noisy.dtype and clean.std() < noisy.std()


def test_the_image_comes_back_in_one_request(names: dict[str, str]) -> None:
    assert run(POST, **names) == "200"
    require_result(names)


def test_a_long_job_is_asked_for_again(names: dict[str, str]) -> None:
    assert run(POST, **names | {"wait": "0"}) == "202"
    job = json.loads(Path(names["clean"]).read_text())
    assert re.findall(r'"id":"([^"]*)"', Path(names["clean"]).read_text())[0] == job["id"]  # what the macro finds
    run(ASK, **names, id=job["id"])
    assert '"state":"succeeded"' in Path(names["clean"]).read_text()
    assert run(FETCH, **names, id=job["id"]) == "200"
    require_result(names)


def test_a_refusal_has_words_and_silence_has_a_code(names: dict[str, str]) -> None:
    assert run(POST, **names | {"strength": "7"}) == "422"
    assert '"detail":"' in Path(names["clean"]).read_text()
    assert run(POST, **names | {"url": f"http://127.0.0.1:{free_port()}"}) == "000"


def test_every_bracket_of_the_macro_closes() -> None:
    code = re.sub(r'"(?:[^"\\]|\\.)*"|//[^\n]*', "", MACRO)
    for opens, closes in ("()", "{}"):
        assert code.count(opens) == code.count(closes)
    assert '"' not in code
