"""Fine-tuning on frames that belong together, on tiny settings: what is found, which way is taken, who judges."""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load

from model.arrays.missing import find
from model.arrays.normalise import IDENTITY
from model.arrays.pixels import Pixels
from model.errors import InvalidOption
from model.finetuning import finetune, related_frames
from model.finetuning.finetune import FineTuneConfig, FineTuner
from model.inference.denoiser import Denoiser
from model.inference.line_step import LineStep
from model.inference.pages import Pages
from model.networks.unets import with_frames
from tests.harness.drifting_scenes import scene

COUNT = 10


def time_lapse(count: int = COUNT, blurred: bool = False, seed: int = 3) -> list[Pixels]:
    """A scene that drifts, (1, 128, 128) each; the noise of neighbouring pixels is independent or shared."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(0, 0.12, (count, 130, 130))
    if blurred:
        noise = sum(noise[:, r : r + 128, c : c + 128] for r in range(2) for c in range(2)) / 2
    return [(scene(0.2 * i, 0.1 * i, seed=9) + noise[i, :128, :128]).astype(np.float32)[None] for i in range(count)]


def fields(count: int = COUNT) -> list[Pixels]:
    """Scenes that have nothing to do with each other."""
    rng = np.random.default_rng(4)
    return [(scene(seed=i) + rng.normal(0, 0.12, (128, 128))).astype(np.float32)[None] for i in range(count)]


def tuner(images: list[Pixels], series: bool = True, **values: Any) -> FineTuner:
    tiny = {"base": "base-gray", "channels": 1, "max_minutes": None, "max_steps": 6, "crop": 32, "batch": 2}
    of = [list(range(len(images)))] if series else None
    return FineTuner(FineTuneConfig(**(tiny | values)), images, series=of)


def test_frames_of_one_scene_are_found_and_learned_from_each_other() -> None:
    found = tuner(time_lapse(blurred=True))
    assert found.way.pairs and found.way.seen == 1
    assert found.way.found is not None and not found.way.found.white
    assert found.way.found.drift == pytest.approx(0.22, abs=0.1)
    assert "10 frames of one series: the scene moves by 0.2 pixels a frame" in found.way.sentence
    assert "pairs of frames, moved onto each other" in found.way.sentence


def test_single_files_of_one_time_lapse_stay_on_one_side_of_the_split() -> None:
    """Ten files would be enough to hold out whole ones, which show what the others were trained on."""
    related, apart = tuner(time_lapse()), tuner(fields())
    assert len(related.split.held_out) == COUNT and related.split.held_out[0].shape[1] < 128
    assert len(set(related.way.groups or [])) == 1
    assert len(apart.split.held_out) == 2 and apart.way.groups is None


def test_frames_that_show_nothing_in_common_are_images_by_themselves() -> None:
    found = tuner(fields())
    assert not found.way.pairs and found.way.found is None and "do not show one scene" in found.way.sentence
    said = tuner(fields(), frames="related")
    assert said.way.pairs  # whoever says so is believed


def test_who_asks_for_no_frames_gets_none_and_who_asks_for_some_needs_them() -> None:
    assert not tuner(time_lapse(), frames="none").way.pairs
    with pytest.raises(InvalidOption, match="stacks of several pages"):
        tuner(fields(), series=False, frames="5")
    with pytest.raises(InvalidOption, match="auto, none, related, 3, 5"):
        tuner(fields(), frames="4")


@pytest.mark.parametrize(("frames", "blurred"), [("related", True), ("3", False), ("3", True)])
def test_a_resumed_run_ends_with_the_weights_of_an_undisturbed_one(
    frames: str, blurred: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finetune, "EVALUATE_EVERY", 3)
    images, kept = time_lapse(blurred=blurred), []
    whole = tuner(images, frames=frames, checkpoint_seconds=0.0).run(on_checkpoint=kept.append)
    again = tuner(images, frames=frames)
    assert again.restore(kept[3])
    resumed = again.run()
    assert load(resumed.weights).keys() == load(whole.weights).keys()
    assert all(torch.equal(value, load(whole.weights)[name]) for name, value in load(resumed.weights).items())
    assert resumed.scores == whole.scores and resumed.history == whole.history


def test_a_checkpoint_of_another_way_is_not_gone_on_with() -> None:
    images, kept = time_lapse(), []
    tuner(images, frames="related", checkpoint_seconds=0.0).run(on_checkpoint=kept.append)
    assert not tuner(images, frames="none").restore(kept[0])
    assert not tuner(images, frames="3").restore(kept[0])


def test_what_is_judged_by_was_not_trained_on_and_is_not_what_the_network_saw() -> None:
    found = tuner(time_lapse(blurred=True), frames="3")
    assert found.way.pairs
    for crop in found.held_out.judging.crops:
        assert crop.targets is not None and crop.noisy.shape[1] == 3 and crop.targets.shape[1] == 2
        seen = crop.noisy[0].numpy()
        assert not any(np.array_equal(one, other) for one in seen for other in crop.targets[0].numpy())
    trained = found.split.training[0].shape[1]
    assert trained + found.split.held_out[0].shape[1] < 128  # rows between them belong to neither


def test_a_model_of_frames_starts_as_its_base_and_denoises_stacks_and_images(tmp_path: Path) -> None:
    images = time_lapse()
    result = tuner(images, frames="3").run()
    path = tmp_path / "mine.safetensors"
    path.write_bytes(result.weights)
    model = Denoiser.load(path, device="cpu", precision="float32")
    assert model.frames == 3 and model.card["frames"]["seen"] == 3
    stack = np.stack(images)[:, 0, :, :, None]
    assert model.denoise(stack).shape == stack.shape
    assert model.denoise(stack[0, ..., 0]).shape == (128, 128)


@pytest.fixture(scope="module")
def looking() -> Denoiser:
    """The base made to see five frames, with weights that use them."""
    base = Denoiser.load("base-gray", device="cpu", precision="float32")
    network = with_frames(base.network, 5)
    torch.manual_seed(0)
    with torch.no_grad():
        network.head.weight[:, 4:] = 0.1 * torch.randn_like(network.head.weight[:, 4:])  # type: ignore[union-attr,index]
    return Denoiser("looking", network.eval(), {}, "", base.device, "float32")


def stack_of(count: int) -> NDArray[np.float32]:
    return np.stack(time_lapse(count))[:, 0, :, :, None]


def test_a_wider_base_answers_as_the_base_whatever_it_sees() -> None:
    base = Denoiser.load("base-gray", device="cpu", precision="float32")
    wide = Denoiser("wide", with_frames(base.network, 5).eval(), {}, "", base.device, "float32")
    assert np.allclose(wide.denoise(stack_of(3)), base.denoise(stack_of(3)), atol=1e-5)


def test_a_base_of_five_frames_makes_no_model_of_three() -> None:
    base = Denoiser.load("base-gray", device="cpu", precision="float32")
    wide = Denoiser("wide", with_frames(base.network, 5).eval(), {}, "", base.device, "float32")
    with pytest.raises(InvalidOption, match="less than the 5 that wide sees"):
        related_frames.choose("3", True, [], None, None, IDENTITY, lambda _: np.zeros(4, np.float32), wide)


def test_a_page_sees_its_neighbours_and_those_alone(looking: Denoiser) -> None:
    stack = stack_of(9)
    before = looking.denoise(stack, normalize="none")
    stack[8] = stack[8, ::-1]
    after = looking.denoise(stack, normalize="none")
    same = [np.array_equal(a, b) for a, b in zip(before, after, strict=True)]
    assert same == [True] * 6 + [False] * 3


def test_tiles_of_a_stack_join_without_a_seam(looking: Denoiser) -> None:
    stack = stack_of(3)
    assert np.allclose(
        looking.denoise(stack, normalize="none", tile=32), looking.denoise(stack, normalize="none"), atol=1e-4
    )


def test_pages_of_other_series_are_no_neighbours(looking: Denoiser) -> None:
    stack = stack_of(6)
    mixed = np.stack([page for pair in zip(stack, 1 - stack, strict=True) for page in pair])
    found, _ = looking.denoise_with_report(mixed, normalize="none", page_series=[0, 1] * 6, report=False)
    assert np.allclose(found[::2], looking.denoise(stack, normalize="none"), atol=1e-5)


def test_gray_pages_of_three_channels_see_the_same_channel_of_their_neighbours(looking: Denoiser) -> None:
    stack = stack_of(4)
    rgb = np.concatenate([stack, 1 - stack, stack[:, ::-1]], -1)
    found = looking.denoise(rgb, normalize="none")
    assert np.allclose(found[..., :1], looking.denoise(stack, normalize="none"), atol=1e-5)


def test_a_long_stack_is_held_no_more_pages_of_than_the_network_sees() -> None:
    stack = stack_of(3).repeat(20, 0)
    stack[:, 5, 5] = np.nan  # so that a page made ready is a copy, whose life can be watched
    pages = Pages(stack, find(stack), LineStep("keep"), [0] * len(stack), 5)
    made: list[weakref.ref[Any]] = []
    for index in range(len(stack)):
        around = [pages.at(index), *pages.beside(index)]
        assert all(one is not None and np.isfinite(one.seen).all() for one in around)
        made.append(weakref.ref(pages.at(index).seen))
        del around
        assert sum(one() is not None for one in made) <= 5


def test_a_fixed_pattern_is_told_since_frames_cannot_remove_it() -> None:
    pattern = np.random.default_rng(8).normal(0, 0.08, (1, 128, 128)).astype(np.float32)
    way = tuner([image + pattern for image in time_lapse()]).way
    assert way.found is not None and way.found.fixed > 0.15 > tuner(time_lapse()).way.found.fixed  # type: ignore[union-attr]
    assert "a fixed pattern" in way.sentence and "frames cannot remove" in way.sentence
    assert not way.pairs and way.doubt is None  # each frame by itself does not learn to keep it
    images = [image + pattern for image in time_lapse(blurred=True)]
    shared = tuner(images, frames="3", max_steps=1)
    assert shared.way.pairs and "fixed pattern" in (shared.way.doubt or "") and not shared.run().promoted


@pytest.mark.parametrize("blurred", [False, True])
def test_fine_detail_of_a_scene_that_stands_still_is_no_fixed_pattern(blurred: bool) -> None:
    """A base takes some of it for noise in each frame, and the same in all of them."""
    rng = np.random.default_rng(6)
    noise = rng.normal(0, 0.1, (COUNT, 129, 129))
    if blurred:
        noise = sum(noise[:, r : r + 128, c : c + 128] for r in range(2) for c in range(2)) / 2
    size = np.hypot(*np.meshgrid(np.fft.fftfreq(128), np.fft.fftfreq(128), indexing="ij"))
    texture = np.fft.ifft2(np.fft.fft2(rng.normal(size=(128, 128))) * np.exp(-((size / 0.25) ** 2))).real
    still = 0.5 + 0.12 * texture / texture.std()
    images = [(still + one[:128, :128]).astype(np.float32)[None] for one in noise]
    way = tuner(images, frames="related").way
    assert way.found is not None and way.found.drift < 0.1
    assert way.pairs and way.doubt is None and "fixed" not in way.sentence
    pattern = rng.normal(0, 0.07, (1, 128, 128)).astype(np.float32)
    beside = tuner([image + pattern for image in images], frames="related").way
    assert "and a fixed pattern makes" in beside.sentence


def test_a_model_of_frames_is_gone_on_with_also_on_single_images(tmp_path: Path) -> None:
    path = tmp_path / "first.safetensors"
    path.write_bytes(tuner(time_lapse(), frames="3", max_steps=1).run().weights)
    again = tuner(fields(), base=path, max_steps=1)
    assert again.way.seen == 3 and not again.way.pairs
    assert again.run().card["frames"]["seen"] == 3
    with pytest.raises(InvalidOption, match="blind2sound is for images by themselves"):
        tuner(time_lapse(), frames="3", method="blind2sound")
