"""Images whose values are not those of one scene: hot pixels, marks for missing data, channels unlike in brightness."""

from pathlib import Path

import numpy as np
import pytest

from model import Denoiser
from model.arrays.normalise import IDENTITY, brightness_range, sample
from model.errors import InvalidOption
from model.networks import weights
from model.planes import Scalings
from model.report.builder import ReportBuilder

ROOMY = 40  # pixels: farther from a disturbed one, what the network sees of it is a plain bright spot


def scene(height: int = 128, width: int = 160) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return 0.5 + 0.25 * np.sin(x / 11) * np.cos(y / 17) + 0.15 * (np.hypot(x - 40, y - 40) < 25)


def shot(peak: float, seed: int = 0, image: np.ndarray | None = None) -> np.ndarray:
    image = scene() if image is None else image
    return np.random.default_rng(seed).poisson(image * peak).astype(np.uint16)


def rmse(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.sqrt(np.mean((a.astype(float) - b) ** 2)))


@pytest.fixture(scope="module")
def gray() -> Denoiser:
    return Denoiser.load("base-gray", "cpu")


@pytest.mark.parametrize("value", [1_500, 60_000])
def test_a_hot_pixel_stays_and_disturbs_none_about_it(gray: Denoiser, value: int) -> None:
    noisy = shot(100)
    hot = noisy.copy()
    hot[64, 80] = value
    without, with_it = gray.denoise(noisy), gray.denoise(hot)
    assert with_it[64, 80] == value
    moved = np.argwhere(np.abs(with_it.astype(int) - without) > 5)
    distances = np.abs(moved - (64, 80)).max(1)
    assert len(moved) < 30 and distances.max() < ROOMY  # 9,116 pixels, up to 69 away, when the network was shown 60000


@pytest.mark.parametrize("mark", [-9999.0, -3.4e38, 1e30])
def test_marks_for_missing_data_stay_and_do_not_set_the_scale(gray: Denoiser, mark: float) -> None:
    clean = scene()
    noisy = (clean + np.random.default_rng(0).normal(0, 0.05, clean.shape)).astype(np.float32)
    marked = noisy.copy()
    marked[:, :8] = mark
    out, report = gray.denoise_with_report(marked)
    assert report is not None
    assert np.array_equal(out[:, :8], marked[:, :8])
    assert rmse(out[:, 12:], clean[:, 12:]) < 1.1 * rmse(gray.denoise(noisy)[:, 12:], clean[:, 12:])
    assert report.missing_share == pytest.approx(0.05, abs=0.001) and report.left_share == 0
    assert report.sigma_native == pytest.approx(0.05, rel=0.1)
    assert any("measured nothing" in warning for warning in report.warnings)


def test_a_highlight_above_the_percentiles_keeps_its_brightness(gray: Denoiser) -> None:
    """A star three times as bright as all else is no noise, and its noise is taken out nevertheless."""
    y, x = np.mgrid[:128, :160]
    clean = 100 + 80 * scene() + 500 * np.exp(-((x - 80) ** 2 + (y - 64) ** 2) / (2 * 3**2))
    noisy = shot(1, image=clean)
    out = gray.denoise(noisy)
    star = np.hypot(x - 80, y - 64) < 6
    assert out[star].mean() == pytest.approx(clean[star].mean(), rel=0.02)
    assert rmse(out[star], clean[star]) < 1.2 * rmse(noisy[star], clean[star])


def test_a_masked_corner_does_not_hide_the_rest(gray: Denoiser) -> None:
    """A large image is looked at all over, not in one corner."""
    clean = np.tile(scene(128, 128), (5, 5)) * 500 + 50
    noisy = shot(1, image=clean)
    noisy[:330, :330] = 0
    _, report = gray.denoise_with_report(noisy)
    assert report is not None
    assert report.residual_std_ratio == pytest.approx(1, abs=0.15)
    assert report.alpha_native == pytest.approx(1, rel=0.1)
    assert not any("almost no noise" in warning for warning in report.warnings)


@pytest.mark.parametrize("level", [0, 60_000])
def test_a_constant_image_comes_back_as_it_was(gray: Denoiser, level: int) -> None:
    for constant in (np.full((40, 50), level, np.uint16), np.full((40, 50), level / 3, np.float32)):
        assert np.allclose(gray.denoise(constant), constant, rtol=1e-7, atol=1e-30)


def test_values_that_many_pixels_share_are_marks_only_if_far_from_all_others() -> None:
    rng = np.random.default_rng(0)
    dark = rng.poisson(0.3, 10_000)  # most are 0: the black of a dark image
    assert brightness_range(dark.astype(np.uint16))[0] == 0
    clipped = rng.normal(200, 60, 10_000).clip(0, 255)
    assert brightness_range(clipped.astype(np.uint8)) == (0, 255)
    with_both_marks = np.concatenate([np.zeros(500), np.full(500, 65535), rng.normal(30_000, 100, 9_000)])
    low, high = brightness_range(with_both_marks.astype(np.uint16))
    assert 29_500 < low < high < 30_500


def test_channels_unlike_in_brightness_are_denoised_as_well_as_alone(gray: Denoiser) -> None:
    bright, dim = shot(20_000), shot(200, 1, scene()[::-1])
    alone = [gray.denoise(channel) for channel in (bright, dim)]
    out, report = gray.denoise_with_report(np.stack([bright, dim], -1))
    assert [np.array_equal(out[..., i], alone[i]) for i in (0, 1)] == [True, True]
    assert report is not None
    assert [channel["alpha_native"] for channel in report.channels][1] == pytest.approx(1, rel=0.15)
    assert report.alpha_native == report.channels[1]["alpha_native"]  # told of the noisier one
    as_pages, _ = gray.denoise_with_report(np.stack([bright, dim])[..., None], page_channels=[0, 1])
    assert [np.array_equal(as_pages[i, ..., 0], alone[i]) for i in (0, 1)] == [True, True]


@pytest.mark.parametrize("side", [512, 900, 1_000, 1_024, 1_153])
def test_all_colours_and_columns_are_sampled(side: int) -> None:
    colours = np.broadcast_to(np.array([1, 2, 3], np.uint8), (1, side, side, 3))
    for stack in (colours, np.ascontiguousarray(colours)):
        assert set(sample(stack, [0], slice(0, 3)).tolist()) == {1, 2, 3}
        assert set(sample(stack, [0], slice(1, 2)).tolist()) == {2}
    columns = np.broadcast_to(np.arange(side, dtype=np.uint16)[:, None], (1, side, side, 1))
    assert len(set(sample(np.ascontiguousarray(columns), [0], slice(0, 1), 1 << 14).tolist())) > side / 8


def test_shares_are_of_all_channels(gray: Denoiser) -> None:
    noisy, clipped = shot(300), np.minimum(shot(60_000, 1), 30_000)
    _, report = gray.denoise_with_report(np.stack([noisy, clipped], -1))
    assert report is not None
    assert report.clipped_share == pytest.approx(float((clipped == 30_000).mean()) / 2, abs=1e-3)


def test_frames_of_one_channel_share_their_normalisation(gray: Denoiser) -> None:
    frames = np.stack([shot(500), shot(250), shot(500, 2), shot(250, 3)])[..., None]
    found = gray.scalings(frames, page_channels=[0, 1, 0, 1]).by_kind
    assert found[0, 0].scale == pytest.approx(2 * found[1, 0].scale, rel=0.1)
    assert len(gray.scalings(frames).by_kind) == 1
    with pytest.raises(InvalidOption, match="page_channels"):
        gray.denoise_with_report(frames, page_channels=[0, 1])


@pytest.mark.parametrize(("peak", "fits"), [(450, True), (150, True), (4_000, False), (20_000, False)])
def test_a_model_s_own_normalisation_is_for_images_of_its_brightness(
    gray: Denoiser, tmp_path: Path, peak: int, fits: bool
) -> None:
    path = tmp_path / "tuned.safetensors"
    own = {"normalisation": {"offset": 100.0, "scale": 400.0, "dtype": "uint16"}}
    weights.write(path, gray.network, gray.card | own)
    noisy = shot(peak)
    out, report = Denoiser.load(path, "cpu").denoise_with_report(noisy)
    assert report is not None
    assert any("own percentiles" in warning for warning in report.warnings) != fits
    assert rmse(out, scene() * peak) < 0.7 * rmse(noisy, scene() * peak)


def test_saturated_pixels_are_seen_below_the_type_s_end(gray: Denoiser) -> None:
    """12-bit values in 16 bits, as most cameras write them."""
    saturated = np.minimum(shot(5_500, image=np.linspace(0.05, 1, 160) * np.ones((128, 1))), 4095)
    share = float((saturated == 4095).mean())
    _, report = gray.denoise_with_report(saturated)
    assert report is not None and share > 0.1
    assert report.clipped_share == pytest.approx(share)
    assert any("clipped" in warning for warning in report.warnings)
    _, dark = gray.denoise_with_report(shot(1_000))
    assert dark is not None and dark.clipped_share == 0
    _, told = gray.denoise_with_report(np.minimum(shot(300), 180), top=180)
    assert told is not None and told.clipped_share > 0.1


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0])
def test_the_error_that_is_told_is_that_of_the_result(gray: Denoiser, strength: float) -> None:
    clean = scene(256, 256)
    noisy = (clean + np.random.default_rng(0).normal(0, 0.15, clean.shape)).astype(np.float32)
    out, report = gray.denoise_with_report(noisy, strength=strength, normalize="none")
    assert report is not None
    assert report.noise_std_out == pytest.approx(rmse(out, clean), rel=0.25, abs=0.003)


def test_the_native_line_gives_the_noise_at_every_brightness(gray: Denoiser) -> None:
    """alpha_native·(v − black_native) + sigma_native² is the variance, whatever the file's pedestal."""
    for pedestal in (0, 1_000):
        read = np.random.default_rng(1).normal(0, 12, (128, 160))
        noisy = (shot(400) + read + pedestal + 100).astype(np.float32)
        _, report = gray.denoise_with_report(noisy)
        assert report is not None
        middle = 200 + pedestal + 100
        told = report.alpha_native * (middle - report.black_native) + report.sigma_native**2
        assert told == pytest.approx(200 + 12**2, rel=0.2)


def test_weak_noise_that_is_not_worth_denoising_is_said_so(gray: Denoiser) -> None:
    """Where the result may be farther from the truth than the upload, nobody must read that it was left as it was."""
    grains = np.random.default_rng(5).random((130, 162))  # white they would be noise to anybody
    texture = np.lib.stride_tricks.sliding_window_view(grains, (3, 3)).mean((2, 3))
    clean = ((texture - texture.min()) / np.ptp(texture) * 0.8 + 0.1) * 10_000
    noisy = shot(1, image=clean)
    out, report = gray.denoise_with_report(noisy)
    assert report is not None
    assert rmse(out, clean) > rmse(noisy, clean)
    assert report.warnings and not any("left nearly as it was" in warning for warning in report.warnings)


def test_of_many_channels_the_evidence_stays_small(gray: Denoiser) -> None:
    """A hyperspectral cube: what is kept for the report does not grow with its channels."""
    scalings = Scalings({(0, channel): IDENTITY for channel in range(1_000)})
    builder = ReportBuilder(np.dtype(np.uint16))
    builder.begin(scalings, tiles=1_000, pages=1)
    tile = np.random.default_rng(0).random((1, 400, 400), np.float32)
    for channel in range(1_000):
        builder.add((0, channel), tile, tile, tile)
    kept = sum(noisy.nbytes + mean.nbytes for of in builder._kinds.values() for noisy, mean in of.samples)
    assert 1_000 * 1_000 < kept < 16 * 2**20
