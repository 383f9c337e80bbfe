"""The RAW protocol: mosaics in, packed to four channels, trained on, scored as mosaics."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from benchmarks import simulated_raw
from lab import raw_sets
from lab.files import NoImages
from lab.training_set import read_training_set
from model.config import ObjectiveConfig, TrainConfig, network_preset
from model.errors import InvalidArray
from model.inference.denoiser import Denoiser
from model.networks import weights
from model.training import sampler
from model.training.trainer import Trainer


@pytest.fixture
def sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Noisy and clean mosaics of two photographs, by the command that makes them."""
    photographs = tmp_path / "photographs"
    photographs.mkdir()
    ramp = np.linspace(40, 220, 130)
    for number in range(2):
        planes = [np.outer(ramp, np.roll(ramp, 20 * (number + channel))) / 220 for channel in range(3)]
        Image.fromarray(np.uint8(np.stack(planes, -1))).save(photographs / f"{number}.png")
    monkeypatch.setattr(sys, "argv", ["simulated_raw", str(photographs), str(tmp_path / "raw"), "--level", "PG3"])
    simulated_raw.main()
    return tmp_path / "raw"


def test_packing_keeps_every_site() -> None:
    mosaic = np.arange(24.0).reshape(4, 6)
    planes = raw_sets.packed(mosaic)
    assert planes.shape == (4, 2, 3) and list(planes[:, 0, 0]) == [0, 1, 6, 7]
    assert np.array_equal(raw_sets.unpacked(planes), mosaic)


def test_a_mosaic_s_sites_have_the_colours_of_the_photograph() -> None:
    photograph = np.stack([np.full((6, 8), value, np.float32) for value in (1.0, 0.5, 0.0)])
    planes = raw_sets.packed(simulated_raw.mosaic(photograph))
    assert planes[:, 0, 0] == pytest.approx([0.5, 0.107, 0.107, 0.0], abs=1e-3)  # sRGB's 0.5 is 0.214 of the light


def test_train_and_score_on_simulated_mosaics(sets: Path) -> None:
    images = read_training_set(sets / "noisy", 4)
    assert [image.shape for image in images] == [(4, 65, 65)] * 2
    config = TrainConfig(
        network_preset("fast", 4, residual=False), ObjectiveConfig("blind2sound"), steps=2, batch=1, crop=32
    )
    trainer = Trainer(config, sampler.of_images(config, images))
    for _ in range(2):
        trainer.train_step()
    path = sets / "raw.safetensors"
    weights.write(path, trainer.published(), {})
    score = raw_sets.against_raw_reference(Denoiser.load(path, "cpu"), sets / "noisy", sets / "clean")
    assert score.n == 2 and np.isfinite(score.psnr) and 0 < score.ssim <= 1


def test_matlab_blocks_are_read_and_pair_by_being_alone(tmp_path: Path) -> None:
    blocks = np.random.default_rng(0).random((2, 3, 8, 8), np.float32)
    savemat(tmp_path / "ValidationNoisyBlocksRaw.mat", {"ValidationNoisyBlocksRaw": blocks})
    (path,) = raw_sets.raw_files(tmp_path)
    found = list(raw_sets.mosaics(path))
    assert len(found) == 6 and np.array_equal(found[4], blocks[1, 1])
    assert raw_sets._pairs([path], [tmp_path / "ValidationGtBlocksRaw.mat"])[0][0] == path


def test_what_is_no_mosaic_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(NoImages, match=r"abdokamel\.github\.io/sidd"):
        raw_sets.raw_files(tmp_path)
    np.save(tmp_path / "odd.npy", np.zeros((5, 6)))
    with pytest.raises(InvalidArray, match="no array of mosaics of even sides"):
        list(raw_sets.mosaics(tmp_path / "odd.npy"))
