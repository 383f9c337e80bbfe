from dataclasses import replace

import pytest
import torch

from model.config import EstimatorConfig, ObjectiveConfig, network_preset
from model.networks import covariance
from model.networks.estimator import NoiseEstimator
from model.networks.unets import DenoiserNetwork, build_denoiser
from model.training.masker import draw_phases
from model.training.objectives.base import Batch, Objective, visibility
from model.training.objectives.blind2sound import Blind2Sound
from model.training.objectives.table import build


def small_pair(config: ObjectiveConfig, channels: int = 1) -> tuple[DenoiserNetwork, Objective]:
    torch.manual_seed(0)
    network = build_denoiser(network_preset("fast", channels))
    torch.nn.init.normal_(network.tail.weight, std=0.02)  # type: ignore[union-attr, arg-type]
    return network, build(config, channels)


def batch_of(channels: int = 1, progress: float = 0.0, seed: int = 0) -> Batch:
    noisy = torch.rand(2, channels, 32, 32, generator=torch.Generator().manual_seed(9))
    return Batch(noisy, noisy * 0.9, progress, torch.Generator().manual_seed(seed))


def gradient(name: str, phases: int, seed: int) -> torch.Tensor:
    network, objective = small_pair(ObjectiveConfig(name, phases=phases, regulariser=0.0))
    objective(network, batch_of(seed=seed))[0].backward()
    return torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])


@pytest.mark.parametrize("name", ["blind2sound", "blind2unblind"])
def test_stochastic_phases_have_the_gradient_of_all_sixteen(name: str) -> None:
    """Phases are drawn uniformly (test_masker), so the expectation of K = 1 is the mean over the 16 phases."""
    seed_of_phase: dict[int, int] = {}
    for seed in range(500):
        seed_of_phase.setdefault(draw_phases(1, torch.Generator().manual_seed(seed))[0], seed)
    assert len(seed_of_phase) == 16
    everything = gradient(name, 16, seed=0)
    singles = torch.stack([gradient(name, 1, seed) for seed in seed_of_phase.values()])
    assert (singles.mean(0) - everything).norm() < 1e-4 * everything.norm()
    assert (singles[0] - everything).norm() > 0.1 * everything.norm()


@pytest.mark.parametrize("name", ["blind2sound", "blind2unblind", "n2c"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_every_objective_trains_every_channel_count(name: str, channels: int) -> None:
    network, objective = small_pair(ObjectiveConfig(name), channels)
    loss, parts = objective(network, batch_of(channels))
    loss.backward()
    assert torch.isfinite(loss) and all(v == v for v in parts.values())
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters() if p.requires_grad)


def test_visible_branch_carries_no_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    network, objective = small_pair(ObjectiveConfig("blind2sound", phases=2))
    modes: list[bool] = []
    network.register_forward_hook(lambda module, inputs, output: modes.append(output[0].requires_grad))
    objective(network, batch_of())
    assert sorted(modes) == [False, True, True]


def test_the_risk_trains_the_visible_branch_and_leaves_the_noise_to_the_regulariser() -> None:
    network, objective = small_pair(ObjectiveConfig("blind2sound", phases=2, risk=1.0, regulariser=0.0))
    modes: list[bool] = []
    network.register_forward_hook(lambda module, inputs, output: modes.append(output[0].requires_grad))
    loss, parts = objective(network, batch_of())
    loss.backward()
    assert modes == [True] * 4 and "risk" in parts
    trained = list(objective.parameters())
    assert trained and all(p.grad is None for p in trained)


def test_regulariser_trains_the_estimator_and_not_the_denoiser() -> None:
    network, objective = small_pair(ObjectiveConfig("blind2sound"))
    assert isinstance(objective, Blind2Sound)
    batch = Batch(torch.rand(1, 1, 64, 64), None, 0.0, torch.Generator())
    noise = objective.g(batch.noisy)
    objective.regulariser(batch.noisy, noise.alpha, noise.variance_masked).backward()
    assert all(p.grad is None for p in network.parameters())
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in objective.parameters())


def test_a_known_noise_takes_the_estimator_s_place() -> None:
    config = ObjectiveConfig("blind2sound", risk=1.0, known_alpha=0.05, known_sigma=0.02)
    network, objective = small_pair(config)
    loss, parts = objective(network, batch_of())
    loss.backward()
    assert (parts["alpha"], parts["sigma"]) == (pytest.approx(0.05), pytest.approx(0.02))
    assert "est" not in parts and all(p.grad is None for p in objective.parameters())
    louder = build(replace(config, known_alpha=0.1), 1)
    assert louder(network, batch_of())[0].item() != loss.item()


@pytest.mark.parametrize("channels", [1, 3])
def test_dependent_branches_add_their_deviations(channels: int) -> None:
    _, objective = small_pair(ObjectiveConfig("blind2sound", dependent=True), channels)
    _, independent = small_pair(ObjectiveConfig("blind2sound"), channels)
    assert isinstance(objective, Blind2Sound) and isinstance(independent, Blind2Sound)
    factor = torch.rand(1, channels * (channels + 1) // 2, 4, 4)
    torch.testing.assert_close(objective._covariance(factor, factor, 3.0), covariance.outer_gram(factor))
    smaller = independent._covariance(factor, factor, 3.0)  # errors that cancel: (1 + 9) / 16
    torch.testing.assert_close(smaller, 0.625 * covariance.outer_gram(factor))


def test_visibility_schedule() -> None:
    lam = [visibility(p, 3.0, 11.0) for p in (0.0, 0.4, 0.7, 1.0)]
    assert lam == pytest.approx([3.0, 3.0, 7.0, 11.0])


def test_objectives_say_what_they_lack() -> None:
    network, supervised = small_pair(ObjectiveConfig("n2c"))
    with pytest.raises(ValueError, match="clean images"):
        supervised(network, Batch(torch.rand(1, 1, 32, 32), None, 0.0, torch.Generator()))
    with pytest.raises(ValueError, match="blind2sound, blind2unblind, n2c"):
        build(ObjectiveConfig("noise3void"), 1)


def test_estimator_reaches_pg1() -> None:
    """σ = 0.0002 is within its range, with a gradient left to get there; the authors' floor is 0.0025."""
    estimator = NoiseEstimator(EstimatorConfig(), channels=1)
    target = torch.tensor(0.0002**2) / estimator.scale[1]
    with torch.no_grad():
        estimator.heads.bias[1] = torch.log(torch.expm1(target)) - torch.log(torch.expm1(torch.tensor(1.0)))
        estimator.heads.weight.zero_()
    variance = estimator(torch.rand(1, 1, 32, 32)).variance_masked
    assert variance.sqrt().item() == pytest.approx(0.0002, rel=0.01)
    variance.log().sum().backward()
    assert estimator.heads.bias.grad is not None
    assert abs(estimator.heads.bias.grad[1].item()) == pytest.approx(1.0, rel=0.01)
