import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from lab import checkpoints
from lab.files import NoImages
from lab.run_folder import train_in_folder
from lab.training_set import read_training_set
from model.networks import weights
from tests.harness.trainings import TINY, pictures, trainer_of


def test_checkpoints_survive_rot(tmp_path: Path) -> None:
    trainer = trainer_of(TINY)
    trainer.run(should_stop=lambda: trainer.step == 2)
    older = checkpoints.write(tmp_path, 2, trainer.checkpoint())
    trainer.train_step()
    newer = checkpoints.write(tmp_path, 3, trainer.checkpoint())
    found = checkpoints.read_newest(tmp_path)
    assert found is not None and found.state["step"] == 3
    newer.write_bytes(newer.read_bytes()[:-100])
    found = checkpoints.read_newest(tmp_path)
    assert found is not None and found.state["step"] == 2
    older.unlink()
    assert checkpoints.read_newest(tmp_path) is None


def test_old_checkpoints_are_dropped(tmp_path: Path) -> None:
    trainer = trainer_of(TINY)
    for step in range(5):
        checkpoints.write(tmp_path, step, trainer.checkpoint())
    assert sorted(int(p.name.split("-")[1]) for p in tmp_path.glob("*.ckpt")) == [3, 4]


def test_run_in_a_folder_publishes_and_logs(tmp_path: Path) -> None:
    assert train_in_folder(trainer_of(TINY), tmp_path, card={"made": "here"})
    lines = [json.loads(line) for line in (tmp_path / "stats.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 7))
    assert {"arv", "lambda", "alpha", "sigma", "lr", "images_per_second"} <= lines[0].keys()
    published = weights.read(tmp_path / "weights.safetensors")
    assert published.card["made"] == "here" and published.card["steps"] == 6
    assert published.denoiser.config == TINY.network
    # A finished run that is started again has nothing left to do.
    again = trainer_of(TINY)
    assert train_in_folder(again, tmp_path, card={}) and again.step == 6


def test_sigterm_saves_and_the_same_command_goes_on(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for index, picture in enumerate(pictures()):
        Image.fromarray(picture[0]).save(images / f"{index}.png")
    (images / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")
    run = tmp_path / "run"
    command = [
        sys.executable, "-m", "lab", "train", str(images), str(run), "--objective", "n2c", "--noise", "PG2",
        "--crop", "32", "--batch", "1", "--threads", "1", "--steps",
    ]  # fmt: skip
    process = subprocess.Popen(
        [*command, "100000"], stderr=subprocess.PIPE, text=True, env=os.environ | {"COLUMNS": "200"}
    )
    log = run / "stats.jsonl"
    deadline = time.monotonic() + 300
    while not (log.exists() and log.read_text().count("\n") >= 3) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert process.poll() is None and log.exists()
    process.send_signal(signal.SIGTERM)
    _, words = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "left out torn.png" in words and "stopped at step" in words
    found = checkpoints.read_newest(run)
    assert found is not None
    steps = found.state["step"]
    assert steps >= 3

    done = subprocess.run([*command, str(steps + 2)], capture_output=True, text=True, timeout=120, check=True)
    assert f"done at step {steps + 2}" in done.stderr
    assert [json.loads(line)["step"] for line in log.read_text().splitlines()] == list(range(1, steps + 3))


def test_unreadable_sets_are_named(tmp_path: Path) -> None:
    with pytest.raises(NoImages, match="no image files"):
        read_training_set(tmp_path, 1)
    (tmp_path / "broken.png").write_bytes(b"no")
    with pytest.raises(NoImages, match=r"broken\.png"):
        read_training_set(tmp_path, 1)
