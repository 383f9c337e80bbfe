"""A training set from what people send: a verdict per file, one kind of image, bounded disk and memory."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from images.archive import ArchiveLimits
from images.limits import Limits
from store.blobs import Blobs
from store.training_file import TrainingFile
from tests.harness.images_of import noisy, png
from worker import training_set
from worker.errors import Refused, Retriable
from worker.training_set import Gathering, TrainingSet

LIMITS = Limits(max_bytes=2_000_000, max_pixels=1_000_000)
ARCHIVES = ArchiveLimits(max_files=100, max_bytes=20_000_000, max_file_bytes=2_000_000)


def tiff(array: NDArray[Any], **options: Any) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, array, **options)
    return buffer.getvalue()


def field(seed: int, side: int = 80, dtype: str = "uint8") -> NDArray[Any]:
    return np.random.default_rng(seed).integers(0, 250, (side, side)).astype(dtype)


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs((tmp_path / "blobs").as_uri())


def test_a_cancel_is_heard_between_the_files_of_an_archive(blobs: Blobs, tmp_path: Path) -> None:
    class Canceled(Exception):
        pass

    heard: list[int] = []

    def on_file(done: int) -> None:
        heard.append(done)
        if len(heard) == 3:
            raise Canceled

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number in range(9):
            archive.writestr(f"{number}.png", png(field(number)))
    blobs.put("a.zip", buffer.getvalue())
    gathering = Gathering(blobs, tmp_path, LIMITS, ARCHIVES)
    with pytest.raises(Canceled):
        gathering.add_all([TrainingFile("a.zip", "a.zip", 9, 0, "", archive=True)], on_file)
    gathering.close()
    assert heard == [0, 0, 0]


@pytest.fixture
def gather(blobs: Blobs, tmp_path: Path) -> Iterator[Callable[..., TrainingSet]]:
    (tmp_path / "scratch").mkdir()
    gathering = Gathering(blobs, tmp_path / "scratch", LIMITS, ARCHIVES)

    def run(files: dict[str, bytes], min_pixels: int = 1) -> TrainingSet:
        listed = []
        for name, data in files.items():
            blobs.put(name, data)
            listed.append(TrainingFile(name, name, len(data), 0, hashlib.sha256(data).hexdigest()))
        gathering.add_all(listed, lambda done: None)
        return gathering.finish(min_pixels)

    yield run
    gathering.close()


def reasons(found: TrainingSet) -> dict[str, str]:
    return {verdict.name: verdict.reason or "" for verdict in found.verdicts if not verdict.kept}


def test_every_image_lies_in_one_mapped_file(gather: Callable[..., TrainingSet], tmp_path: Path) -> None:
    fields = [field(seed, 64 + seed, "uint16") for seed in range(5)]
    found = gather({f"{n}.tif": tiff(f) for n, f in enumerate(fields)})
    assert (found.channels, found.dtype, found.kept) == (1, "uint16", 5)
    assert found.pixels == sum(f.size for f in fields)
    for image, expected in zip(found.images, fields, strict=True):
        np.testing.assert_array_equal(image, expected[None])
    found.release()
    np.testing.assert_array_equal(found.images[3][0], fields[3])
    assert sorted(path.name for path in (tmp_path / "scratch").iterdir()) == ["1-uint16.images"]


def test_what_was_read_leaves_memory_again(gather: Callable[..., TrainingSet]) -> None:
    found = gather({f"{n}.png": png(field(n, 900)) for n in range(6)})
    assert sum(int(image.sum(dtype=np.int64)) for image in found.images) > 0
    assert resident("1-uint8.images") > 4_000_000
    found.release()
    assert resident("1-uint8.images") == 0


def resident(name: str) -> int:
    """Bytes of a mapped file that are in this process's memory."""
    lines = Path("/proc/self/smaps").read_text().splitlines()
    at = next(number for number, line in enumerate(lines) if line.endswith(name))
    return 1024 * int(next(line for line in lines[at:] if line.startswith("Rss:")).split()[1])


def test_frames_of_a_stack_are_images_and_channels_come_first(gather: Callable[..., TrainingSet]) -> None:
    stack = np.stack([field(seed) for seed in range(3)])
    rgb = np.random.default_rng(0).integers(0, 255, (70, 90, 3), dtype=np.uint8)
    found = gather({"stack.tif": tiff(stack, photometric="minisblack")})
    assert [image.shape for image in found.images] == [(1, 80, 80)] * 3
    coloured = gather({f"{n}.png": png(np.roll(rgb, n, axis=0)) for n in range(4)})
    assert coloured.channels == 3 and coloured.images[0].shape == (3, 70, 90)
    np.testing.assert_array_equal(coloured.images[0][1], rgb[..., 1])
    planes, files = coloured.for_channels(1)
    assert [plane.shape for plane in planes] == [(1, 70, 90)] * 12
    assert [files.count(file) for file in dict.fromkeys(files)] == [3] * 4
    images, files = coloured.for_channels(3)
    assert images is coloured.images and len(set(files)) == 4


def test_every_image_knows_its_file(gather: Callable[..., TrainingSet]) -> None:
    stacks = [np.stack([field(10 * n + page) for page in range(n)]) for n in (2, 3)]
    files = {f"{len(stack)}.tif": tiff(stack, photometric="minisblack") for stack in stacks}
    found = gather({"words.txt": b"not an image", **files, "again.png": png(field(20)), "last.png": png(field(1))})
    names = [found.verdicts[file].name for file in found.files]
    assert names == ["2.tif"] * 2 + ["3.tif"] * 3 + ["last.png"]


def test_the_padding_of_mosaics_is_not_learned_from(gather: Callable[..., TrainingSet]) -> None:
    rng = np.random.default_rng(6)
    fields = [rng.poisson(300, (100, 90)).astype(np.uint16) for _ in range(5)]
    padded = [np.pad(one, ((30, 90), (70, 20))) for one in fields]
    found = gather({f"{n}.tif": tiff(one) for n, one in enumerate(padded)})
    assert found.pixels == 5 * 100 * 90
    for image, expected in zip(found.images, fields, strict=True):
        np.testing.assert_array_equal(image, expected[None])


def test_gaps_of_detectors_and_what_is_no_number_are_not_learned_from(gather: Callable[..., TrainingSet]) -> None:
    rng = np.random.default_rng(6)
    detector = rng.poisson(300, (160, 90)).astype(np.int32)
    detector[80:90], detector[20, 30] = -1, -2
    float_field = rng.normal(5, 1, (100, 120)).astype(np.float32)
    float_field[:, :30], float_field[50, 60] = np.nan, np.inf
    found = gather({"d.tif": tiff(detector), "f.tif": tiff(float_field)})
    assert sorted(image.shape for image in found.images) == [(1, 70, 90), (1, 80, 90), (1, 100, 90)]
    assert all(np.isfinite(image).all() and image.min() > 0 for image in found.images)
    assert found.files == [0, 0, 1]


def test_a_verdict_for_each_file_that_is_no_good(gather: Callable[..., TrainingSet]) -> None:
    nan = field(5, dtype="float32")
    nan[:40] = np.nan
    found = gather(
        {
            "good.png": png(field(1)),
            "words.txt": b"not an image",
            "cut.png": png(field(2))[:500],
            "tiny.png": png(field(3, 40)),
            "flat.png": png(np.full((80, 80), 7, np.uint8)),
            "again.png": png(field(1)),
            "nan.tif": tiff(nan),
            "vast.png": png(np.zeros((1100, 1000), np.uint8)),
            "heavy.tif": bytes(2_000_001),
        }
    )
    assert found.kept == 1
    said = reasons(found)
    expected = {
        "words.txt": "not an image", "cut.png": "", "tiny.png": "at least 64", "flat.png": "one value",
        "again.png": "same pixels", "nan.tif": "measured throughout", "vast.png": "1,000,000", "heavy.tif": "2,000,000",
    }  # fmt: skip
    assert said.keys() == expected.keys()
    for name, word in expected.items():
        assert said[name] and word in said[name], (name, said[name])


def test_the_majority_is_used_and_the_others_are_told(gather: Callable[..., TrainingSet], tmp_path: Path) -> None:
    found = gather(
        {
            **{f"{n}.tif": tiff(field(n, dtype="uint16")) for n in range(3)},
            "a.png": png(field(9)),
            "b.png": png(field(8)),
        }
    )
    assert (found.dtype, found.kept, len(found.images)) == ("uint16", 3, 3)
    assert reasons(found)["a.png"] == "it is 8-bit gray, and most of the set is 16-bit gray; make a model for each"
    assert not (tmp_path / "scratch" / "1-uint8.images").exists()


def test_archives_are_opened(gather: Callable[..., TrainingSet]) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("in/1.png", png(field(1)))
        archive.writestr("../2.png", png(field(2)))
        archive.writestr("notes.txt", "words")
    found = gather({"set.zip": buffer.getvalue(), "broken.zip": b"PK\x03\x04 and no more"})
    assert found.kept == 1 and found.verdicts[0].name == "set.zip/in/1.png"
    assert set(reasons(found)) == {"set.zip/../2.png", "set.zip/notes.txt", "broken.zip"}


def test_too_little_is_refused_with_the_reasons(gather: Callable[..., TrainingSet]) -> None:
    with pytest.raises(Refused, match=r"6,400 usable.*at least 10,000.*words.txt"):
        gather({"good.png": png(field(1)), "words.txt": b"not an image"}, min_pixels=10_000)


def test_nothing_usable_is_refused(gather: Callable[..., TrainingSet]) -> None:
    with pytest.raises(Refused, match=r"words.txt"):
        gather({"words.txt": b"not an image"})


def test_bytes_that_are_gone_cost_their_file(blobs: Blobs, tmp_path: Path) -> None:
    gathering = Gathering(blobs, tmp_path, LIMITS, ARCHIVES)
    blobs.put("here", png(field(1)))
    gathering.add_all(
        [TrainingFile("gone", "gone", 5, 0, ""), TrainingFile("here", "here", 5, 0, "")], lambda done: None
    )
    found = gathering.finish(1)
    assert (found.kept, list(reasons(found))) == (1, ["gone"])


def test_a_full_disk_is_seen_before_it_is_full(
    gather: Callable[..., TrainingSet], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_set, "RESERVE_BYTES", 1 << 60)  # as if so much had to stay free
    with pytest.raises(Retriable, match="B2S_SCRATCH_DIR"):
        gather({"good.png": png(noisy(80, 80))})


def test_files_of_a_time_lapse_and_pages_of_a_stack_are_series(gather: Callable[..., TrainingSet]) -> None:
    rgb = {f"c{n}.tif": tiff(np.stack([field(n + 3 * c) for c in range(3)], -1)) for n in (2, 1, 3)}
    found = gather(rgb)
    assert found.series(3, said=False) == [[1, 0, 2]]
    assert found.series(1, said=False) == [[3, 0, 6], [4, 1, 7], [5, 2, 8]]  # as its planes are numbered


def test_pages_of_a_stack_follow_time_within_their_depth(gather: Callable[..., TrainingSet]) -> None:
    stack = np.random.default_rng(0).integers(0, 250, (3, 2, 70, 70)).astype(np.uint8)
    found = gather({"a.tif": tiff(stack, imagej=True, metadata={"axes": "TZYX"}), "b.tif": tiff(field(9, 70))})
    assert found.series(1, said=False) == [[0, 2, 4], [1, 3, 5]]
