"""The tables: trained, scored, kept and gone on with."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from lab.cli import app
from lab.evaluate import noisy_pairs
from lab.reproduce import Budget, Cell
from lab.tables import markdown, plot
from model.errors import InvalidOption
from model.training.objectives.table import OBJECTIVES


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for folder in ("train", "test"):
        (tmp_path / folder).mkdir()
        for number in range(2):
            ramp = np.add.outer(np.arange(72), np.arange(70)) + rng.integers(20, 90)
            Image.fromarray(ramp.astype(np.uint8)).save(tmp_path / folder / f"{number}.png")
    return tmp_path


def reproduce(folders: Path, *more: str) -> str:
    arguments = ["reproduce", str(folders / "train"), str(folders / "out"), "--test", f"Set12={folders / 'test'}"]
    run = CliRunner().invoke(app, [*arguments, "--steps", "2", "--crop", "32", "--batch", "1", *more])
    assert run.exit_code == 0, run.output
    return run.output


def test_every_method_of_the_table_is_trained_scored_and_set_beside_what_is_published(folders: Path) -> None:
    table = reproduce(folders, "--level", "PG1", "--marks", "2")
    rows = [line.split(" | ") for line in table.splitlines() if line.startswith("| PG1 | ") and line.count("|") == 7]
    assert {row[1] for row in rows} == set(OBJECTIVES) - {"thinning", "frames"}
    assert next(row[3] for row in rows if row[1] == "blind2sound") == "31.68 / 0.886"
    assert next(row[3] for row in rows if row[1] == "noise2void") == ""  # no source of ours prints it
    assert "PGE-Net, published | 0.0101" in table
    result = json.loads((folders / "out" / "n2n-PG1-0" / "result.json").read_text())
    assert result["steps"] == 2 and [point["step"] for point in result["curve"]] == [1, 2]
    assert np.isfinite(result["scores"]["Set12"]["psnr"]) and result["scores"]["Set12"]["n"] == 2
    assert (folders / "out" / "curves.svg").read_text().count("<polyline") == len(rows)


def test_a_finished_cell_is_read_and_not_trained_again(folders: Path) -> None:
    chosen = ("--method", "n2c", "--level", "PG3")
    first = reproduce(folders, *chosen)
    file = folders / "out" / "n2c-PG3-0" / "result.json"
    before = file.stat().st_mtime_ns
    assert reproduce(folders, *chosen)[-200:] == first[-200:] and file.stat().st_mtime_ns == before


def test_an_ablation_is_a_method_with_a_changed_setting() -> None:
    config = Cell("blind2sound:regulariser=100,enhanced_noise=false,phases=4", "PG1").config(Budget())
    assert (config.objective.regulariser, config.objective.enhanced_noise, config.objective.phases) == (100.0, False, 4)
    assert config.fixed_noise and not config.network.residual


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("median", "no method 'median'"),
        ("blind2sound:colour=1", "no setting 'colour'"),
        ("blind2sound:regulariser=much", "takes a float"),
        ("blind2sound:enhanced_noise=1", "takes a bool"),
    ],
)
def test_a_mistake_is_told_before_anything_is_trained(method: str, words: str) -> None:
    with pytest.raises(InvalidOption, match=words):
        Cell(method, "PG1").config(Budget())


def test_seeds_are_one_row_with_their_spread() -> None:
    cells = [
        {"method": "n2c", "level": "PG1", "seed": seed, "minutes": 2.0, "scores": {"S": {"psnr": psnr, "ssim": 0.5}},
         "noise": None, "curve": []}
        for seed, psnr in ((0, 30.0), (1, 31.0))
    ]  # fmt: skip
    assert "| PG1 | n2c | 30.50 ± 0.71 / 0.500 |  | 2 | 2.0 |" in markdown(cells)
    assert plot(cells) == ""


def test_the_protocol_draws_one_noise_an_image(folders: Path) -> None:
    once, again = (list(noisy_pairs(folders / "test", 1, "PG3")) for _ in range(2))
    assert all(np.array_equal(a[0], b[0]) for a, b in zip(once, again, strict=True))
    assert not np.array_equal(once[0][0] - once[0][1], once[1][0] - once[1][1])
