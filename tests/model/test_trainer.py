import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from model import checkpoint, weights
from model.config import EstimatorConfig, NetworkConfig, ObjectiveConfig, TrainConfig
from model.data import NoImagesError, read_training_set
from model.session import train_in_folder
from model.trainer import Trainer

TINY = TrainConfig(
    network=NetworkConfig("shuffle_unet", 1, widths=(8, 8), blocks=(1, 1), residual=False),
    estimator=EstimatorConfig(1, widths=(8, 8, 8), unshuffle=2),
    objective=ObjectiveConfig("blind2sound", regulariser_every=2),
    noise="PG2",
    steps=6,
    batch=2,
    crop=32,
    warmup_steps=2,
)


def pictures(count: int = 3, size: int = 48) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    ramp = np.linspace(40, 200, size)
    return [
        np.clip(ramp[None, None] + rng.normal(0, 3, (1, size, size)), 0, 255).astype(np.uint8) for _ in range(count)
    ]


def state(trainer: Trainer) -> dict[str, torch.Tensor]:
    return trainer.checkpoint().tensors


@pytest.mark.parametrize(
    ("objective", "fixed"),
    [("blind2sound", True), ("blind2sound", False), ("blind2unblind", True), ("n2c", False)],
)
def test_a_resumed_run_ends_with_the_same_weights(objective: str, fixed: bool) -> None:
    config = replace(TINY, objective=ObjectiveConfig(objective, regulariser_every=2), fixed_noise=fixed)
    undisturbed = Trainer(config, pictures())
    undisturbed.run()

    first = Trainer(config, pictures())
    first.run(should_stop=lambda: first.step == 3)
    saved = checkpoint.from_bytes(checkpoint.to_bytes(first.checkpoint()))
    second = Trainer(config, pictures())
    second.restore(saved)
    assert second.step == 3
    second.run()

    expected, got = state(undisturbed), state(second)
    assert expected.keys() == got.keys()
    assert all(torch.equal(expected[name], got[name]) for name in expected)
    fresh = state(Trainer(config, pictures()))
    assert not torch.equal(fresh["f.head.weight"], got["f.head.weight"])  # it did train


def test_self_supervised_training_never_sees_a_clean_pixel() -> None:
    trainer = Trainer(replace(TINY, fixed_noise=True), pictures())
    assert trainer.sampler.images[0].dtype == np.float32
    batch = trainer.draw_batch(0, 0.0)
    assert batch.clean is None
    assert np.std(trainer.sampler.images[0] - pictures()[0] / 255) > 0.05
    again = Trainer(replace(TINY, fixed_noise=True), pictures())
    assert np.array_equal(trainer.sampler.images[0], again.sampler.images[0])  # one draw, then fixed


def test_loss_falls() -> None:
    config = replace(TINY, steps=80, objective=ObjectiveConfig("n2c"), lr=3e-3)
    losses: list[float] = []
    Trainer(config, pictures()).run(lambda stats: losses.append(stats.parts["log_mse"]))
    assert np.mean(losses[-10:]) < np.mean(losses[:10]) - 0.5


def test_learning_rate_schedules() -> None:
    trainer = Trainer(replace(TINY, schedule="halving", steps=100, warmup_steps=1), pictures())
    rates = []
    for step in (0, 19, 20, 40, 60, 80, 99):
        trainer.step = step
        rates.append(trainer._set_learning_rate() / TINY.lr)
    assert rates == pytest.approx([1, 1, 0.5, 0.25, 0.125, 0.0625, 0.0625])


def test_checkpoints_survive_rot(tmp_path: Path) -> None:
    trainer = Trainer(TINY, pictures())
    trainer.run(should_stop=lambda: trainer.step == 2)
    older = checkpoint.write(tmp_path, 2, trainer.checkpoint())
    trainer.train_step()
    newer = checkpoint.write(tmp_path, 3, trainer.checkpoint())
    found = checkpoint.read_newest(tmp_path)
    assert found is not None and found.state["step"] == 3
    newer.write_bytes(newer.read_bytes()[:-100])
    found = checkpoint.read_newest(tmp_path)
    assert found is not None and found.state["step"] == 2
    older.unlink()
    assert checkpoint.read_newest(tmp_path) is None


def test_old_checkpoints_are_dropped(tmp_path: Path) -> None:
    trainer = Trainer(TINY, pictures())
    for step in range(5):
        checkpoint.write(tmp_path, step, trainer.checkpoint())
    assert sorted(int(p.name.split("-")[1]) for p in tmp_path.glob("*.ckpt")) == [3, 4]


def test_run_in_a_folder_publishes_and_logs(tmp_path: Path) -> None:
    assert train_in_folder(Trainer(TINY, pictures()), tmp_path, card={"made": "here"})
    lines = [json.loads(line) for line in (tmp_path / "stats.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 7))
    assert {"arv", "lambda", "alpha", "sigma", "lr", "images_per_second"} <= lines[0].keys()
    published = weights.read(tmp_path / "weights.safetensors")
    assert published.card["made"] == "here" and published.card["steps"] == 6
    assert published.denoiser.config == TINY.network
    # A finished run that is started again has nothing left to do.
    again = Trainer(TINY, pictures())
    assert train_in_folder(again, tmp_path, card={}) and again.step == 6


def test_sigterm_saves_and_the_same_command_goes_on(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for index, picture in enumerate(pictures()):
        Image.fromarray(picture[0]).save(images / f"{index}.png")
    (images / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")
    run = tmp_path / "run"
    command = [
        sys.executable, "-m", "model", "train", str(images), str(run), "--objective", "n2c", "--noise", "PG2",
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
    found = checkpoint.read_newest(run)
    assert found is not None
    steps = found.state["step"]
    assert steps >= 3

    done = subprocess.run([*command, str(steps + 2)], capture_output=True, text=True, timeout=120, check=True)
    assert f"done at step {steps + 2}" in done.stderr
    assert [json.loads(line)["step"] for line in log.read_text().splitlines()] == list(range(1, steps + 3))


def test_unreadable_sets_are_named(tmp_path: Path) -> None:
    with pytest.raises(NoImagesError, match="no image files"):
        read_training_set(tmp_path, 1)
    (tmp_path / "broken.png").write_bytes(b"no")
    with pytest.raises(NoImagesError, match=r"broken\.png"):
        read_training_set(tmp_path, 1)


def test_config_survives_the_checkpoint() -> None:
    assert TrainConfig.from_dict(json.loads(json.dumps(TINY.to_dict()))) == TINY


@pytest.mark.parametrize(
    ("change", "words"), [({"steps": None}, "budget"), ({"crop": 50}, "multiple of 32"), ({"noise": "PG9"}, "PG9")]
)
def test_bad_settings_are_refused(change: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Trainer(replace(TINY, **change), pictures()).train_step()
