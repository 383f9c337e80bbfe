import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from typer.testing import CliRunner

from lab import evaluate
from lab.cli import app
from model.networks import weights


@pytest.fixture
def pair() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    clean = np.cumsum(rng.normal(0, 4, (60, 70)), axis=1) % 256
    return clean + rng.normal(0, 12, clean.shape), clean


def test_psnr_and_ssim_are_the_usual_ones(pair: tuple[np.ndarray, np.ndarray]) -> None:
    noisy, clean = pair
    assert evaluate.psnr(noisy, clean) == pytest.approx(peak_signal_noise_ratio(clean, noisy, data_range=255))
    reference = structural_similarity(
        clean, noisy, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True
    )[1][5:-5, 5:-5].mean()
    assert evaluate.ssim(noisy[None], clean[None]) == pytest.approx(reference, abs=1e-3)


def test_affine_fit_undoes_a_gain_and_offset(pair: tuple[np.ndarray, np.ndarray]) -> None:
    _, clean = pair
    assert np.allclose(evaluate.fit_affine(0.3 * clean + 20, clean), clean)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    y, x = np.mgrid[:96, :96]
    for name, period in (("a", 9), ("b", 14)):
        picture = 127 + 80 * np.sin(x / period) * np.cos(y / 11)
        Image.fromarray(picture.astype(np.uint8)).save(tmp_path / f"{name}.png")
    return tmp_path


def test_evaluate_prints_one_object(folder: Path) -> None:
    arguments = ["evaluate", "--weights", "base-gray", "--images", str(folder), "--noise", "PG1", "--json"]
    first, second = (json.loads(CliRunner().invoke(app, arguments).stdout) for _ in range(2))
    assert first["n"] == 2 and first["psnr"] > 28 and 0.5 < first["ssim"] <= 1 and first["seconds"] > 0
    assert first["psnr"] == second["psnr"]  # the protocol's seed


def test_evaluate_real_pairs(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    noisy = tmp_path_factory.mktemp("noisy")
    rng = np.random.default_rng(0)
    for path in folder.iterdir():
        picture = 0.5 * np.asarray(Image.open(path)) + 30 + rng.normal(0, 6, (96, 96))
        Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(noisy / path.name)
    base = ["evaluate", "--weights", "base-gray", "--images", str(noisy), "--reference", str(folder), "--json"]
    plain, fitted = (json.loads(CliRunner().invoke(app, [*base, *more]).stdout) for more in ([], ["--affine"]))
    assert fitted["psnr"] > 25 > plain["psnr"]


def test_denoise_and_estimate_files(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = CliRunner().invoke(app, ["denoise", str(folder), str(out)])
    assert result.exit_code == 0, result.output
    assert sorted(p.name for p in out.iterdir()) == ["a.png", "b.png"]
    assert np.asarray(Image.open(out / "a.png")).shape == (96, 96)
    lines = CliRunner().invoke(app, ["estimate", str(folder / "a.png"), "--json"]).stdout.splitlines()
    assert json.loads(lines[0]).keys() == {"file", "alpha", "sigma", "alpha_spread", "sigma_spread"}


def test_dry_run_prints_the_configuration(folder: Path, tmp_path: Path) -> None:
    arguments = ["train", str(folder), str(tmp_path / "run"), "--preset", "paper", "--steps", "10", "--dry-run"]
    printed = json.loads(CliRunner().invoke(app, arguments).stdout)
    assert printed["network"]["architecture"] == "paper_unet" and printed["steps"] == 10
    assert printed["objective"]["risk"] == 0.0 and printed["objective"]["beta"] == 0.0  # as published
    assert not (tmp_path / "run").exists()
    ours = json.loads(CliRunner().invoke(app, [*arguments[:4], "fast", *arguments[5:], "--beta", "0"]).stdout)
    assert ours["objective"]["risk"] == 1.0 and ours["objective"]["beta"] == 0.0


@pytest.mark.training
def test_train_on_a_recipe_says_so_in_the_card(folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    short = ["--objective", "n2c", "--recipe", "gray", "--steps", "2", "--crop", "32"]
    assert CliRunner().invoke(app, ["train", str(folder), str(run), *short]).exit_code == 0
    card = weights.read(run / "weights.safetensors").card
    assert card["noise"] == {"recipe": "gray"} and card["steps"] == 2


def test_publish_writes_half_the_bytes_and_lists_the_sources(folder: Path, tmp_path: Path) -> None:
    shipped, target, sources = weights.resolve("base-gray"), tmp_path / "new.safetensors", tmp_path / "sources.json"
    whole = tmp_path / "whole.safetensors"
    before = weights.read(shipped)
    weights.write(whole, before.denoiser, before.card)
    sources.write_text('{"a.png": {"licence": "CC0-1.0"}}')
    done = CliRunner().invoke(app, ["publish", str(whole), str(target), "--sources", str(sources)])
    assert done.exit_code == 0, done.output
    after = weights.read(target)
    assert after.card["sources"]["a.png"]["licence"] == "CC0-1.0"
    assert target.stat().st_size < 0.55 * whole.stat().st_size
    for name, value in before.denoiser.state_dict().items():
        assert np.allclose(value, after.denoiser.state_dict()[name], rtol=1e-3, atol=1e-6)
