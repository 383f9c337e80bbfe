"""Which way a network runs, and that bfloat16 says what float32 says."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from model import Denoiser
from model.config import NetworkConfig, network_preset
from model.errors import InvalidOption
from model.inference import backend, precision
from model.inference.onednn_runtime import OneDnnRuntime
from model.inference.precision import Floats, Run, pays
from model.networks import weights
from model.networks.unets import ShuffleUNet, build_denoiser
from model.noise.poisson_gaussian import LEVELS
from tests.model.test_denoiser import psnr, scene


def fast(channels: int = 1, residual: bool = True) -> ShuffleUNet:
    network = build_denoiser(NetworkConfig("shuffle_unet", channels, (8, 16), (2, 1), residual=residual)).eval()
    assert isinstance(network, ShuffleUNet)
    return network.requires_grad_(False)


@pytest.mark.parametrize("name", weights.shipped_models())
@pytest.mark.parametrize(("height", "width"), [(16, 16), (96, 200)])
def test_bfloat16_agrees_with_float32(name: str, height: int, width: int) -> None:
    network = weights.read(weights.resolve(name)).denoiser
    assert isinstance(network, ShuffleUNet)
    noisy = np.random.default_rng(0).random((network.channels, height, width), np.float32)
    mean, factor = OneDnnRuntime(network)(noisy)
    with torch.inference_mode():
        expected_mean, expected_factor = network(torch.from_numpy(noisy)[None])
    assert mean.shape == noisy.shape and factor.shape == expected_factor.shape[1:]
    change = np.abs(expected_mean[0].numpy() - noisy).max()
    assert np.abs(mean - expected_mean[0].numpy()).max() < 0.02 * change
    # The factor only tells how sure the mean is; on uniform noise base-gray's differs by 2.2 % of its largest value.
    assert np.abs(factor - expected_factor[0].numpy()).max() < 0.03 * float(expected_factor.abs().max())


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("residual", [True, False])
def test_sizes_that_are_not_shipped_agree_too(residual: bool, packed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not packed:  # as a torch without these operators
        monkeypatch.setattr("model.inference.onednn_runtime.hasattr", lambda *_: False, raising=False)
    torch.manual_seed(0)
    network = fast(4, residual)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    noisy = np.random.default_rng(1).random((4, 32, 48), np.float32)
    mean, _ = OneDnnRuntime(network)(noisy)
    with torch.inference_mode():
        expected = network(torch.from_numpy(noisy)[None])[0][0].numpy()
    assert np.abs(mean - expected).max() < 0.02 * float(np.abs(expected).max())


def test_the_image_itself_is_never_rounded() -> None:
    noisy = np.random.default_rng(0).random((1, 32, 32), np.float32)
    assert np.array_equal(OneDnnRuntime(fast())(noisy)[0], noisy)  # a fresh network corrects nothing


@pytest.mark.parametrize("level", ["PG1", "PG3"])
def test_bfloat16_costs_no_quality(level: str) -> None:
    clean = scene(160, 160)
    noisy = LEVELS[level].add(clean, np.random.default_rng(0))
    exact, rounded = (Denoiser.load("base-gray", "cpu", p).denoise(noisy) for p in ("float32", "bfloat16"))
    assert psnr(rounded, clean) > psnr(exact, clean) - 0.01
    assert np.abs(rounded - exact).max() < 0.005 * np.ptp(noisy)


def test_a_nearly_clean_image_of_16_bits_keeps_its_values() -> None:
    values = scene(160, 160) + np.random.default_rng(0).normal(0, 2e-4, (160, 160))
    image = (np.clip(values, 0, 1) * 65535).astype(np.uint16)
    exact, rounded = (Denoiser.load("base-gray", "cpu", p).denoise(image) for p in ("float32", "bfloat16"))
    off = np.abs(rounded.astype(float) - exact) / np.ptp(image)
    assert np.sqrt(np.mean(off**2)) < 2e-4 and np.quantile(off, 0.999) < 1e-3 and off.max() < 5e-3


def test_the_setting_decides_and_the_denoiser_says_what_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    load = Denoiser.load
    assert load("base-gray", "cpu", "float32").backend == "ncnn-float32"
    assert load("base-gray", "cpu", "bfloat16").backend == "onednn-bfloat16"
    for faster, name in ((True, "onednn-bfloat16"), (False, "ncnn-float32")):
        monkeypatch.setattr(backend, "pays", lambda *_, told=faster: told)
        assert load("base-gray", "cpu").backend == name
    paper = Denoiser("paper", build_denoiser(network_preset("paper", 1)), {}, "", torch.device("cpu"), "bfloat16")
    assert paper.backend == "torch-float32"
    with pytest.raises(InvalidOption, match="auto, float32 or bfloat16"):
        load("base-gray", "cpu", "half")


def test_model_needs_numpy_torch_and_safetensors_alone() -> None:
    code = (
        "import sys; sys.modules |= dict.fromkeys(('ncnn', 'scipy', 'PIL', 'tifffile', 'imagecodecs', 'pydantic'))\n"
        "from model import Denoiser; import numpy as np\n"
        "base = Denoiser.load('base-gray', 'cpu'); base.denoise(np.zeros((20, 20), np.uint8)); print(base.backend)"
    )
    root = Path(__file__).parents[2]
    run = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert run.stdout.strip() in ("torch-float32", "onednn-bfloat16")


def exact(window: Floats, with_variance: bool) -> tuple[Floats, None]:
    return window, None


def wrong(window: Floats, with_variance: bool) -> tuple[Floats, None]:
    return np.full_like(window, np.nan), None


@pytest.mark.parametrize(
    ("bfloat16", "ratio", "verdict"),
    [(exact, 1.4, False), (exact, 1.6, True), (exact, 0.5, False), (wrong, 9.0, False)],
)
def test_the_trial(bfloat16: Run, ratio: float, verdict: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Much faster and right, or it is not taken; and a size is tried once."""
    float32 = lambda window, with_variance: exact(window, with_variance)  # noqa: E731  # told from `exact` by identity
    monkeypatch.setattr(precision, "_seconds", lambda run, window: ratio if run is float32 else 1.0)
    monkeypatch.setattr(precision, "_VERDICTS", {})
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    tried = []

    def make() -> Run:
        tried.append(1)
        return bfloat16

    network, threads = fast(), torch.get_num_threads()
    assert [pays(network, lambda: float32, make) for _ in range(2)] == [verdict, verdict]
    assert (len(tried), torch.get_num_threads()) == (1, threads)


def test_a_cpu_that_cannot_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "_VERDICTS", {})
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)

    def make() -> Run:
        raise AssertionError("tried all the same")

    assert not pays(fast(), make, make)
