"""The helper process returns what decoding here returns, and whatever happens to it costs one file an error."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from images import decode as decoding
from images import sandbox, scratch
from images.errors import (
    BrokenImage,
    DecoderKilled,
    ImageError,
    ImageTooLarge,
    UnsupportedFormat,
)
from images.limits import MIB, Limits
from images.messages import Reply, receive, send
from images.probe import probe
from images.sandbox import Sandbox
from images.source import Source
from tests.harness import files, worst
from tests.harness.helpers import bounds, ending_helpers, gone, helpers, server, wait_for, watched

LIMITS = Limits()
LARGE = files.npy(files.noise((4000, 4000), "float64"))  # 128 MB, and three copies of it on the way


BOUNDED = ("Max address space", "Max cpu time", "Max file size")


@pytest.fixture
def box() -> Iterator[Sandbox]:
    made = Sandbox()
    yield made
    made.close()


@pytest.mark.parametrize(
    "data",
    [
        files.png(files.noise((20, 30, 4), "uint16"), (b"tEXt", b"Comment\0hi")),
        files.tiff(files.noise((5, 20, 30), "uint16"), photometric="minisblack"),
        files.tiff(files.noise((20, 30), "float64")),
        files.pillow(files.smooth(), "JPEG", exif=b"Exif\0\0" + files.exif()),
    ],
)
def test_same_as_in_this_process(box: Sandbox, data: bytes, tmp_path: Path) -> None:
    here = decoding.decode_here(data)
    path = tmp_path / "image"
    path.write_bytes(data)
    for found in (box.decode(data, LIMITS), box.decode(path, LIMITS), decoding.decode(data)):
        np.testing.assert_array_equal(found.pixels, here.pixels)
        assert (found.info, found.metadata, found.warnings) == (here.info, here.metadata, here.warnings)
        for left, right in ((found.alpha, here.alpha), (found.exact, here.exact)):
            np.testing.assert_array_equal(left, right) if right is not None else None
            assert (left is None) == (right is None)


def test_a_helper_serves_one_file(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = watched(monkeypatch, box)
    good = files.png(files.noise((9, 8, 3)))
    for data in (good, good[:-40], good, b"hello world", good):
        with contextlib.suppress(ImageError):
            box.decode(data, LIMITS)
    assert len(seen) == len(set(seen)) == 5
    gone(*seen)
    assert helpers(server(box)) and not set(helpers(server(box))) & set(seen)  # the next one waits already


def test_errors_keep_their_kind_and_words(box: Sandbox) -> None:
    import zlib

    bomb = files.png(files.noise((9, 8, 3)), (b"iCCP", b"n\0\0" + zlib.compress(bytes(3_000_000))))
    cases = [(bomb, Limits(max_metadata_bytes=10_000), ImageTooLarge), (b"hello world", LIMITS, UnsupportedFormat)]
    for data, limits, kind in cases:
        with pytest.raises(kind) as caught:
            box.decode(data, limits)
        with pytest.raises(kind) as here:
            decoding.decode_here(data, limits)
        assert str(caught.value) == str(here.value)


def test_a_header_is_read_by_the_helper_alone(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """What costs its parser all that the budget allows costs it there, where time and memory are limited."""

    def never(*_: object) -> None:
        raise AssertionError("a stranger's bytes are parsed in this process")

    monkeypatch.setattr(Source, "read", never)
    assert box.decode(files.png(files.noise((9, 8, 3))), LIMITS).pixels.shape == (1, 9, 8, 3)
    for makers in worst.CASES.values():
        for make in makers:
            with contextlib.suppress(ImageError):
                box.decode(make(100_000), LIMITS)
    with pytest.raises(BrokenImage, match="empty"):
        box.decode(b"", LIMITS)


def test_a_helper_that_lies_about_sizes_is_not_believed(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    good = probe(files.png(files.noise((9, 8, 3))))
    lies: list[dict[str, object]] = [
        {"width": -4, "height": -4}, {"width": 10**9, "height": 10**9}, {"frames": 0}, {"dtype": []}, {"channels": "3"},
    ]  # fmt: skip
    for lie in lies:
        wrong = replace(good, **lie)
        monkeypatch.setattr(sandbox, "receive", lambda *_, wrong=wrong: (Reply(info=wrong), []))
        with pytest.raises(ImageError):
            box.decode(files.png(files.noise((9, 8, 3))), LIMITS)


@pytest.mark.parametrize("at", [0, 1], ids=["looked at", "decoded"])
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_a_helper_killed_from_outside_is_replaced_under_its_file(
    box: Sandbox, monkeypatch: pytest.MonkeyPatch, at: int, end: signal.Signals
) -> None:
    box.start()
    victims = ending_helpers(monkeypatch, box, end, {at})
    assert box.decode(files.png(files.noise((9, 8, 3))), LIMITS).pixels.shape == (1, 9, 8, 3)
    assert len(victims) == 1
    gone(*victims)


def test_helpers_killed_one_after_the_other_are_not_the_files_fault(
    box: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        victims = ending_helpers(patch, box, signal.SIGKILL, set(range(9)))
        with pytest.raises(DecoderKilled):
            box.decode(files.png(files.noise((9, 8, 3))), LIMITS)
    assert len(set(victims)) == 2
    assert box.decode(files.png(files.noise((9, 8, 3))), LIMITS).pixels.shape == (1, 9, 8, 3)


@pytest.mark.parametrize("end", [signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGXCPU])
def test_a_crash_is_the_files_fault(box: Sandbox, monkeypatch: pytest.MonkeyPatch, end: signal.Signals) -> None:
    with monkeypatch.context() as patch:
        victims = ending_helpers(patch, box, end, set(range(9)))
        with pytest.raises(BrokenImage, match="made its decoder fail"):
            box.decode(files.png(files.noise((9, 8, 3))), LIMITS)
    assert len(victims) == 1
    assert box.decode(files.png(files.noise((9, 8, 3))), LIMITS).pixels.shape == (1, 9, 8, 3)


def test_one_that_died_before_its_file_is_replaced(box: Sandbox) -> None:
    for victims in (lambda: helpers(server(box)), lambda: [server(box)]):
        box.decode(files.png(files.noise((9, 8, 3))), LIMITS)
        wait_for(lambda: bool(helpers(server(box))))
        dead = victims()
        for pid in dead:
            os.kill(pid, signal.SIGKILL)
        assert box.decode(files.png(files.noise((9, 8, 3))), LIMITS).pixels.shape == (1, 9, 8, 3)


def test_a_fork_server_that_dies_takes_its_helpers_along(box: Sandbox) -> None:
    with box._helper(lambda: None) as helper:
        wait_for(lambda: len(helpers(server(box))) == 2)
        pids = helpers(server(box))
        assert helper.pid in pids
        os.kill(server(box), signal.SIGKILL)
        gone(*pids)


def test_memory_is_limited(box: Sandbox) -> None:
    starved = replace(LIMITS, memory_bytes=-7 * 128_000_000)  # what the pixels themselves are allowed, taken back
    with pytest.raises(ImageError) as caught:
        box.decode(LARGE, starved)
    assert isinstance(caught.value, ImageTooLarge | BrokenImage)
    assert box.decode(LARGE, LIMITS).pixels.shape == (1, 4000, 4000, 1)


def test_cpu_time_is_limited(box: Sandbox) -> None:
    good = files.pillow(files.smooth(1500, 1500, 1), "JPEG", progressive=True)
    scan = good[good.rindex(b"\xff\xda") : -2]
    bomb = good[:-2] + scan * 3000 + b"\xff\xd9"  # each scan refines the whole image once more
    with pytest.raises(BrokenImage, match=r"decoder fail|too long"):
        box.decode(bomb, replace(LIMITS, cpu_seconds=1))
    assert box.decode(files.png(files.noise((9, 8, 3))), LIMITS).pixels.shape == (1, 9, 8, 3)


def test_the_limit_on_cpu_time_is_met_before_the_hard_one(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """There comes SIGKILL, and nobody could tell whose fault it was."""
    found: list[list[tuple[int, int]]] = []
    real = sandbox.error_of

    def error_of(reply: Reply) -> ImageError | None:
        found.append([bounds(seen[-1], what) for what in BOUNDED])
        return real(reply)

    monkeypatch.setattr(sandbox, "error_of", error_of)
    seen = watched(monkeypatch, box)
    box.decode(files.png(files.noise((9, 8, 3))), replace(LIMITS, cpu_seconds=60))
    looked_at, decoded = found
    assert [soft < hard for soft, hard in looked_at] == [True, True, True]  # it may be a large one
    assert [hard - soft for soft, hard in decoded] == [0, 1, 0]  # seconds
    assert all(later[1] <= before[1] for before, later in zip(looked_at, decoded, strict=True))


def test_waiting_is_limited(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "_WALL_OVER_CPU", 1)
    with monkeypatch.context() as patch:
        patch.setattr(sandbox, "send", lambda *_: None)  # it neither works nor ends
        with pytest.raises(BrokenImage, match="too long"):
            box.decode(files.png(files.noise((9, 8, 3))), replace(LIMITS, cpu_seconds=1))


def test_no_process_keeps_descriptors(box: Sandbox) -> None:
    data = files.png(files.noise((9, 8, 3)))
    files_decoded, coming_and_going = 40, 10  # one kept for each file would be four times what a helper takes to end

    def held(times: int) -> list[int]:
        for _ in range(times):
            box.decode(data, LIMITS)
        return [len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in (server(box), "self")]

    before = held(files_decoded)
    after = held(files_decoded)
    assert all(now < then + coming_and_going for now, then in zip(after, before, strict=True))


def test_threads_take_turns(box: Sandbox) -> None:
    images = [files.noise((40, 50, 3), seed=n) for n in range(12)]
    found: dict[int, np.ndarray[tuple[int, ...], np.dtype[np.uint8]]] = {}

    def work(index: int) -> None:
        found[index] = box.decode(files.png(images[index]), LIMITS).pixels

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(images))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index, image in enumerate(images):
        np.testing.assert_array_equal(found[index][0], image)


def test_helpers_end_with_their_worker() -> None:
    code = "import os; from images.sandbox import shared; box = shared(); box.start(); "
    code += "server = box._nursery.server; print(server, flush=True); "
    code += "print(open(f'/proc/{server}/task/{server}/children').read(), flush=True); os._exit(1)"
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    gone(*(int(pid) for pid in done.stdout.split()))


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_gets_its_own(box: Sandbox) -> None:
    sandbox.shared().start()
    ours = sandbox.shared()
    before = server(ours)
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:  # only os calls from here: this is a copy of the test runner
        ours.close()  # as the inherited exit handler does
        os.write(writer, b"1" if sandbox.shared() is not ours else b"0")
        os._exit(0)
    os.waitpid(pid, 0)
    assert os.read(reader, 1) == b"1"
    assert server(ours) == before
    os.close(reader)
    os.close(writer)
    assert ours.decode(files.png(files.noise((9, 8, 3))), LIMITS).pixels.shape == (1, 9, 8, 3)
    assert server(ours) == before


def test_only_our_own_messages_are_read() -> None:
    import pickle
    import socket

    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return os.system, ("true",)

    left, right = socket.socketpair()
    with left, right:
        send(left, Evil())
        with pytest.raises(pickle.UnpicklingError, match="not a message"):
            receive(right, MIB)
        send(left, b"x" * 100)
        with pytest.raises(ValueError, match="longer"):
            receive(right, 50)


def test_large_stacks_come_back_on_disk_page_by_page(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch, "LARGE", 1 * MIB)
    stack = files.noise((40, 200, 300), "uint16")
    decoded = box.decode(files.tiff(stack, photometric="minisblack", compression="zlib"), LIMITS)
    np.testing.assert_array_equal(decoded.pixels[..., 0], stack)
    address = decoded.pixels.__array_interface__["data"][0]
    line = next(
        line for line in Path("/proc/self/maps").read_text().splitlines()
        if int(line.split("-")[0], 16) <= address < int(line.split("-")[1].split()[0], 16)
    )  # fmt: skip
    assert "deleted" in line and "memfd" not in line  # an unnamed file, not memory


TRIP = """
import shutil, sys
from images import scratch
from images.decode import decode
from images.encode import encode_to
scratch.LARGE = 1 << 20
decoded = decode(sys.argv[1])
pixels = scratch.empty(decoded.pixels.shape, decoded.pixels.dtype)
for index in range(len(pixels)):
    pixels[index] = decoded.pixels[index]
    scratch.release(pixels)
    scratch.release(decoded.pixels)
with scratch.file() as file, open(sys.argv[2], "wb") as copy:
    encode_to(file, decoded, pixels)
    file.seek(0)
    shutil.copyfileobj(file, copy)
status = open("/proc/self/status").read()
print(int(status.split("VmHWM:")[1].split()[0]) * 1024)
"""


def peak_of_trip(source: Path, result: Path) -> int:
    """Highest resident set of a process that decodes, copies and encodes a stack as the worker does."""
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-c", TRIP, str(source), str(result)]
    return int(subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout)


def test_a_stack_passes_through_little_memory(tmp_path: Path) -> None:
    """Decoded, copied and written page by page: this process never holds more than a part of 300 MB."""
    path, result = tmp_path / "stack.tif", tmp_path / "result.tif"
    page = files.noise((1024, 1024), "uint16")
    with tifffile.TiffWriter(path) as writer:
        for index in range(150):
            writer.write(page + np.uint16(index), metadata=None)
    assert peak_of_trip(path, result) < 150 * MIB
    with tifffile.TiffFile(result) as file:
        assert len(file.pages) == 150
        for index in (0, 77, 149):
            np.testing.assert_array_equal(file.pages[index].asarray(), page + np.uint16(index))


@pytest.mark.parametrize("kind", ["npy", "fits"])
def test_other_stacks_pass_through_little_memory(kind: str, tmp_path: Path) -> None:
    path, result = tmp_path / "stack", tmp_path / "result"
    stack = np.stack([files.noise((1024, 1024), "int16") + np.int16(index) for index in range(4)]).repeat(18, axis=0)
    path.write_bytes(files.npy(stack) if kind == "npy" else files.fits(stack))
    assert peak_of_trip(path, result) < 150 * MIB
    assert result.read_bytes() == path.read_bytes()


@pytest.mark.parametrize("kind", ["npy", "fits"])
def test_a_stack_is_read_a_page_at_a_time(kind: str, tmp_path: Path) -> None:
    stack = files.noise((40, 512, 512), "int16")
    path = tmp_path / "stack"
    path.write_bytes(files.npy(stack) if kind == "npy" else files.fits(stack))

    def mapped(shape: tuple[int, ...], dtype: Any) -> files.Array:
        return np.memmap(tmp_path / "pixels", dtype, "w+", shape=shape)

    tracemalloc.start()
    try:
        decoded = decoding.decode_stored(path, LIMITS, mapped)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(decoded.restore(decoded.pixels)[..., 0], stack)
    assert peak < stack.nbytes / 4


def test_who_does_not_heed_the_limit_on_cpu_time_is_killed_and_at_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the same signal as the out-of-memory killer's, but with its time used up."""
    monkeypatch.setattr(sandbox, "_WALL_OVER_CPU", 1000)
    box = Sandbox("tests.images.burning_guest")
    seen = watched(monkeypatch, box)
    try:
        with pytest.raises(BrokenImage, match="made its decoder fail"):
            box.decode(b"anything", replace(LIMITS, cpu_seconds=1, max_decoded_bytes=1))
    finally:
        box.close()
    assert len(seen) == 1  # nobody else gets the file
