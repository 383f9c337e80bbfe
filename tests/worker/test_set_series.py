"""Which files and pages of a set may be frames of one scene."""

from worker.set_series import Origin, series_of

SHAPE = (1, 64, 64)


def single(*names: str) -> list[Origin]:
    return [Origin(name, file, 0, None, 1) for file, name in enumerate(names)]


def found(origins: list[Origin], said: bool = False) -> list[list[int]]:
    return series_of(origins, [SHAPE] * len(origins), said)


def test_files_that_differ_in_one_number_follow_it() -> None:
    assert found(single("t010.tif", "t2.tif", "t001.tif")) == [[2, 1, 0]]
    names = [f"{folder}/t{number}.tif" for folder in "ab" for number in (1, 2, 3)]
    assert found(single(*names)) == [[0, 1, 2], [3, 4, 5]]
    names = [f"run7_t{t:02}_c{c}.tif" for t in range(4) for c in range(2)]
    assert found(single(*names)) == [[0, 2, 4, 6], [1, 3, 5, 7]]


def test_pairs_other_names_and_other_sizes_are_no_series() -> None:
    assert found(single("a1.tif", "a2.tif", "cells.tif", "dog.tif")) == []
    assert series_of(single("t1.tif", "t2.tif", "t3.tif"), [SHAPE, SHAPE, (1, 64, 80)]) == []


def test_who_says_that_files_belong_together_needs_no_numbers() -> None:
    assert found(single("b.tif", "a.tif"), said=True) == [[1, 0]]
    assert found(single("x9.tif", "x10.tif"), said=True) == [[0, 1]]


def test_pages_follow_each_other_within_their_series() -> None:
    pages = [Origin("a.tif", 0, page % 2, None, 6) for page in range(6)] + single("z.tif")
    assert found(pages) == [[0, 2, 4], [1, 3, 5]]


def test_parts_of_pages_follow_those_at_the_same_place() -> None:
    pages = [Origin("a.tif", 0, 0, (0, half), 3) for page in range(3) for half in (0, 40)]
    assert found(pages) == [[0, 2, 4], [1, 3, 5]]
