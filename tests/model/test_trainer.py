from dataclasses import replace

import numpy as np
import pytest
import torch

from model.config import ObjectiveConfig
from model.errors import InvalidOption
from model.networks.estimator import NoiseEstimator
from model.networks.unets import DenoiserNetwork
from model.training import checkpoint, sampler
from model.training.objectives.base import Batch, Objective
from model.training.objectives.table import OBJECTIVES
from model.training.trainer import Trainer
from tests.harness.trainings import SMALL, TINY, pictures, trainer_of


def state(trainer: Trainer) -> dict[str, torch.Tensor]:
    return trainer.checkpoint().tensors


@pytest.mark.parametrize(
    ("objective", "fixed"),
    [("blind2sound", True), ("blind2sound", False), ("blind2unblind", True), ("n2c", False)],
)
def test_a_resumed_run_ends_with_the_same_weights(objective: str, fixed: bool) -> None:
    config = replace(TINY, objective=replace(TINY.objective, name=objective), fixed_noise=fixed)
    undisturbed = trainer_of(config)
    undisturbed.run()

    first = trainer_of(config)
    first.run(should_stop=lambda: first.step == 3)
    saved = checkpoint.from_bytes(checkpoint.to_bytes(first.checkpoint()))
    second = trainer_of(config)
    second.restore(saved)
    assert second.step == 3
    second.run()

    expected, got = state(undisturbed), state(second)
    assert expected.keys() == got.keys()
    assert all(torch.equal(expected[name], got[name]) for name in expected)
    fresh = state(trainer_of(config))
    assert not torch.equal(fresh["f.head.weight"], got["f.head.weight"])  # it did train


def test_self_supervised_training_never_sees_a_clean_pixel() -> None:
    config = replace(TINY, fixed_noise=True)
    first, again = (sampler.of_images(config, pictures()) for _ in range(2))
    assert isinstance(first, sampler.FixedPairs) and isinstance(again, sampler.FixedPairs)
    kept, clean = np.split(first.crops.images[0], 2)
    assert np.array_equal(clean, pictures()[0] / np.float32(255))  # for those who score, or are supervised
    assert kept.dtype == np.float32 and np.std(kept - pictures()[0] / 255) > 0.05
    assert np.array_equal(kept, again.crops.images[0][:1])  # one draw, then fixed
    assert Trainer(config, first).draw_batch(0, 0.0).clean is None
    supervised = replace(config, objective=ObjectiveConfig("n2c"))
    assert Trainer(supervised, first).draw_batch(0, 0.0).clean is not None
    assert trainer_of(replace(TINY, fixed_noise=False)).draw_batch(0, 0.0).clean is None  # known, and kept away


def test_loss_falls() -> None:
    config = replace(TINY, steps=80, objective=ObjectiveConfig("n2c"), lr=3e-3)
    losses: list[float] = []
    trainer_of(config).run(lambda stats: losses.append(stats.parts["log_mse"]))
    assert np.mean(losses[-10:]) < np.mean(losses[:10]) - 0.5


def test_learning_rate_schedules() -> None:
    trainer = trainer_of(replace(TINY, schedule="halving", steps=100, warmup_steps=1))
    rates = []
    for step in (0, 19, 20, 40, 60, 80, 99):
        trainer.step = step
        rates.append(trainer._set_learning_rate() / TINY.lr)
    assert rates == pytest.approx([1, 1, 0.5, 0.25, 0.125, 0.0625, 0.0625])


def test_the_cosine_ends_at_its_floor() -> None:
    trainer = trainer_of(replace(TINY, steps=100, warmup_steps=1, lr_floor=0.25))
    rates = []
    for step in (0, 50, 100):
        trainer.step = step
        rates.append(trainer._set_learning_rate() / TINY.lr)
    assert rates == pytest.approx([1, 0.625, 0.25])


class MadeUp:
    """A sampler that reads no image."""

    def draw(self, count: int, rng: np.random.Generator) -> sampler.Pairs:
        clean = np.full((count, 1, 32, 32), rng.random(), np.float32)
        noisy = clean + rng.normal(0, 0.1, clean.shape).astype(np.float32)
        return sampler.Pairs(noisy, clean, list(range(count)))


def test_any_sampler_trains_and_resumes_bit_for_bit() -> None:
    config = replace(TINY, objective=ObjectiveConfig("n2c"))
    undisturbed, first, second = (Trainer(config, MadeUp()) for _ in range(3))
    undisturbed.run()
    first.run(should_stop=lambda: first.step == 2)
    second.restore(first.checkpoint())
    second.run()
    expected, got = state(undisturbed), state(second)
    assert all(torch.equal(expected[name], got[name]) for name in expected)


def test_only_methods_that_estimate_noise_train_an_estimator() -> None:
    names = {
        name: {key.split(".")[0] for key in state(trainer_of(replace(TINY, objective=ObjectiveConfig(name))))}
        for name in OBJECTIVES
    }
    assert names == {
        name: {"f", "average"} | ({"g"} if name in ("blind2sound", "laine19", "fbi") else set()) for name in OBJECTIVES
    }


def test_an_objective_that_owns_modules_has_them_trained_and_resumed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new objective is one class and one line: the trainer and its checkpoint need no word of it."""

    class Offset(Objective):
        needs_clean = True
        lr_ratio = 10.0

        def __init__(self, config: ObjectiveConfig, channels: int) -> None:
            super().__init__(config, channels)
            self.offset = torch.nn.Parameter(torch.zeros(channels))

        def forward(self, denoiser: DenoiserNetwork, batch: Batch) -> tuple[torch.Tensor, dict[str, float]]:
            assert batch.clean is not None
            loss = ((denoiser(batch.noisy)[0] + self.offset.view(1, -1, 1, 1) - batch.clean) ** 2).mean()
            return loss, {"mse": loss.item()}

    monkeypatch.setitem(OBJECTIVES, "offset", Offset)
    config = replace(TINY, objective=ObjectiveConfig("offset"))
    trainer = trainer_of(config)
    trainer.run(should_stop=lambda: trainer.step == 3)
    again = trainer_of(config)
    again.restore(checkpoint.from_bytes(checkpoint.to_bytes(trainer.checkpoint())))
    offset = again.objective.offset
    assert isinstance(offset, torch.Tensor) and float(offset.detach().abs().min()) > 1e-4
    trainer.run()
    again.run()
    assert all(torch.equal(value, state(again)[name]) for name, value in state(trainer).items())


def test_checkpoints_of_the_first_version_are_gone_on_with() -> None:
    """It kept an estimator for every objective, and Blind2Sound's count of calls."""
    for name in ("thinning", "blind2sound"):
        config = replace(TINY, objective=replace(TINY.objective, name=name))
        mine = Trainer(config, MadeUp(), noise_line=lambda index: np.array([[0.01, 1e-6, 1e-6, 0.0]], np.float32))
        mine.run(should_stop=lambda trainer=mine: trainer.step == 2)  # type: ignore[misc]
        saved = mine.checkpoint()
        g = {f"g.{key}": value for key, value in NoiseEstimator(SMALL, 1).state_dict().items()}
        old = checkpoint.Checkpoint(g | saved.tensors, saved.state | {"calls": 2})
        again = Trainer(config, MadeUp(), noise_line=mine.noise_line)
        again.restore(checkpoint.from_bytes(checkpoint.to_bytes(old)))
        assert again.step == 2
        assert all(torch.equal(value, state(again)[key]) for key, value in state(mine).items())


@pytest.mark.parametrize(
    "change",
    [
        {"objective": ObjectiveConfig("n2c")},
        {"network": replace(TINY.network, widths=(16, 16))},
        {"objective": replace(TINY.objective, estimator=replace(SMALL, widths=(4, 4, 4)))},
    ],
)
def test_a_checkpoint_of_another_training_is_refused_in_words(change: dict) -> None:
    other = trainer_of(replace(TINY, **change))
    saved = trainer_of(TINY).checkpoint()
    assert not other.fits(saved) and trainer_of(TINY).fits(saved)
    with pytest.raises(InvalidOption, match="another folder"):
        other.restore(saved)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"steps": None}, "budget"),
        ({"crop": 50}, "multiple of 32"),
        ({"noise": "PG9"}, "PG9"),
        ({"lr_floor": 1.5}, "0 to 1"),
    ],
)
def test_bad_settings_are_refused(change: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        trainer_of(replace(TINY, **change)).train_step()


@pytest.mark.parametrize("name", ["n2c", "blind2sound"])
def test_a_run_in_bfloat16_resumes_bit_for_bit_in_bfloat16(name: str) -> None:
    config = replace(TINY, objective=replace(TINY.objective, name=name))
    undisturbed, first = (Trainer(config, MadeUp(), precision="bfloat16") for _ in range(2))
    undisturbed.run()
    first.run(should_stop=lambda: first.step == 2)
    second = Trainer(config, MadeUp(), precision="float32")  # as where a trial finds otherwise
    second.restore(checkpoint.from_bytes(checkpoint.to_bytes(first.checkpoint())))
    assert second.precision == "bfloat16"
    second.run()
    expected, got = state(undisturbed), state(second)
    assert all(torch.equal(expected[key], got[key]) for key in expected)
    assert all(value.dtype == torch.float32 for value in got.values() if value.is_floating_point())
    exact = Trainer(config, MadeUp(), precision="float32")
    exact.run()
    assert not torch.equal(got["f.head.weight"], state(exact)["f.head.weight"])


def test_what_rounding_would_spoil_is_exact_in_bfloat16() -> None:
    """L_risk is a difference quotient, and L_est an eigenvalue: both see float32 whatever the network computes in."""
    config = replace(TINY, objective=replace(TINY.objective, risk=1.0, regulariser=0.1))
    exact, rounded = (Trainer(config, MadeUp(), precision=name).train_step() for name in ("float32", "bfloat16"))
    for part in ("risk", "est", "alpha", "sigma"):
        assert rounded.parts[part] == exact.parts[part]
    assert rounded.parts["arv"] != exact.parts["arv"]
    assert rounded.parts["arv"] == pytest.approx(exact.parts["arv"], rel=0.02, abs=0.02)


def test_auto_takes_what_the_trial_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    for pays, name in ((True, "bfloat16"), (False, "float32")):
        monkeypatch.setattr("model.training.trainer.training_pays", lambda told=pays: told)
        assert Trainer(TINY, MadeUp()).precision == name
    with pytest.raises(InvalidOption, match="auto, float32 or bfloat16"):
        Trainer(TINY, MadeUp(), precision="half")


def test_noisy_targets_are_another_draw_of_the_same_noise() -> None:
    level = sampler.draw_level("PG3", np.random.default_rng(0))
    for fixed in (True, False):
        config = replace(TINY, noise="PG3", objective=ObjectiveConfig("n2n"), noisy_targets=True, fixed_noise=fixed)
        flat = [np.full((1, 96, 96), 0.5, np.float32)] * 2
        batch = Trainer(config, sampler.of_images(config, flat)).draw_batch(0, 0.0)
        assert batch.clean is not None
        both = np.stack([part.numpy().ravel() for part in (batch.noisy, batch.clean)])
        assert both.var(1) == pytest.approx(level.alpha * 0.5 + level.sigma**2, rel=0.15)
        assert abs(np.corrcoef(both)[0, 1]) < 0.1
