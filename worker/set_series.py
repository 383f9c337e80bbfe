"""Which images of a training set may be frames of one scene: pages of a file, or files that are numbered."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Sequence
from typing import NamedTuple

_FEWEST = 3  # files that make a numbered series; two may be a pair of anything
_NUMBER = re.compile(r"(\d{1,12})")


class Origin(NamedTuple):
    """Where an image of a set comes from.

    Attributes:
        name: of its file.
        file: number of the file.
        series: of its page within the file.
        part: what of the page it is; the whole, or what lies between gaps.
        pages: how many the file has.
    """

    name: str
    file: int
    series: int
    part: Hashable
    pages: int


def series_of(origins: Sequence[Origin], shapes: Sequence[tuple[int, ...]], said: bool = False) -> list[list[int]]:
    """Numbers of images that may follow each other, in order: those of one size.

    Args:
        said: the caller says that the files belong together, so those that are not numbered do, too.
    """
    stacks: dict[Hashable, list[int]] = {}
    single = []
    for number, origin in enumerate(origins):
        if origin.pages > 1:
            stacks.setdefault((origin.file, origin.series, origin.part, shapes[number]), []).append(number)
        else:
            single.append(number)
    found = [those for those in stacks.values() if len(those) > 1]
    files = Counter(origins[number].file for number in single)
    whole = [number for number in single if files[origins[number].file] == 1]
    numbered = _numbered([(origins[number].name, shapes[number], number) for number in whole])
    if said and not found and not numbered:
        numbered = _in_order([(origins[number].name, shapes[number], number) for number in whole])
    return found + numbered


Named = tuple[str, tuple[int, ...], int]


def _numbered(files: Sequence[Named]) -> list[list[int]]:
    """Files whose names differ in one number alone, by that number; each is in the largest series that it fits."""
    groups: dict[Hashable, list[tuple[int, int]]] = {}
    for name, shape, number in files:
        tokens = _NUMBER.split(name)
        for place in range(1, len(tokens), 2):
            rest = (*tokens[:place], None, *tokens[place + 1 :], shape)
            groups.setdefault((place - len(tokens), rest), []).append((int(tokens[place]), number))
    found: list[list[int]] = []
    taken: set[int] = set()
    for _, those in sorted(groups.items(), key=lambda item: (-len(item[1]), -item[0][0])):  # type: ignore[index]
        left = [number for _, number in sorted(those) if number not in taken]
        if len(left) >= _FEWEST:
            found.append(left)
            taken.update(left)
    return found


def _in_order(files: Sequence[Named]) -> list[list[int]]:
    """All files of one size, by name, with numbers in their order."""
    groups: dict[Hashable, list[tuple[list[str | int], int]]] = {}
    for name, shape, number in files:
        parts: list[str | int] = [int(part) if at % 2 else part for at, part in enumerate(_NUMBER.split(name))]
        groups.setdefault(shape, []).append((parts, number))
    return [[number for _, number in sorted(those)] for those in groups.values() if len(those) > 1]
