"""The command line keeps what it says it keeps, and refuses the rest in words."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image
from typer.testing import CliRunner

from images.decode import Decoded
from images.errors import ImageError, UnsupportedFormat
from lab import files
from lab.cli import app
from model import Denoiser

Array = NDArray[Any]


def noise(*shape: int, dtype: str = "uint8") -> Array:
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def trip(source: Path, target: Path | None = None) -> Decoded:
    """The file read, and written again with its pixels as they were."""
    found = files.read(source)
    files.write(target or source.with_stem("out"), found, found.pixels.copy())
    return found


@pytest.mark.parametrize(
    ("shape", "options", "frames", "channels"),
    [
        ((40, 50), {}, 1, 1),
        ((6, 40, 50), {"photometric": "minisblack", "imagej": True, "metadata": {"axes": "ZYX"}}, 6, 1),
        ((2, 3, 40, 50), {"photometric": "minisblack", "imagej": True, "metadata": {"axes": "TCYX"}}, 6, 1),
        ((2, 3, 40, 50), {"photometric": "minisblack", "ome": True, "metadata": {"axes": "TCYX"}}, 6, 1),
        ((3, 40, 50), {"photometric": "minisblack", "metadata": {"axes": "ZYX"}}, 3, 1),
        ((3, 40, 50), {"photometric": "minisblack", "metadata": None}, 3, 1),
        ((5, 40, 50), {"photometric": "minisblack", "planarconfig": "separate"}, 1, 5),
        ((40, 50, 3), {"photometric": "rgb", "compression": "zlib"}, 1, 3),
        ((4, 40, 50, 3), {"photometric": "rgb"}, 4, 3),
        ((40, 50), {"photometric": "miniswhite"}, 1, 1),
    ],
)
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_a_tiff_keeps_its_axes(
    tmp_path: Path, shape: tuple[int, ...], options: dict[str, Any], frames: int, channels: int, dtype: str
) -> None:
    pixels = noise(*shape, dtype=dtype)
    tifffile.imwrite(tmp_path / "in.tif", pixels, **options)
    found = trip(tmp_path / "in.tif")
    assert found.pixels.shape == (frames, 40, 50, channels)
    with tifffile.TiffFile(tmp_path / "in.tif") as before, tifffile.TiffFile(tmp_path / "out.tif") as after:
        assert after.series[0].axes == before.series[0].axes
        assert (after.is_imagej, after.is_ome) == (before.is_imagej, before.is_ome)
        assert after.pages[0].aspage().photometric == before.pages[0].aspage().photometric
        np.testing.assert_array_equal(after.series[0].asarray(), pixels)
        assert after.series[0].dtype == pixels.dtype


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_transparency_is_kept_aside(tmp_path: Path, channels: int, suffix: str) -> None:
    samples = noise(40, 50, channels + 1)
    Image.fromarray(samples).save(tmp_path / "in.png")
    found = trip(tmp_path / "in.png", tmp_path / f"out{suffix}")
    assert found.pixels.shape == (1, 40, 50, channels)
    back = files.read(tmp_path / f"out{suffix}")
    assert back.alpha is not None
    np.testing.assert_array_equal(np.dstack([back.pixels[0], back.alpha[0]]), samples)
    if suffix == ".png":
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out.png")), samples)


def test_a_transparent_colour_becomes_alpha(tmp_path: Path) -> None:
    image = Image.fromarray(noise(40, 50) // 128).convert("P")
    image.save(tmp_path / "in.png", transparency=0)
    found = trip(tmp_path / "in.png")
    assert found.alpha is not None
    np.testing.assert_array_equal(found.alpha[0] == 0, np.asarray(image) == 0)
    with Image.open(tmp_path / "out.png") as result:
        assert result.mode == "RGBA"


@pytest.mark.parametrize("shape", [(40, 50), (40, 50, 3), (6, 40, 50), (2, 40, 50, 3)])
def test_an_array_keeps_its_shape(tmp_path: Path, shape: tuple[int, ...]) -> None:
    pixels = noise(*shape, dtype="uint16")
    np.save(tmp_path / "in.npy", pixels)
    found = trip(tmp_path / "in.npy")
    assert found.pixels.shape[1:3] == (40, 50)
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), pixels)


def test_deep_gray_and_the_way_a_photo_is_turned_are_kept(tmp_path: Path) -> None:
    Image.fromarray(noise(40, 50, dtype="uint16")).save(tmp_path / "in.png")
    trip(tmp_path / "in.png")
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out.png")), noise(40, 50, dtype="uint16"))
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(noise(40, 50, 3)).save(tmp_path / "photo.jpg", exif=exif)
    for target in ("turned.jpg", "turned.tif"):
        trip(tmp_path / "photo.jpg", tmp_path / target)
        with Image.open(tmp_path / target) as result:
            assert result.getexif()[274] == 6


def png_of_16_bit_colours() -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    header = (2).to_bytes(4, "big") * 2 + bytes([16, 2, 0, 0, 0])
    rows = zlib.compress((b"\0" + bytes(12)) * 2)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_colours_of_16_bit_frames_and_inks_are_kept(tmp_path: Path) -> None:
    (tmp_path / "deep.png").write_bytes(png_of_16_bit_colours())
    assert trip(tmp_path / "deep.png").pixels.dtype == np.uint16
    assert (tmp_path / "out.png").read_bytes()[24:26] == b"\x10\x02"  # IHDR: 16 bit, RGB
    frames = [Image.fromarray(noise(9, 8) // (n + 1)) for n in range(2)]
    frames[0].save(tmp_path / "moving.png", save_all=True, append_images=frames[1:])
    before = trip(tmp_path / "moving.png").pixels
    assert before.shape == (2, 9, 8, 1)
    np.testing.assert_array_equal(files.read(tmp_path / "out.png").pixels, before)
    Image.new("CMYK", (8, 9)).save(tmp_path / "inks.jpg")
    assert trip(tmp_path / "inks.jpg").pixels.shape == (1, 9, 8, 4)
    with Image.open(tmp_path / "out.jpg") as result:
        assert result.mode == "CMYK"


def test_what_would_be_lost_is_refused_with_the_way_out_or_told(tmp_path: Path) -> None:
    def refused(name: str, words: str) -> None:
        with pytest.raises(ImageError, match=f"{name}.*{words}"):
            files.read(tmp_path / name)

    tifffile.imwrite(tmp_path / "lab.tif", noise(9, 8, 3), photometric="cielab")
    refused("lab.tif", "convert it to RGB")
    with tifffile.TiffWriter(tmp_path / "mixed.tif") as writer:
        writer.write(noise(32, 32))
        writer.write(noise(16, 16))
    refused("mixed.tif", "split it into files")
    (tmp_path / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")
    refused("torn.png", "valid header")
    with tifffile.TiffWriter(tmp_path / "pyramid.tif") as writer:
        writer.write(noise(32, 32), subifds=1)
        writer.write(noise(16, 16), subfiletype=1)
    denoised = CliRunner().invoke(app, ["denoise", str(tmp_path / "pyramid.tif"), str(tmp_path / "out.tif")])
    assert denoised.exit_code == 0 and "1 reduced copies" in denoised.output


@pytest.mark.parametrize(
    ("shape", "dtype", "target", "words"),
    [
        ((2, 9, 8, 1), "uint8", "out.jpg", "holds one image.*tif"),
        ((9, 8, 3), "uint16", "out.webp", "cannot hold uint16.*tif"),
        ((9, 8), "uint16", "out.jpg", "cannot hold uint16.*tif"),
        ((9, 8), "uint16", "out.gif", "cannot be written"),
        ((9, 8), "uint8", "out.xyz", r"names no image format.*\.png"),
    ],
)
def test_a_format_that_cannot_hold_the_result_is_not_written(
    tmp_path: Path, shape: tuple[int, ...], dtype: str, target: str, words: str
) -> None:
    np.save(tmp_path / "in.npy", noise(*shape, dtype=dtype))
    (tmp_path / target).write_bytes(b"what was there")
    with pytest.raises(UnsupportedFormat, match=f"{target}: .*{words}"):
        trip(tmp_path / "in.npy", tmp_path / target)
    assert (tmp_path / target).read_bytes() == b"what was there"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.npy", target]


def test_signed_and_wide_samples_come_back_in_their_type(tmp_path: Path) -> None:
    for dtype in ("int16", "uint32", "float64"):
        stored = (noise(9, 8, dtype="uint16").astype(np.float64) - 3000).astype(dtype)
        tifffile.imwrite(tmp_path / "in.tif", stored)
        trip(tmp_path / "in.tif")
        for path in (tmp_path / "in.tif", tmp_path / "out.tif"):
            assert files.page(path).dtype == dtype
            np.testing.assert_array_equal(files.page(path)[..., 0], stored)


def test_samples_that_measured_nothing_come_back_as_they_were(tmp_path: Path) -> None:
    """NaN, and the value that the file declares for no data, are no brightness for the model."""
    counts = np.random.default_rng(0).poisson(100, (48, 48))
    gaps = np.zeros((48, 48), bool)
    gaps[10:14, 20:25] = True
    tifffile.imwrite(tmp_path / "nan.tif", np.where(gaps, np.nan, counts).astype("float32"))
    no_data = [(42113, "s", 0, "7", True)]  # GDAL_NODATA
    tifffile.imwrite(tmp_path / "declared.tif", np.where(gaps, 7, counts).astype("uint16"), extratags=no_data)
    (tmp_path / "out").mkdir()
    result = CliRunner().invoke(app, ["denoise", str(tmp_path), str(tmp_path / "out"), "--device", "cpu"])
    assert result.exit_code == 0, result.output
    assert "20 samples are not finite" in result.output and "20 samples hold no data" in result.output
    for name in ("nan.tif", "declared.tif"):
        before, after = tifffile.imread(tmp_path / name), tifffile.imread(tmp_path / "out" / name)
        np.testing.assert_array_equal(after[gaps], before[gaps])
        assert after[~gaps].std() < 0.5 * before[~gaps].std()


def test_a_folder_s_images_are_told_by_name_or_content(tmp_path: Path) -> None:
    np.save(tmp_path / "array.npy", noise(9, 8))
    Image.fromarray(noise(9, 8)).save(tmp_path / "no_ending", format="PNG")
    Image.fromarray(noise(9, 8)).save(tmp_path / "moving.GIF")
    (tmp_path / "words.txt").write_text("no image")
    (tmp_path / ".hidden.png").write_bytes(b"")
    (tmp_path / "folder.png").mkdir()
    found = files.image_files(tmp_path)
    assert [path.name for path in found] == ["array.npy", "moving.GIF", "no_ending"]
    assert [files.name_of_result(path, files.read(path)) for path in found] == [
        "array.npy",
        "moving.png",
        "no_ending.png",
    ]
    Image.fromarray(noise(9, 8)).save(tmp_path / "photo.png", format="JPEG")
    assert files.name_of_result(tmp_path / "photo.png", files.read(tmp_path / "photo.png")) == "photo.png"


def test_a_stack_is_denoised_page_by_page_on_the_command_line(tmp_path: Path) -> None:
    x = np.arange(32) * np.ones((32, 1))
    stack = np.random.default_rng(0).poisson(100 + 40 * np.sin(x / 5 + np.arange(5)[:, None, None])).astype("uint16")
    tifffile.imwrite(tmp_path / "in.tif", stack, photometric="minisblack", imagej=True, metadata={"axes": "ZYX"})
    arguments = ["denoise", str(tmp_path / "in.tif"), str(tmp_path / "out.tif"), "--device", "cpu"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    expected = Denoiser.load("base-gray", "cpu").denoise(stack[..., None])[..., 0]
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "out.tif"), expected)
    with tifffile.TiffFile(tmp_path / "out.tif") as written:
        assert written.is_imagej
    assert "base-gray" in (files.read(tmp_path / "out.tif").denoised_before or "")
    estimated = CliRunner().invoke(app, ["estimate", str(tmp_path / "in.tif"), "--crops", "1"])
    assert estimated.exit_code == 0 and "in.tif: alpha" in estimated.output
