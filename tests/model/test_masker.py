import pytest
import torch

from model.config import network_preset
from model.networks.unets import build_denoiser
from model.training import masker


def test_phases_cover_every_pixel_once() -> None:
    image = torch.arange(64.0).view(1, 1, 8, 8)
    seen = torch.cat([masker.at_phase(image, p).flatten() for p in range(masker.PHASES)])
    assert sorted(seen.tolist()) == image.flatten().tolist()


def test_average_leaves_the_pixel_itself_out() -> None:
    image = torch.zeros(1, 1, 9, 9)
    image[..., 4, 4] = 12.0
    average = masker.neighbour_average(image)
    assert average[0, 0, 4, 4] == 0
    assert average[0, 0, 4, 5].item() == pytest.approx(2.0)  # an edge neighbour weighs 1/6
    assert average[0, 0, 3, 3].item() == pytest.approx(1.0)  # a corner neighbour 1/12


def test_mask_changes_only_its_phase() -> None:
    image = torch.rand(2, 3, 12, 12)
    masked = masker.mask_phase(image, torch.full_like(image, 7.0), 6)
    assert torch.all(masker.at_phase(masked, 6) == 7)
    for phase in set(range(16)) - {6}:
        assert torch.equal(masker.at_phase(masked, phase), masker.at_phase(image, phase))


@pytest.mark.parametrize("preset", ["fast", "paper"])
def test_output_at_a_masked_pixel_does_not_see_that_pixel(preset: str) -> None:
    torch.manual_seed(0)
    network = build_denoiser(network_preset(preset, 1))
    torch.nn.init.normal_(network.tail.weight if preset == "fast" else network.tail[-1].weight, std=0.1)
    image = torch.rand(1, 1, 64, 64)
    changed = image.clone()
    changed[..., 22, 33] += 5.0  # row 22 % 4 = 2, column 33 % 4 = 1: phase 9
    out, moved = (
        network(masker.mask_phase(y, masker.neighbour_average(y), 9))[0][..., 22, 33] for y in (image, changed)
    )
    assert torch.equal(out, moved)
    other = network(masker.mask_phase(changed, masker.neighbour_average(changed), 3))[0][..., 22, 33]
    assert not torch.equal(other, network(masker.mask_phase(image, masker.neighbour_average(image), 3))[0][..., 22, 33])


def test_drawn_phases_are_distinct_and_uniform() -> None:
    generator = torch.Generator().manual_seed(0)
    counts = torch.zeros(16)
    for _ in range(2000):
        phases = masker.draw_phases(3, generator)
        assert len(set(phases)) == 3
        counts[phases] += 1
    assert counts.min() > 300 and counts.max() < 450  # 375 expected, std 18


@pytest.mark.parametrize("count", [0, 17])
def test_phase_count_is_checked(count: int) -> None:
    with pytest.raises(ValueError, match="between 1 and 16"):
        masker.draw_phases(count, torch.Generator())
