"""Scenes and noises that training pairs are made of: what each is said to do, measured."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from model.synthesis import camera, noises, recipes, scenes
from model.synthesis.filters import resized, to_linear
from model.synthesis.noises import Correlated, Pair
from model.synthesis.ranges import LogUniform, Mixture, Uniform

Array = NDArray[np.float32]
SIDE = 192


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def flat(level: float, channels: int = 1, side: int = SIDE) -> Array:
    return np.full((channels, side, side), level, np.float32)


def fixed(value: float) -> Uniform:
    return Uniform(value, value)


def beside(noise: Array) -> float:
    """Correlation of a pixel with the next one of its row."""
    return float(np.corrcoef(noise[..., :-1].ravel(), noise[..., 1:].ravel())[0, 1])


# ---- noises --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", [0.0, 0.02, 0.3, 1.0])
@pytest.mark.parametrize(("alpha", "sigma"), [(0.01, 0.0), (0.3, 0.05), (0.001, 0.2)])
def test_poisson_gaussian_has_the_variance_of_equation_1(level: float, alpha: float, sigma: float) -> None:
    noise = noises.PoissonGaussian(fixed(alpha), fixed(sigma), shot_limited=0.0)
    noisy, clean = noise(flat(level), rng())
    assert (clean == np.float32(level)).all()
    expected = alpha * level + sigma**2
    assert noisy.mean() == pytest.approx(level, abs=4 * (expected / noisy.size) ** 0.5 + 1e-6)
    assert noisy.var() == pytest.approx(expected, rel=0.05, abs=1e-9)


@pytest.mark.parametrize("mean", [0.3, 5.0, 59.0, 61.0, 400.0])
def test_poisson_draws_have_the_mean_and_variance_of_their_law_on_both_sides_of_the_approximation(mean: float) -> None:
    drawn = noises.poisson(flat(mean), rng())
    assert drawn.mean() == pytest.approx(mean, rel=0.02)
    assert drawn.var() == pytest.approx(mean, rel=0.04)


@pytest.mark.parametrize("width", [0.4, 0.6, 0.9])
def test_correlated_noise_has_the_spectrum_of_its_kernel(width: float) -> None:
    noise = Correlated(width=fixed(width), stretch=fixed(1.0), roughness=fixed(0.0), slow=fixed(0.0))
    field = noise.field((1, 256, 256), rng())
    taps = np.exp(-(np.arange(-3, 4) ** 2) / (2 * width**2))
    assert field.var() == pytest.approx(1.0, rel=0.05)
    assert beside(field) == pytest.approx((taps[:-1] * taps[1:]).sum() / (taps**2).sum(), abs=0.02)


def test_correlated_noise_has_the_covariance_between_channels_that_was_drawn() -> None:
    noise = Correlated(between_red_and_blue=fixed(0.6), between_green_and_others=fixed(0.2), equal_channels=0.0)
    found = [np.cov(noise.field((3, 128, 128), rng(seed)).reshape(3, -1)) for seed in range(8)]
    assert np.mean(found, 0) == pytest.approx(np.array([[1, 0.2, 0.6], [0.2, 1, 0.2], [0.6, 0.2, 1]]), abs=0.08)


def test_equal_channels_are_equal() -> None:
    field = Correlated(equal_channels=1.0).field((3, 64, 64), rng())
    assert field[0] == pytest.approx(field[1], abs=1e-5)
    assert field[0] == pytest.approx(field[2], abs=1e-5)


def test_correlated_noise_of_one_channel_on_gray_scenes() -> None:
    noisy, clean = Correlated()(flat(0.5), rng())
    assert noisy.shape == clean.shape == (1, SIDE, SIDE)


@pytest.mark.parametrize("light", [0.0, 0.03, 0.5, 0.98])
@pytest.mark.parametrize("std", [0.01, 0.1, 0.4])
def test_the_mean_of_clipped_frames_is_known(light: float, std: float) -> None:
    frames = np.clip(light + std * rng().standard_normal(400_000), 0, 1)
    assert noises.clipped_mean(flat(light, side=2), flat(std, side=2)) == pytest.approx(frames.mean(), abs=2e-3)


def test_the_answer_to_clipped_noise_is_the_mean_of_many_frames_before_the_tone_curve() -> None:
    noise = Correlated(exposure=fixed(0.03), alpha=fixed(1e-4), sigma=fixed(0.05), gamma=1.0)
    scene = flat(0.5, 3)
    noisy, clean = noise(scene, rng())
    assert (noisy == 0).mean() > 0.1
    assert to_linear(clean).mean() == pytest.approx(to_linear(noisy).mean(), rel=0.05)
    assert to_linear(clean).mean() > 1.3 * to_linear(scene).mean() * 0.03


def test_the_answer_of_a_camera_is_the_mean_of_its_frames() -> None:
    raw = flat(0.02, side=256)
    noisy, mean = camera.Camera(shot=LogUniform(0.02, 0.02), read_spread=0.0, clipped_raw=1.0).expose(raw, rng())
    assert noisy.min() == 0
    assert noisy.mean() == pytest.approx(mean.mean(), rel=0.05)


def test_lines_are_offsets_of_whole_rows_or_columns() -> None:
    lines = noises.Lines(noises.Nothing(), fixed(0.05))
    along = []
    for seed in range(8):
        noise = lines(flat(0.5), rng(seed)).noisy - 0.5
        rows, columns = noise.mean(2).std(), noise.mean(1).std()
        along.append(rows > columns)
        assert max(rows, columns) == pytest.approx(0.05, rel=0.25)
        assert min(rows, columns) < 1e-4
    assert 0 < sum(along) < 8


def test_outliers_hit_the_share_of_pixels_they_say() -> None:
    noise = noises.Outliers(noises.Nothing(), share=fixed(0.01), height=fixed(1.0))
    noisy, clean = noise(flat(0.2, 3), rng())
    assert (noisy != clean).any(0).mean() == pytest.approx(0.01, rel=0.2)


# ---- the camera ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("demosaick", [camera.bilinear, camera.malvar, camera.half_size])
def test_demosaicking_gives_a_plain_colour_back(demosaick: camera.Demosaick) -> None:
    colour = np.broadcast_to(np.array([0.2, 0.5, 0.7], np.float32)[:, None, None], (3, 32, 32))
    found = demosaick(camera.mosaic(np.ascontiguousarray(colour)))
    assert found[:, 4:-4, 4:-4] == pytest.approx(colour[:, 4:-4, 4:-4], abs=1e-5)


@pytest.mark.parametrize("demosaick", [camera.bilinear, camera.malvar])
def test_demosaicking_gives_a_gray_ramp_back(demosaick: camera.Demosaick) -> None:
    ramp = np.broadcast_to(np.linspace(0, 1, 32, dtype=np.float32), (3, 32, 32))
    found = demosaick(camera.mosaic(np.ascontiguousarray(ramp)))
    assert found[:, 4:-4, 4:-4] == pytest.approx(ramp[:, 4:-4, 4:-4], abs=1e-5)


@pytest.mark.parametrize(("name", "correlated"), [("none", False), ("bilinear", True), ("malvar", True)])
def test_a_mosaic_correlates_neighbours(name: str, correlated: bool) -> None:
    plain = camera.Camera(
        exposure=fixed(0.5), shot=LogUniform(0.002, 0.002), demosaicking=Mixture([(1, name)]),
        smoothing=0.0, sharpening=0.0, rescaling=0.0,
    )  # fmt: skip
    noisy, clean = plain(flat(0.8, 3), rng())
    assert clean.std(axis=(1, 2)).max() < 1e-4
    assert (beside(noisy - clean) > 0.15) == correlated


def test_rescaling_keeps_the_size_and_moves_both_images_alike() -> None:
    always = camera.Camera(shot=LogUniform(1e-6, 1e-6), read_spread=0.0, rescaling=1.0, smoothing=0.0, sharpening=0.0)
    scene = scenes.Puncta(3, density=fixed(0.01))(64, rng(1))
    for seed in range(6):
        noisy, clean = always(scene, rng(seed))
        assert noisy.shape == clean.shape == scene.shape
        assert np.abs(noisy - clean).mean() < 0.02


# ---- files and the service's normalisation -------------------------------------------------------------------------


def test_what_a_file_does_leaves_the_answer_alone() -> None:
    scene = scenes.Puncta(3)(64, rng())
    noisy = scene + 0.2 * rng().standard_normal(scene.shape, np.float32)
    for finish in (noises.Clip(), noises.EightBit(), noises.Jpeg(fixed(95)), noises.Kept()):
        found = finish(Pair(noisy, scene), rng())
        assert (found.clean == scene).all()
        assert found.noisy.dtype == np.float32
    assert np.unique(noises.EightBit()(Pair(noisy, scene), rng()).noisy * 255 % 1).max() < 1e-4
    assert np.abs(noises.Jpeg(fixed(98))(Pair(scene, scene), rng()).noisy - scene).mean() < 0.02


def test_the_service_s_stretch_is_around_both_images() -> None:
    scene = scenes.Puncta(1, density=fixed(0.01))(96, rng())
    noisy = scene * 0.3 + 0.1
    found = noises.ServedNormalisation(1.0)(Pair(noisy, scene * 0.3), rng())
    low, high = np.percentile(found.noisy, (0.05, 99.95))
    assert (low, high) == pytest.approx((0, 1), abs=1e-3)
    slope = np.polyfit(noisy.ravel(), found.noisy.ravel(), 1)
    assert found.clean == pytest.approx(np.polyval(slope, scene * 0.3), abs=1e-3)


# ---- scenes ----------------------------------------------------------------------------------------------------------


def photographs(channels: int) -> list[NDArray[np.uint8]]:
    texture = rng(5).integers(0, 256, (3, channels, 160, 150), dtype=np.uint8)
    return list(texture)


def every_scene(channels: int) -> list[scenes.Scene]:
    taken = scenes.Photographs(photographs(channels))
    return [
        taken, scenes.Enlarged(taken), scenes.Blurred(taken), scenes.Curved(taken), scenes.Dimmed(taken),
        scenes.Puncta(channels), scenes.Filaments(channels),
    ]  # fmt: skip


@pytest.mark.parametrize("channels", [1, 3])
def test_scenes_are_light_between_0_and_1_of_the_side_asked_for(channels: int) -> None:
    for scene in every_scene(channels):
        for seed in range(3):
            found = scene(72, rng(seed))
            assert found.shape == (channels, 72, 72)
            assert found.dtype == np.float32
            assert found.min() >= -1e-5
            assert found.max() <= 1 + 1e-5
            assert (found == scene(72, rng(seed))).all(), "the same generator draws the same scene"


def test_a_blurred_scene_is_smooth_and_as_bright() -> None:
    taken = scenes.Photographs(photographs(1))
    sharp, smooth = taken(128, rng(2)), scenes.Blurred(taken, fixed(1.5))(110, rng(2))
    assert beside(sharp) < 0.1
    assert beside(smooth) > 0.8
    assert smooth.mean() == pytest.approx(sharp.mean(), abs=0.02)


def test_the_peak_of_a_point_of_light_is_its_brightness() -> None:
    one = scenes.Puncta(1, density=fixed(0.002), width=fixed(1.5), brightness=LogUniform(0.5, 0.5), ground=fixed(0.0))
    assert np.median([one(96, rng(seed)).max() for seed in range(8)]) == pytest.approx(0.5, rel=0.35)


def test_shrinking_is_filtered() -> None:
    texture = rng().random((1, 128, 128), np.float32)
    assert resized(texture, 32, 32).std() < 0.5 * texture.std()


# ---- recipes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_a_recipe_draws_the_same_pairs_from_the_same_generator(name: str) -> None:
    channels = 1 if name == "gray" else 3
    sampler = recipes.SynthesisSampler(recipes.build(name, photographs(channels)), 64)
    noisy, clean, indices, targets = sampler.draw(24, rng(7))
    again = sampler.draw(24, rng(7))
    assert clean is not None and targets is None
    assert noisy.shape == clean.shape == (24, channels, 64, 64)
    assert noisy.dtype == clean.dtype == np.float32
    assert np.isfinite(noisy).all()
    assert np.isfinite(clean).all()
    assert (noisy == again[0]).all()
    assert (clean == again[1]).all()
    assert len(indices) == 24
    assert (noisy != clean).any()


def test_an_unknown_recipe_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="choose one of gray, rgb, camera"):
        recipes.build("underwater", photographs(3))
