"""Which images a fine-tune is sent, under which names; and the whole of it against the real service."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from b2s_client import Client, RequestRefused
from b2s_client.sets import collect, set_name, training_seconds
from tests.harness.service_process import Service
from tests.harness.shell import Shell, write_noise


def test_a_folder_keeps_its_structure(tmp_path: Path) -> None:
    for number, name in enumerate(["b.png", "sub/a.png", "sub/.hidden.png", "set.zip"]):
        write_noise(tmp_path / name.replace(".zip", ".png"), number)
        (tmp_path / name.replace(".zip", ".png")).rename(tmp_path / name)
    (tmp_path / "notes.txt").write_text("words")
    assert [image.name for image in collect(tmp_path)] == ["b.png", "set.zip", "sub/a.png"]
    assert [image.name for image in collect([tmp_path / "sub" / "a.png", tmp_path / "notes.txt"])] == [
        "a.png", "notes.txt",
    ]  # fmt: skip


def test_the_same_images_have_the_same_name_and_others_another(tmp_path: Path) -> None:
    for number in range(3):
        write_noise(tmp_path / f"{number}.png", number)
    name = set_name(collect(tmp_path))
    assert name == set_name(reversed(collect(tmp_path)))
    write_noise(tmp_path / "0.png", 9)
    assert name != set_name(collect(tmp_path))


def test_names_that_collide_are_told_apart(tmp_path: Path) -> None:
    for number, folder in enumerate("ab"):
        write_noise(tmp_path / folder / "x.png", number)
    assert len({image.name for image in collect([tmp_path / "a", tmp_path / "b"])}) == 2


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"gone\.png"):
        collect([tmp_path / "gone.png"])
    with pytest.raises(ValueError, match="no image"):
        collect(tmp_path)
    with pytest.raises(ValueError, match="type complex128"):
        collect([np.zeros((9, 9), complex)])


def test_the_wait_covers_the_training_and_the_queue() -> None:
    assert training_seconds({"max_minutes": 2}) == 3720
    assert training_seconds({}) == 4500


def test_refused_options_cost_no_dataset_twice(service: Service, client: Client, tmp_path: Path) -> None:
    arrays = [np.random.default_rng(seed).integers(0, 255, (64, 64)).astype(np.uint8) for seed in range(3)]
    uploads: list[tuple[int, int]] = []
    for _ in range(2):
        with pytest.raises(RequestRefused, match="base_model"):
            client.finetune(arrays, base_model="mdl_none", on_upload=lambda done, total: uploads.append((done, total)))
    assert uploads == [(1, 3), (2, 3), (3, 3)] * 2
    name = set_name(collect(arrays))
    found = client._http.get("/datasets", params={"name": name}).json()["datasets"]
    assert [(one["name"], one["images"]) for one in found] == [(name, 3)]


def test_b2s_finetune_makes_a_model_and_shows_its_points(service: Service, tmp_path: Path) -> None:
    b2s = Shell(service.url, tmp_path)
    for number in range(4):
        write_noise(tmp_path / "in" / f"{number}.png", number, side=128)
    lines = b2s.lines("finetune", "in", "--steps", "3", "--name", "waves", "--seed", "1")
    made = lines[-1]
    assert made["kept"] == 4 and made["left_out"] == 0 and "gain_db" in made["scores"]
    phases = dict.fromkeys(line["phase"] for line in lines[:-1] if line.get("phase"))
    assert list(phases) == ["validating", "training", "evaluating", "publishing"]
    with Client(service.url) as client:
        model = next(model for model in client.models() if model.id == made["model"])
        assert model.raw["name"] == "waves" and model.raw["promoted"] == made["promoted"]
        assert len(client.weights(model.id)) == model.raw["weights_bytes"]
        client.delete_model(model.id)
    assert "--minutes" in b2s("finetune", "--help")
