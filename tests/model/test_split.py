"""What is trained on and what is held out: never one place of a file on both sides."""

import numpy as np
import pytest

from model.arrays.pixels import Pixels
from model.finetuning.split import Split, split


def numbered(count: int, height: int = 64, width: int = 64) -> list[Pixels]:
    """Images whose pixels tell where they lie: row · width + column."""
    return [np.arange(height * width).reshape(1, height, width) for _ in range(count)]


def files_of(parts: Split, groups: list[int]) -> tuple[set[int], set[int]]:
    return {groups[i] for i in parts.training_indices}, {groups[i] for i in parts.held_out_indices}


def test_enough_files_are_held_out_whole_with_all_their_pages() -> None:
    groups = [file for file in range(10) for _ in range(4)]
    for seed in range(20):
        parts = split(numbered(40), seed, groups)
        training, held = files_of(parts, groups)
        assert not training & held and len(held) == 2
        assert sorted(parts.training_indices + parts.held_out_indices) == list(range(40))
        assert parts.held_out_files == [groups[i] for i in parts.held_out_indices]


def test_images_that_nobody_grouped_are_files_of_their_own() -> None:
    parts = split(numbered(20), 5)
    assert len(parts.held_out) == 4 and sorted(parts.training_indices + parts.held_out_indices) == list(range(20))


@pytest.mark.parametrize("side", [64, 96, 256, 512])
def test_the_pages_of_a_stack_are_cut_at_one_place(side: int) -> None:
    parts = split(numbered(40, side, 64), 0, [7] * 40)
    trained = np.unique(np.concatenate([image.ravel() for image in parts.training])) // 64
    held = np.unique(np.concatenate([image.ravel() for image in parts.held_out])) // 64
    assert held.min() - trained.max() > min(16, side // 20)  # rows between them
    assert held.max() == side - 1 and side / 5 <= np.unique(held).size + 1 <= side / 3 + 1
    assert parts.held_out_files == [7] * 40
