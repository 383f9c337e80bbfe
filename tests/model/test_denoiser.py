from pathlib import Path

import numpy as np
import pytest
import torch

from model import Denoiser
from model.arrays.normalise import Normalisation
from model.config import NetworkConfig
from model.errors import InvalidArray, InvalidOption, WeightsError
from model.inference.backend import TorchBackend
from model.inference.denoiser import base_model_for
from model.inference.spread import estimate_with_spread
from model.networks import weights
from model.networks.unets import build_denoiser
from model.noise.poisson_gaussian import LEVELS
from model.synthesis.noises import Correlated
from model.synthesis.ranges import Uniform


@pytest.fixture(scope="module")
def stirring(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network with weights that move every pixel by what it sees all around, so that a seam could not hide."""
    torch.manual_seed(0)
    network = build_denoiser(NetworkConfig("shuffle_unet", 1, widths=(8, 12, 16), blocks=(1, 1, 2)))
    for parameter in network.parameters():
        if parameter.dim() == 4:
            torch.nn.init.kaiming_normal_(parameter, a=1.0)
    path = tmp_path_factory.mktemp("weights") / "stirring.safetensors"
    weights.write(path, network, {"made": "for tests"})
    return path


def scene(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width].astype(np.float32)
    return 0.5 + 0.25 * np.sin(x / 11) * np.cos(y / 17) + 0.15 * (np.hypot(x - 40, y - 40) < 25)


def noisy_scene(height: int, width: int, level: str = "PG1") -> np.ndarray:
    return LEVELS[level].add(scene(height, width), np.random.default_rng(0))


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(-10 * np.log10(np.mean((a - b) ** 2)))


@pytest.mark.parametrize("shape", [(300, 211), (129, 400)])
def test_tiled_equals_untiled(stirring: Path, shape: tuple[int, int]) -> None:
    denoiser = Denoiser.load(stirring, "cpu")
    image = np.random.default_rng(1).random(shape, np.float32)
    whole = denoiser.denoise(image, normalize="none", tile=4096)
    assert np.abs(whole - image).max() > 0.05
    tiled = denoiser.denoise(image, normalize="none", tile=64)
    assert np.abs(tiled - whole).max() <= 1e-4


def test_quartered_tiles_equal_whole_ones(stirring: Path) -> None:
    """The path taken when a GPU is out of memory."""
    backend = TorchBackend(weights.read(stirring).denoiser, torch.device("cpu"))
    unit = np.random.default_rng(1).random((1, 320, 256), np.float32)
    whole, parts = backend(unit, True), backend.in_quarters(unit, True)
    for a, b in zip(whole, parts, strict=True):
        assert a is not None and b is not None and np.abs(a - b).max() <= 1e-4


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (7, 3), (2, 2, 1), (33, 17), (9, 9, 5), (2, 20, 30, 2)])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_any_shape_keeps_shape_and_type(shape: tuple[int, ...], dtype: str) -> None:
    values = np.random.default_rng(0).random(shape)
    array = (values * 200).astype(dtype) if dtype != "float32" else values.astype(dtype)
    before = array.copy()
    out = Denoiser.load("base-gray", "cpu").denoise(array)
    assert out.shape == shape and out.dtype == array.dtype
    assert np.array_equal(array, before)  # the input is not touched


@pytest.mark.parametrize("level", ["PG1", "PG3"])
def test_shipped_gray_model_takes_noise_out(level: str) -> None:
    clean, noisy = scene(160, 160), noisy_scene(160, 160, level)
    out = Denoiser.load("base-gray", "cpu").denoise(noisy, normalize="none")
    assert psnr(out, clean) > psnr(noisy, clean) + 8


def test_shipped_rgb_model_takes_noise_out() -> None:
    clean = np.stack([scene(128, 128), 0.8 * scene(128, 128), 1 - scene(128, 128)], -1)
    noisy = LEVELS["PG1"].add(clean, np.random.default_rng(0))
    out = Denoiser.load("base-rgb", "cpu").denoise(noisy, normalize="none")
    assert psnr(out, clean) > psnr(noisy, clean) + 8


def test_nearly_clean_input_is_left_alone() -> None:
    clean = scene(128, 128)
    out = Denoiser.load("base-gray", "cpu").denoise(clean, normalize="none")
    assert psnr(out, clean) > 40


def test_other_channel_counts_go_one_by_one() -> None:
    denoiser = Denoiser.load("base-gray", "cpu")
    planes = np.stack([noisy_scene(40, 40), scene(40, 40)], -1)
    out = denoiser.denoise(planes, normalize="none")
    for channel in range(2):
        assert np.array_equal(out[..., channel], denoiser.denoise(planes[..., channel], normalize="none"))


def test_a_stack_is_normalised_once() -> None:
    """A dim page beside a bright one: by itself it would be stretched, in the stack it is not."""
    bright = (noisy_scene(48, 48) * 4000).clip(0).astype(np.uint16)
    dim = (bright // 50).astype(np.uint16)
    stack = np.stack([bright, dim])[..., None]
    together = Denoiser.load("base-gray", "cpu").denoise(stack)
    alone = Denoiser.load("base-gray", "cpu").denoise(stack[1:])
    assert not np.array_equal(together[1:], alone)


def test_units_do_not_matter_in_auto() -> None:
    """The same picture in other units (gain and offset) comes back the same in those units."""
    noisy = noisy_scene(64, 64)
    denoiser = Denoiser.load("base-gray", "cpu")
    plain, scaled = denoiser.denoise(noisy), denoiser.denoise(noisy * np.float32(900) + np.float32(50))
    assert np.abs((scaled - 50) / 900 - plain).max() < 1e-4


def test_strength_is_the_share_taken_out() -> None:
    denoiser, noisy = Denoiser.load("base-gray", "cpu"), noisy_scene(50, 70)
    full, half = (denoiser.denoise(noisy, strength=s, normalize="none") for s in (1.0, 0.5))
    assert np.allclose(half, (noisy + full) / 2, atol=1e-6)
    for array in (noisy, (noisy * 4e9).clip(0, 4e9).astype(np.uint32)):
        assert np.array_equal(denoiser.denoise(array, strength=0.0), array)
        assert np.array_equal(denoiser.denoise_with_report(array, strength=0.0)[0], array)


def test_report_comes_with_the_same_pixels() -> None:
    denoiser, noisy = Denoiser.load("base-gray", "cpu"), noisy_scene(200, 200)
    out, report = denoiser.denoise_with_report(noisy)
    assert np.array_equal(out, denoiser.denoise(noisy))
    assert report is not None and abs(report.residual_mean) < 0.01
    assert denoiser.denoise_with_report(noisy, report=False)[1] is None


def test_native_units_of_the_report() -> None:
    """Var = gain·(value − offset) + read²: for uint16 data with gain 20 and read noise 30, in the file's units."""
    rng = np.random.default_rng(3)
    counts = 20 * rng.poisson(scene(256, 256) * 200) + rng.normal(0, 30, (256, 256)) + 300
    _, report = Denoiser.load("base-gray", "cpu").denoise_with_report(counts.round().astype(np.uint16))
    assert report is not None
    assert report.alpha_native == pytest.approx(20, rel=0.3)


def test_progress_and_cancel(stirring: Path) -> None:
    seen: list[tuple[int, int]] = []
    denoiser = Denoiser.load(stirring, "cpu")
    image = np.zeros((2, 100, 100, 1), np.float32)
    denoiser.denoise(image, tile=56, on_tile=lambda done, total: seen.append((done, total)))
    assert seen == [(i, 8) for i in range(1, 9)]

    class Canceled(Exception):
        pass

    def cancel(done: int, total: int) -> None:
        raise Canceled

    with pytest.raises(Canceled):
        denoiser.denoise(image, on_tile=cancel)


def test_given_normalisation_is_used(stirring: Path) -> None:
    denoiser = Denoiser.load(stirring, "cpu")
    image = np.random.default_rng(0).random((40, 40), np.float32) * 100
    direct = denoiser.denoise(image / 100, normalize="none") * 100
    assert np.allclose(denoiser.denoise(image, normalize=Normalisation(0.0, 100.0)), direct, atol=1e-3)


@pytest.mark.parametrize(
    ("array", "options", "error", "words"),
    [
        (np.array([[np.inf, np.nan]], np.float32), {}, InvalidArray, "no pixel of the image measured anything"),
        (np.zeros((2, 2), bool), {}, InvalidArray, "uint8, uint16 or float32"),
        (np.zeros((2, 2), np.int64), {}, InvalidArray, "int64"),
        (np.zeros((2, 2), complex), {}, InvalidArray, "complex"),
        (np.zeros((0, 2), np.float32), {}, InvalidArray, "empty"),
        (np.zeros(5, np.float32), {}, InvalidArray, r"\(H, W\)"),
        (np.zeros((4, 4), np.float32), {"strength": 1.5}, InvalidOption, "between 0 and 1"),
        (np.zeros((4, 4), np.float32), {"strength": float("nan")}, InvalidOption, "between 0 and 1"),
        (np.zeros((4, 4), np.float32), {"normalize": "best"}, InvalidOption, "auto, dtype or none"),
        (np.zeros((4, 4), np.float32), {"tile": 0}, InvalidOption, "tile"),
    ],
)
def test_bad_input_is_refused(array: np.ndarray, options: dict, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        Denoiser.load("base-gray", "cpu").denoise(array, **options)


def test_rgb_model_names_the_way_out() -> None:
    with pytest.raises(InvalidArray, match="base-gray"):
        Denoiser.load("base-rgb", "cpu").denoise(np.zeros((8, 8, 5), np.float32))


def test_missing_and_foreign_weights(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"base-gray.*base-rgb"):
        Denoiser.load("base-purple")
    foreign = tmp_path / "x.safetensors"
    foreign.write_bytes(b"not weights")
    with pytest.raises(WeightsError, match="not a model of this program"):
        Denoiser.load(foreign)


def test_base_model_for_channels() -> None:
    assert [base_model_for(c) for c in (1, 2, 3, 4, 7)] == [
        "base-gray",
        "base-gray",
        "base-rgb",
        "base-gray",
        "base-gray",
    ]


def test_estimate_with_spread() -> None:
    found = estimate_with_spread(Denoiser.load("base-gray", "cpu"), noisy_scene(192, 192, "PG3"), "none")
    assert found["alpha"] == pytest.approx(0.05, rel=0.3)
    assert 0 < found["alpha_spread"] < 0.03


def test_a_model_of_the_tone_curve_takes_integers_by_their_full_scale() -> None:
    """What a camera's curve does to noise depends on the brightness itself, not on the range that an image spans."""
    camera = Denoiser.load("base-camera")
    dark = (np.random.default_rng(0).random((64, 64, 3)) * 60 + 20).astype(np.uint8)
    (scaling,) = camera.scalings(dark).by_kind.values()
    assert (scaling.offset, scaling.scale) == (0.0, 255.0)
    (by_percentiles,) = camera.scalings(dark.astype(np.float32)).by_kind.values()
    assert by_percentiles.scale < 70


def test_a_model_for_a_camera_s_noise_does_not_warn_of_it() -> None:
    """The warnings of the base for independent noise say to send the raw file: here nothing is left to be warned of."""
    rng = np.random.default_rng(0)
    side = 256
    y, x = np.mgrid[:side, :side] / side
    scene = np.stack([0.3 + 0.2 * np.sin(6 * x), 0.35 + 0.2 * np.cos(5 * y), 0.3 + 0.1 * x], 0).astype(np.float32)
    noise = Correlated(
        exposure=Uniform(1, 1), alpha=Uniform(0.002, 0.002), sigma=Uniform(0.02, 0.02), width=Uniform(0.6, 0.6)
    )
    noisy = np.rint(np.clip(noise(scene, rng).noisy, 0, 1) * 255).astype(np.uint8).transpose(1, 2, 0)
    told = {}
    for name in ("base-camera", "base-rgb"):
        _, report = Denoiser.load(name).denoise_with_report(noisy)
        assert report is not None
        told[name] = " ".join(report.warnings)
    assert "share part of their noise" in told["base-rgb"]
    assert "share part of their noise" not in told["base-camera"]
    assert "no pure noise" not in told["base-camera"]
    assert "cannot take out" not in told["base-camera"]
