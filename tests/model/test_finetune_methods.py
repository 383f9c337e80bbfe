"""Ways a fine-tune can learn: each trains and is judged, the better of two goes on, and a resumed one is the same."""

from typing import Any

import pytest

from model.config import NetworkConfig
from model.errors import InvalidOption
from model.finetuning import finetune, methods
from model.finetuning.finetune import FineTuneConfig, FineTuner
from model.training import checkpoint
from tests.model.test_finetune import _tensors, noisy_set

BASE = NetworkConfig("shuffle_unet", 1, widths=(8, 8), blocks=(1, 1))


def config(**values: Any) -> FineTuneConfig:
    tiny = {"base": "base-gray", "channels": 1, "max_minutes": None, "max_steps": 8, "crop": 32, "batch": 2}
    return FineTuneConfig(**(tiny | {"precision": "float32"} | values))


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trials of two steps each of a budget of eight."""
    monkeypatch.setattr(methods, "FEWEST_STEPS", 1)
    monkeypatch.setattr("model.finetuning.contest.SHARE", 0.25)
    monkeypatch.setattr(finetune, "EVALUATE_EVERY", 3)


def test_auto_tries_both_from_nothing_and_thins_from_a_base() -> None:
    assert methods.tried("auto", from_scratch=False, steps=None) == ("thinning",)
    assert methods.tried("auto", from_scratch=True, steps=None) == ("thinning", "blind2sound")
    assert methods.tried("auto", from_scratch=True, steps=10) == ("thinning",)  # too few to tell them apart
    assert methods.tried("blind2sound", from_scratch=False, steps=None) == ("blind2sound",)
    with pytest.raises(InvalidOption, match="choose one of auto, thinning, blind2sound"):
        methods.tried("magic", from_scratch=False, steps=None)


def test_the_published_loss_is_for_networks_that_do_not_add_to_y() -> None:
    """With L_risk where the base does, and from the noise that the base found."""
    risky = methods.objective_of("blind2sound", BASE)
    assert risky.risk > 0 and risky.informed
    fresh = methods.network_of("blind2sound", BASE, from_scratch=True)
    assert not fresh.residual and methods.network_of("thinning", BASE, from_scratch=True) == BASE
    published = methods.objective_of("blind2sound", fresh)
    assert published.risk == 0 and not published.informed and published.beta == 0


@pytest.mark.parametrize("from_scratch", [False, True])
def test_blind2sound_tells_its_noise_and_losses_as_it_learns(from_scratch: bool) -> None:
    points: list[dict[str, Any]] = []
    tuner = FineTuner(config(method="blind2sound", from_scratch=from_scratch, max_steps=4), noisy_set())
    result = tuner.run(on_point=points.append)
    told = [point for point in points if point["phase"] == "training"]
    assert {"lambda", "arv"} <= told[-1]["loss_parts"].keys()
    assert ("risk" in told[-1]["loss_parts"]) != from_scratch
    assert told[-1]["alpha"] == told[-1]["loss_parts"]["alpha"] and told[-1]["method"] == "blind2sound"
    assert result.learning == {"asked": "blind2sound", "used": "blind2sound", "tried": []}
    assert "Blind2Sound" in result.card["method"] and result.scores["gain_db"] == result.card["scores"]["gain_db"]


def test_blind2sound_learns_to_denoise_from_nothing() -> None:
    """A few seconds of the published loss take out noise, and g finds about what was put in."""
    points: list[dict[str, Any]] = []
    settings = config(method="blind2sound", from_scratch=True, max_steps=40, crop=64, batch=4)
    tuner = FineTuner(settings, noisy_set(10, 96, alpha=0.05))
    before = tuner.held_out.choosing.psnr(tuner.trainer.published())
    tuner.run(on_point=points.append)
    assert tuner.held_out.choosing.psnr(tuner.trainer.published()) > before + 2
    losses = [point["loss"] for point in points if "loss" in point]
    assert losses[-1] < losses[0]


@pytest.mark.usefixtures("short")
def test_the_better_of_two_goes_on_and_the_budget_is_one() -> None:
    points: list[dict[str, Any]] = []
    tuner = FineTuner(config(from_scratch=True), noisy_set())
    result = tuner.run(on_point=points.append)
    tried = {trial["method"]: trial["score"] for trial in result.learning["tried"]}
    assert set(tried) == set(methods.METHODS)
    assert result.learning["used"] == max(tried, key=lambda method: tried[method])
    steps = [point["step"] for point in points if point["phase"] == "training"]
    assert steps == sorted(steps) and steps[-1] == result.card["steps"] == 8
    trying = [(point["method"], point["trying"]) for point in points if point["phase"] == "training"]
    assert ("thinning", True) in trying and ("blind2sound", True) in trying
    assert trying[-1] == (result.learning["used"], False)


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("at", [0, 2, 5])
def test_a_run_resumed_in_any_trial_ends_as_an_undisturbed_one(at: int) -> None:
    images, kept = noisy_set(), []
    whole = FineTuner(config(from_scratch=True, checkpoint_seconds=0.0), images).run(on_checkpoint=kept.append)
    again = FineTuner(config(from_scratch=True), images)
    assert len(kept) == 8 and again.restore(kept[at])
    resumed = again.run()
    assert resumed.learning == whole.learning and resumed.history == whole.history
    assert _tensors(resumed.weights) == _tensors(whole.weights)


@pytest.mark.usefixtures("short")
def test_a_checkpoint_of_before_methods_is_gone_on_with_by_thinning() -> None:
    images, kept = noisy_set(), []
    FineTuner(config(method="thinning", from_scratch=True, checkpoint_seconds=0.0), images).run(
        on_checkpoint=kept.append
    )
    tensors, state = checkpoint.from_bytes(kept[4])
    new = ("methods", "method", "finished", "score")
    old = {name: value for name, value in state["finetune"].items() if name not in new}
    data = checkpoint.to_bytes(checkpoint.Checkpoint(tensors, state | {"finetune": old}))
    tuner = FineTuner(config(from_scratch=True), images)  # auto would try two
    assert tuner.restore(data) and tuner.trainer.step == 5
    result = tuner.run()
    assert result.learning["used"] == "thinning" and result.card["steps"] == 8
    other = FineTuner(config(method="blind2sound", from_scratch=True), images)
    assert not other.restore(data) and not other.restore(kept[4]) and other.trainer.step == 0
