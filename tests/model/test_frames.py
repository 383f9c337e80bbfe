"""Frames of one scene: how they moved, who stands beside whom, and what may be compared with what."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from model.arrays.normalise import IDENTITY
from model.frames import motion
from model.frames.errors import FrameErrors, FramePair
from model.frames.series import Motions, Series, mirrored
from model.frames.windows import Frames
from model.networks.unets import ABSENT
from model.training.frame_sampler import FrameCrops
from tests.harness.drifting_scenes import SIDE, scene

Floats = NDArray[np.float32]
NOISE = 0.1


def frames(count: int, drift: tuple[float, float] = (0.0, 0.0), noise: float = NOISE) -> list[Floats]:
    """(1, H, W) each."""
    rng = np.random.default_rng(5)
    truth = [scene(drift[0] * i, drift[1] * i) for i in range(count)]
    return [(one + rng.normal(0, noise, one.shape)).astype(np.float32)[None] for one in truth]


def line(_: int) -> Floats:
    return np.array([[0.0, NOISE**2, NOISE**2, 0.0]], np.float32)


def part(images: list[Floats], count: int = 1, moves: bool = True) -> Frames:
    series = Series([range(len(images))])
    motions = Motions(images, series, IDENTITY, line) if moves else None
    return Frames(images, range(len(images)), series, IDENTITY, count, motions)


@pytest.mark.parametrize("shift", [(0.0, 0.0), (0.3, -0.4), (3.5, 1.25), (-12.0, 9.0)])
def test_a_shift_is_found_through_noise(shift: tuple[float, float]) -> None:
    rng = np.random.default_rng(1)
    noisy = [(one + rng.normal(0, NOISE, one.shape)).astype(np.float32) for one in (scene(), scene(*shift))]
    found = motion.shift_between(*noisy)
    assert found.rows == pytest.approx(-shift[0], abs=0.1) and found.columns == pytest.approx(-shift[1], abs=0.1)
    assert found.likeness > 0.8 and found.error < 0.1


def test_other_scenes_are_not_alike() -> None:
    assert motion.shift_between(scene(), scene(seed=4)).likeness < 0.4


def test_what_is_moved_back_lies_where_it_was() -> None:
    back = motion.moved(scene(2.3, -1.6), -2.3, 1.6)
    inner = (slice(16, -16), slice(16, -16))
    assert np.abs(back - scene())[inner].max() < 0.005
    part_of_it = motion.moved_window(
        scene(2.3, -1.6)[None], slice(40, 72), slice(30, 60), motion.Shift(-2.3, 1.6), lambda values: values
    )
    assert np.allclose(part_of_it[0], back[40:72, 30:60], atol=1e-6)


def test_a_window_beyond_the_image_is_not_made_up() -> None:
    found = motion.moved_window(
        np.ones((1, 32, 32), np.float32), slice(0, 32), slice(0, 32), motion.Shift(5.0, 0.0), lambda v: v
    )
    assert np.isnan(found[0, -5:]).all() and (found[0, 8:16, 8:16] == pytest.approx(1.0))


def test_what_changed_is_seen_and_little_else_is() -> None:
    rng = np.random.default_rng(2)
    first, second = ((scene() + rng.normal(0, NOISE, (SIDE, SIDE))).astype(np.float32) for _ in range(2))
    second[60:66, 60:66] += 0.5
    away = motion.differences(first, second, np.full_like(first, 2 * NOISE**2))
    changed = motion.changed(away, motion.spread_of(away))
    assert changed[61:65, 61:65].all()
    changed[54:72, 54:72] = False
    assert changed.mean() < 0.002


def test_neighbours_are_mirrored_at_the_ends_and_never_the_frame_itself() -> None:
    assert mirrored(5, 20, 5) == [4, 6, 3, 7]
    assert mirrored(0, 20, 5) == [1, 1, 2, 2]
    assert mirrored(19, 20, 3) == [18, 18]
    assert mirrored(1, 20, 5) == [0, 2, 3, 3]
    assert mirrored(0, 2, 5) == [1, 1, 1, 1]
    assert mirrored(0, 1, 5) == [None] * 4
    assert all(place not in mirrored(place, count, 5) for count in range(1, 8) for place in range(count))


def test_targets_lie_where_the_scene_lies_and_beyond_what_the_network_sees() -> None:
    images = frames(8, drift=(0.4, 0.3), noise=0.02)
    for count in (1, 3):
        of = part(images, count)
        rows, columns = slice(40, 88), slice(32, 96)
        targets = of.targets(4, rows, columns)
        assert targets.shape == (2, 48, 64)
        assert np.nanstd(targets - scene(1.6, 1.2)[rows, columns]) < 0.035 < np.std(images[5][0] - images[1][0])
        seen = of.window(4, rows, columns)
        assert not any(np.array_equal(one, other) for one in seen for other in targets)
    assert np.isnan(part(images).targets(0, rows, columns)[0]).all()  # there is no frame before


def test_crops_come_from_one_place_and_by_the_generator_alone() -> None:
    crops = FrameCrops(part(frames(6), count=3), 32)
    noisy, _, indices, targets = crops.draw(8, np.random.default_rng(7))
    assert noisy.shape == (8, 3, 32, 32) and targets is not None and targets.shape == (8, 2, 32, 32)
    again = crops.draw(8, np.random.default_rng(7))
    assert np.array_equal(noisy, again.noisy) and indices == again.indices
    alone = np.concatenate([crops.draw(64, np.random.default_rng(seed)).noisy[:, 1:] for seed in range(4)])
    share = (alone == ABSENT).all((1, 2, 3)).mean()
    assert 0.03 < share < 0.2


def test_two_targets_tell_the_squared_error_without_the_noise() -> None:
    generator = torch.Generator().manual_seed(3)
    truth = torch.rand((4, 1, 96, 96), generator=generator)
    targets = truth + 0.5 * torch.randn((4, 2, 96, 96), generator=generator)
    targets[:, 0, :20] = torch.nan
    wrong = truth + 0.1
    errors = FrameErrors.of(wrong, targets)
    assert not errors.both[:, :, :20].any() and (errors.product[:, :, :20] == 0).all()
    assert float(FramePair(wrong, targets, truth).excess(wrong).mean()) == pytest.approx(0.01, abs=0.006)
