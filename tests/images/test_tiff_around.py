"""Planes, tables and settings that TIFFs keep outside their directories: all are read, and all of it comes back."""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from images.decode import Decoded, decode, decode_here
from images.decoded import Keep
from images.encode import encode, lost
from images.errors import BrokenImage, UnsupportedFormat
from images.note import compose
from images.probe import probe
from tests.harness import files, stacks

Array = NDArray[Any]
NOTE = compose("base-gray")
PLANES = files.noise((6, 32, 40), "uint16")


def truncated(planes: Array) -> bytes:
    return files.tiff(planes, photometric="minisblack", truncate=True, metadata={"axes": "ZYX"})


def imagej(planes: Array) -> bytes:
    return files.tiff(planes, imagej=True, truncate=True, metadata={"axes": "ZYX"})


KINDS: dict[str, Callable[[Array], bytes]] = {
    "stk": stacks.metamorph,
    "mmstack": lambda planes: stacks.micromanager(planes, 2),
    "scanimage": lambda planes: stacks.scanimage((planes >> 1).astype("i2"), 2, in_software=True),
    "lsm": stacks.lsm,
    "shaped": truncated,
    "imagej": imagej,
}
EVERY = pytest.mark.parametrize("kind", KINDS)


def opened(data: bytes) -> tifffile.TiffFile:
    return tifffile.TiffFile(io.BytesIO(data), name="x_MMStack_Pos0.ome.tif")


def facts(data: bytes) -> list[tuple[str, tuple[int, ...], str]]:
    with opened(data) as file:
        return [(series.kind, series.shape, series.axes) for series in file.series]


def settings(data: bytes) -> list[Any]:
    """What readers find beside the pixels."""
    with opened(data) as file:
        micromanager = file.micromanager_metadata
        return [
            {key: str(value) for key, value in (found or {}).items()}
            for found in (file.stk_metadata, file.lsm_metadata, file.imagej_metadata, micromanager)
        ]


def planes_of(data: bytes) -> Array:
    with opened(data) as file:
        return file.series[0].asarray().reshape(-1, 32, 40)


def result(decoded: Decoded, metadata: Keep = "keep") -> tuple[bytes, Array]:
    """A file with other pixels, and those."""
    pixels = decoded.pixels // 2 + 1
    return encode(decoded, pixels, metadata=metadata, note=NOTE).data, decoded.restore(pixels)[..., 0]


@EVERY
def test_every_plane_is_read_and_given_back_where_the_program_looks_for_it(kind: str) -> None:
    data = KINDS[kind](PLANES)
    assert facts(data)[0][0] == kind and probe(data).frames == 6
    decoded = decode(data)
    assert np.array_equal(decoded.restore(decoded.pixels)[..., 0], planes_of(data))
    changed, expected = result(decoded)
    assert np.array_equal(planes_of(changed), expected)
    assert facts(changed) == facts(data) and settings(changed) == settings(data)
    assert decode_here(changed).denoised_before == NOTE
    assert [warning for warning in decoded.warnings if "reduced copies" not in warning] == []


@EVERY
def test_no_other_byte_changes(kind: str) -> None:
    data = KINDS[kind](PLANES)
    decoded = decode_here(data)
    same = encode(decoded, decoded.pixels).data
    assert same == data
    noted = encode(decoded, decoded.pixels, note=NOTE).data
    if kind not in ("mmstack", "scanimage"):  # whose readers count on fixed places: there the note ends the file
        noted = noted[:4] + data[4:8] + noted[8:]
    assert noted[: len(data)] == data
    assert NOTE.encode() in noted[len(data) :]


@EVERY
@pytest.mark.parametrize("how", ["crop", "none", "png"])
def test_written_anew_every_plane_has_its_directory_and_no_tag_speaks_of_what_is_gone(kind: str, how: str) -> None:
    decoded = decode_here(KINDS[kind](PLANES))
    metadata: Keep = "none" if how == "none" else "keep"
    if how == "crop":
        decoded = replace(decoded, pixels=decoded.pixels[:, 4:24, 8:], info=replace(decoded.info, width=32, height=20))
    known = kind in ("stk", "mmstack", "scanimage", "lsm")
    warnings = lost(decoded, "png" if how == "png" else None, metadata)
    assert len(warnings) == known and all("keeps outside its directories" in warning for warning in warnings)
    if how == "png":
        return
    changed, expected = result(decoded, metadata)
    with opened(changed) as file:
        assert np.array_equal([page.asarray() for page in file.pages], expected)
        assert len(file.series) == 1 and np.array_equal(file.asarray().reshape(expected.shape), expected)
        assert not file.is_stk and not file.is_lsm and not file.is_micromanager
        assert "truncated" not in file.pages[0].aspage().description
    assert probe(changed).frames == 6


def test_nothing_is_lost_where_nothing_lies_outside() -> None:
    decoded = decode_here(files.tiff(PLANES, photometric="minisblack"))
    assert decoded.metadata.native["around"] is None and lost(decoded, "png", "none") == ()


@pytest.mark.parametrize("metadata", ["keep", "safe"])
def test_settings_that_are_nobody_s_business_stay_in_a_safe_result(metadata: Keep) -> None:
    data = stacks.metamorph(PLANES)
    assert settings(result(decode_here(data), metadata)[0]) == settings(data)


# ---- channels --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        stacks.metamorph(PLANES, wavelengths=[488, 561] * 3),
        stacks.micromanager(PLANES, 2),
        stacks.scanimage((PLANES >> 1).astype("i2"), 2),
        stacks.scanimage((PLANES >> 1).astype("i2"), 2, in_software=True),
    ],
    ids=["stk", "micromanager", "scanimage", "scanimage-software"],
)
def test_channels_are_told_apart(data: bytes) -> None:
    assert decode_here(data).page_channels == (0, 1, 0, 1, 0, 1)
    one = decode_here(stacks.scanimage((PLANES >> 1).astype("i2"), 1))
    assert one.page_channels is None


def test_scanimage_s_settings_stay_as_its_readers_parse_them() -> None:
    data = stacks.scanimage((PLANES >> 1).astype("i2"), 2, in_software=True)
    changed, _ = result(decode_here(data))
    with opened(data) as before, opened(changed) as after:
        assert after.scanimage_metadata == before.scanimage_metadata
        assert after.pages[0].aspage().software == before.pages[0].aspage().software
    decoded = decode_here(data)
    crop = replace(decoded, pixels=decoded.pixels[:, :9, :9], info=replace(decoded.info, width=9, height=9))
    with opened(data) as before, opened(result(crop)[0]) as after:
        assert after.pages[0].aspage().software == before.pages[0].aspage().software
        assert after.pages[0].aspage().tags[37395].value == NOTE


def test_fluoview_names_its_dimensions() -> None:
    header = bytearray(1500)
    for place, (name, size) in enumerate([(b"X", 40), (b"Y", 32), (b"Z", 3), (b"Ch", 2)]):
        struct.pack_into("<16si", header, 284 + 100 * place, name, size)
    data = files.tiff(PLANES, photometric="minisblack", extratags=[(34361, 1, 1500, bytes(header), True)])
    decoded = decode_here(data)
    assert decoded.page_channels == (0, 0, 0, 1, 1, 1)
    assert result(decoded)[0][: len(data)].count(bytes(header)) == 1


def test_old_scanimage_files_keep_the_distances_that_readers_count_on() -> None:
    planes = (PLANES >> 1).astype("i2")
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        for number, plane in enumerate(planes):
            text = f"frame = {number}\nscanimage.SI4.channelsSave = [1;2]"
            writer.write(plane, metadata=None, description=text, photometric="minisblack", software=False)
    decoded = decode_here(buffer.getvalue())
    assert decoded.page_channels == (0, 1, 0, 1, 0, 1)
    changed, expected = result(decoded)
    assert len(changed) == len(buffer.getvalue()) + len(NOTE) + 1
    assert np.array_equal(planes_of(changed), expected) and decode_here(changed).denoised_before == NOTE


# ---- what does not fit -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["stk", "shaped", "imagej"])
def test_a_stack_that_is_cut_off_is_refused(kind: str) -> None:
    whole = KINDS[kind](PLANES)
    cut = stacks.metamorph(PLANES[:3], promised=100) if kind == "stk" else whole[: len(whole) - 3 * PLANES[0].nbytes]
    with pytest.raises(BrokenImage, match=r"planes, but there is data for .*cut off"):
        probe(cut)


def test_a_description_of_planes_that_were_never_there_is_not_believed() -> None:
    with opened(files.tiff(PLANES, imagej=True)) as file:
        text = file.pages[0].aspage().description
    decoded = decode_here(files.tiff(PLANES[0], description=text, metadata=None))
    assert decoded.info.frames == 1
    assert any("speaks of 6 planes; the file holds one" in warning for warning in decoded.warnings)


def test_planes_that_are_said_to_follow_compressed_ones_are_refused() -> None:
    text = '{"shape": [6, 32, 40], "truncated": true}'
    data = files.tiff(PLANES[0], description=text, metadata=None, compression="zlib") + bytes(10 * PLANES.nbytes)
    with pytest.raises(UnsupportedFormat, match="save it uncompressed"):
        probe(data)


@pytest.mark.parametrize("options", [{}, {"compression": "zlib", "tile": (16, 16)}, {"compression": "lzw"}])
def test_planes_that_nothing_lists_are_spoken_of_and_stay(options: dict[str, Any]) -> None:
    hidden = PLANES[3:].tobytes()
    data = files.tiff(PLANES[:3], photometric="minisblack", **options) + hidden
    decoded = decode_here(data)
    (warning,) = decoded.warnings
    assert re.match(r"7,6[89]\d bytes of the file belong to no page that it lists", warning) and len(hidden) == 7680
    assert "are not denoised" in warning
    (dropped,) = lost(decoded, "tiff", "none")
    assert "bytes that belong to no page" in dropped
    changed, expected = result(decoded)
    assert hidden in changed and np.array_equal(planes_of(changed), expected)


def test_compressed_data_that_grow_go_to_the_end_of_the_file() -> None:
    flat = np.full((3, 64, 80), 7, np.uint16)
    data = files.tiff(flat, photometric="minisblack", compression="zlib", rowsperstrip=16) + b"a block of settings" * 4
    decoded = decode_here(data)
    noisy = files.noise((3, 64, 80, 1), "uint16")
    changed = encode(decoded, noisy, note=NOTE).data
    assert b"a block of settings" in changed and decode_here(changed).denoised_before == NOTE
    with opened(changed) as file:
        assert np.array_equal(file.asarray(), noisy[..., 0])


@pytest.mark.parametrize("place", [0, 100])
def test_pixels_that_lie_on_other_things_are_not_written_over_them(place: int) -> None:
    data = bytearray(stacks.metamorph(PLANES))
    struct.pack_into("<I", data, data.index(struct.pack("<HHII", 273, 4, 1, 8)) + 8, place)
    if place:  # on the tables behind the planes
        data = bytearray(stacks.metamorph(PLANES[:5])) + bytes(5 * PLANES[0].nbytes)
        struct.pack_into("<I", data, data.index(struct.pack("<HHII", 273, 4, 1, 8)) + 8, 8 + 4 * PLANES[0].nbytes)
    decoded = decode_here(bytes(data))
    assert decoded.metadata.native["around"]["kept"] == []
    changed, expected = result(decoded)
    assert np.array_equal(decode_here(changed).restore(decode_here(changed).pixels)[..., 0], expected)


def test_more_than_metadata_may_be_is_left_out_and_said() -> None:
    data = files.tiff(PLANES, photometric="minisblack") + b"\1" * (17 << 20)
    (warning,) = decode_here(data).warnings
    assert "are not in the result" in warning


def test_reduced_copies_are_no_hidden_planes() -> None:
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        writer.write(files.noise((64, 64), "uint16"), subifds=1, metadata=None)
        writer.write(files.noise((32, 32), "uint16"), subfiletype=1, metadata=None)
    decoded = decode_here(buffer.getvalue())
    assert decoded.metadata.native["around"] is None
    assert decoded.warnings == ("1 reduced copies or masks inside the file were left out of the result.",)


def test_images_in_sub_directories_are_no_reduced_copies() -> None:
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        writer.write(PLANES[0], subifds=2, metadata=None)
        writer.write(PLANES[1], metadata=None)
        writer.write(PLANES[2][::2, ::2], subfiletype=1, metadata=None)
    assert any(
        "1 images of full size in sub-directories" in warning for warning in decode_here(buffer.getvalue()).warnings
    )


def test_several_truncated_series_are_read_one_after_the_other() -> None:
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        for series in (PLANES[:4], PLANES[4:]):
            writer.write(series, photometric="minisblack", truncate=True, metadata={"axes": "ZYX"})
    decoded = decode(buffer.getvalue())
    assert np.array_equal(decoded.pixels[..., 0], PLANES)
    changed, expected = result(decoded)
    assert np.array_equal(decode(changed).pixels[..., 0], expected)
    assert facts(changed) == facts(buffer.getvalue())


def test_nih_image_s_header_gives_the_number_of_slices() -> None:
    header = bytearray(512)
    struct.pack_into("<h", header, 260, 6)
    tag = (43314, 7, 512, bytes(header), False)
    data = files.tiff(PLANES[0], metadata=None, extratags=[tag])
    with opened(data) as file:
        place = file.pages[0].aspage().dataoffsets[0]
    assert place + PLANES[0].nbytes == len(data)
    decoded = decode_here(data + PLANES[1:].tobytes())
    assert np.array_equal(decoded.pixels[..., 0], PLANES)
