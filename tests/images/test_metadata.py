"""What a file says beside its pixels survives the trip, in every format and between formats."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms
from PIL.TiffImagePlugin import IFDRational

from images import exif as exif_block
from images import note as notes
from images.crop import crop
from images.decode import decode_here
from images.decoded import Keep
from images.encode import encode
from tests.harness import files

ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="4"/></rdf:RDF></x:xmpmeta>'
)
NOTE = notes.compose("base-rgb")


def sample(kind: str, **options: object) -> bytes:
    """An image of `kind` with EXIF (rotated), profile, XMP and resolution, by Pillow."""
    if kind in ("JPEG", "PNG", "WEBP"):
        options |= {"exif": b"Exif\0\0" + files.exif(), "icc_profile": ICC}
    if kind in ("JPEG", "WEBP"):
        options["xmp"] = XMP
    if kind in ("JPEG", "PNG"):
        options["dpi"] = (300, 300)
    return files.pillow(files.smooth(), kind, **options)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_everything_is_kept_in_the_same_format(kind: str) -> None:
    decoded = decode_here(sample(kind))
    assert exif_block.orientation(decoded.metadata.exif) == 6
    result = Image.open(io.BytesIO(encode(decoded, decoded.pixels, note=NOTE).data))
    assert result.size == (64, 48)  # stored as it was; the tag turns it in a viewer
    assert result.getexif()[274] == 6
    assert result.info["exif"].removeprefix(b"Exif\0\0") == files.exif()
    assert result.info["icc_profile"] == ICC
    if kind != "WEBP":
        assert result.info["dpi"] == pytest.approx((300, 300), abs=0.1)
    if kind != "PNG":
        assert b'xmp:Rating="4"' in result.info["xmp"]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("target", ["jpeg", "png", "webp", "tiff", "avif"])
def test_look_is_kept_between_formats(kind: str, target: str) -> None:
    decoded = decode_here(sample(kind))
    result = Image.open(io.BytesIO(encode(decoded, decoded.pixels, target).data))
    assert result.getexif()[274] == 6
    assert result.info["icc_profile"] == ICC
    if target == "tiff":  # Pillow turns a TIFF as it loads it
        result = Image.fromarray(tifffile.imread(io.BytesIO(encode(decoded, decoded.pixels, target).data)))
    error = np.asarray(result.convert("RGB")).astype(int) - decoded.pixels[0]
    assert np.abs(error).mean() < 2


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_safe_drops_places_and_none_keeps_the_look_alone(kind: str) -> None:
    decoded = decode_here(sample(kind))
    safe = Image.open(io.BytesIO(encode(decoded, decoded.pixels, metadata="safe").data))
    assert not safe.getexif().get_ifd(0x8825)
    assert (safe.getexif()[0x010F], safe.getexif()[274]) == ("Maker", 6)
    assert (48).to_bytes(4, "little") + (1).to_bytes(4, "little") not in safe.info["exif"]  # the latitude's degrees
    bare = Image.open(io.BytesIO(encode(decoded, decoded.pixels, metadata="none").data))
    assert dict(bare.getexif()) == {274: 6}
    assert bare.info["icc_profile"] == ICC
    assert "xmp" not in bare.info


def test_the_embedded_preview_of_the_noisy_image_goes() -> None:
    data = files.pillow(files.smooth(), "JPEG", exif=b"Exif\0\0" + files.exif(thumbnail=True))
    decoded = decode_here(data)
    result = Image.open(io.BytesIO(encode(decoded, decoded.pixels).data))
    assert not result.getexif().get_ifd(1)
    assert result.getexif()[274] == 6


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("target", ["jpeg", "png", "webp", "tiff"])
def test_orientation_is_the_same_in_every_viewer(orientation: int, target: str) -> None:
    from PIL import ImageOps

    data = files.pillow(files.smooth(), "JPEG", quality=95, exif=b"Exif\0\0" + files.exif(orientation, gps=False))
    decoded = decode_here(data)
    result = Image.open(io.BytesIO(encode(decoded, decoded.pixels, target).data))
    shown, wanted = (ImageOps.exif_transpose(image) for image in (result, Image.open(io.BytesIO(data))))
    assert shown.size == wanted.size
    assert np.abs(np.asarray(shown).astype(int) - np.asarray(wanted)).mean() < 2


def test_png_chunks_are_kept_byte_for_byte() -> None:
    chunks = [
        (b"gAMA", (45455).to_bytes(4, "big")),
        (b"pHYs", (2835).to_bytes(4, "big") * 2 + b"\1"),
        (b"tEXt", b"Author\0Somebody"),
        (b"zTXt", b"Long\0\0not even valid"),
        (b"prVt", b"private"),
    ]
    decoded = decode_here(files.png(files.noise((9, 8, 3)), *chunks))
    data = encode(decoded, decoded.pixels).data
    for kind, body in chunks:
        assert files.chunk(kind, body) in data


@pytest.mark.parametrize("order", "<>")
def test_tiff_tags_are_kept_page_by_page(order: str) -> None:
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer, byteorder=order) as writer:
        for index in range(3):
            writer.write(
                files.noise((9, 8), "uint16"), metadata=None, description=f"page {index}", software="Scope 9",
                resolution=(1234.5, 987), resolutionunit="CENTIMETER", datetime="2026:11:22 10:11:12",
                extratags=[(65000, 5, 2, (1, 3, 2, 7), False), (65001, 12, 1, 2.5 + index, False),
                           (34675, 7, 4, b"icc!", False)],
            )  # fmt: skip
    decoded = decode_here(buffer.getvalue())
    assert decoded.metadata.dpi == pytest.approx((1234.5 * 2.54, 987 * 2.54))
    with tifffile.TiffFile(io.BytesIO(encode(decoded, decoded.pixels, note=NOTE).data)) as result:
        for index, page in enumerate(result.pages):
            tags = page.aspage().tags
            assert (tags[270].value, tags[306].value) == (f"page {index}", "2026:11:22 10:11:12")
            assert (tags[65000].value, tags[65001].value, tags[34675].value) == ((1, 3, 2, 7), 2.5 + index, b"icc!")
            assert tags[282].value[0] / tags[282].value[1] == pytest.approx(1234.5)
            assert tags[305].value == f"Scope 9; {NOTE}"


def test_ome_axes_and_units_survive() -> None:
    stack = files.noise((2, 3, 9, 8), "uint16")
    data = files.tiff(
        stack, ome=True, photometric="minisblack",
        metadata={"axes": "TCYX", "PhysicalSizeX": 0.13, "Channel": {"Name": ["DAPI", "GFP", "RFP"]}},
    )  # fmt: skip
    decoded = decode_here(data)
    assert decoded.pixels.shape == (6, 9, 8, 1)
    with tifffile.TiffFile(io.BytesIO(encode(decoded, decoded.pixels, note=NOTE).data)) as result:
        assert result.is_ome
        assert result.series[0].axes == "TCYX"
        np.testing.assert_array_equal(result.series[0].asarray(), stack)
        with tifffile.TiffFile(io.BytesIO(data)) as source:
            assert result.ome_metadata == source.ome_metadata


def test_imagej_hyperstacks_survive() -> None:
    stack = files.noise((2, 3, 4, 9, 8), "uint16")
    labels = [f"slice {n}" for n in range(24)]
    data = files.tiff(
        stack, imagej=True, resolution=(7.7, 7.7),
        metadata={"axes": "TZCYX", "unit": "um", "spacing": 0.3, "finterval": 2.0, "Labels": labels},
    )  # fmt: skip
    decoded = decode_here(data)
    with tifffile.TiffFile(io.BytesIO(encode(decoded, decoded.pixels, note=NOTE).data)) as result:
        assert result.is_imagej
        assert result.series[0].axes == "TZCYX"
        np.testing.assert_array_equal(result.series[0].asarray(), stack)
        found = result.imagej_metadata
        assert found is not None
        assert (found["unit"], found["spacing"], found["finterval"], found["Labels"]) == ("um", 0.3, 2.0, labels)


def test_exif_of_a_photo_survives_as_tiff_and_its_gps_goes_when_asked() -> None:
    exif = Image.Exif()
    exif[0x8769] = {0x829A: IFDRational(1, 250)}
    exif[0x8825] = {1: "N"}
    exif[274] = 8
    photo = decode_here(files.pillow(files.smooth(), "JPEG", exif=exif))
    decoded = decode_here(encode(photo, photo.pixels, "tiff").data)
    places: list[tuple[Keep, dict[str, str] | None]] = [("keep", {"GPSLatitudeRef": "N"}), ("safe", None)]
    for mode, place in places:
        with tifffile.TiffFile(io.BytesIO(encode(decoded, decoded.pixels, metadata=mode).data)) as result:
            tags = result.pages[0].aspage().tags
            assert (tags[274].value, tags[34665].value) == (8, {"ExposureTime": (1, 250)})
            assert tags.valueof(34853) == place


WITH_NOTE = {
    "png": files.png(files.noise((9, 8, 3), "uint16")),
    "jpeg": files.pillow(files.smooth(), "JPEG"),
    "webp": files.pillow(files.smooth(), "WEBP", lossless=True),
    "avif": files.pillow(files.smooth(), "AVIF"),
    "gif": files.pillow(files.smooth(), "GIF"),
    "tiff": files.tiff(files.noise((9, 8), "float32")),
    "fits": files.fits(files.noise((9, 8), "float32")),
    "dicom": files.dicom(files.noise((9, 8), "int16")),
    "dng": files.dng(files.noise((64, 96), "uint16")),
}


@pytest.mark.parametrize("kind", WITH_NOTE)
def test_nobody_denoises_twice_unknowingly(kind: str) -> None:
    first = decode_here(WITH_NOTE[kind])
    assert first.denoised_before is None
    again = decode_here(encode(first, first.pixels, note=NOTE).data)
    assert again.denoised_before == NOTE
    assert NOTE in again.warnings[-1]


def test_note_joins_an_xmp_packet_without_breaking_it() -> None:
    import xml.etree.ElementTree as ElementTree

    joined = notes.into_xmp(XMP, 'denoised by the Blind2Sound service, model "a<b>&c"')
    assert ElementTree.fromstring(joined.decode()).find(".//{*}Description") is not None
    assert b'xmp:Rating="4"' in joined
    ElementTree.fromstring(notes.into_xmp(b"", NOTE).decode())


@pytest.mark.parametrize(
    "damage", [b"", b"II*\0", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\xff\xff", b"JUNKJUNKJUNK"]
)
def test_damaged_exif_is_left_alone(damage: bytes) -> None:
    assert exif_block.orientation(damage) == 1
    for edit in (exif_block.without_gps, exif_block.without_thumbnail, exif_block.upright):
        assert edit(damage) == damage


def fits_units(*kinds: str) -> bytes:
    """A FITS file of these units: `empty` primary, `image`s, a `table` with a heap."""
    parts = []
    for kind in kinds:
        data, shape = b"", ["NAXIS   =                    0"]
        if kind == "image":
            data = files.noise((9, 8), "int16").astype(">i2").tobytes()
            shape = [
                "NAXIS   =                    2",
                "NAXIS1  =                    8",
                "NAXIS2  =                    9",
            ]
        elif kind == "table":  # 2,800 bytes of rows and 200 of heap: two blocks
            data = bytes(3000)
            shape = [
                "NAXIS   =                    2",
                "NAXIS1  =                  100",
                "NAXIS2  =                   28",
            ]
            shape += ["PCOUNT  =                  200"]
        start = "SIMPLE  =                    T" if not parts else "XTENSION= 'IMAGE   '"
        start = "XTENSION= 'BINTABLE'" if kind == "table" else start
        cards = [start, f"BITPIX  = {8 if kind == 'table' else 16:>20}", *shape, "END"]
        parts.append("".join(card.ljust(80) for card in cards).ljust(2880).encode() + data + bytes(-len(data) % 2880))
    return b"".join(parts)


def test_fits_says_which_images_were_left() -> None:
    data = fits_units("empty", "table", "image", "image", "table", "image")
    decoded = decode_here(data)
    assert decoded.info.bits == 16
    assert decoded.warnings == ("Only the file's first image was denoised; 2 more came back as they were.",)
    assert encode(decoded, decoded.pixels).data == data
    assert not decode_here(fits_units("image", "table")).warnings
    assert decode_here(data[: -2880 * 2] + b"XTENSION= rubbish".ljust(5760)).warnings[0].endswith("as they were.")


def test_fits_checksums_of_the_noisy_data_go() -> None:
    cards = ["DATASUM = '1234567890'", "CHECKSUM= 'abcdefghijklmnop'", "BUNIT   = 'ADU     '"]
    decoded = decode_here(files.fits(files.noise((9, 8), "int16"), *cards))
    head = encode(decoded, decoded.pixels, note=NOTE).data[:2880]
    assert b"CHECKSUM" not in head and b"DATASUM" not in head
    assert b"BUNIT   = 'ADU" in head and NOTE.encode() in head


def test_a_pyramid_says_that_its_copies_are_left_out() -> None:
    pixels, buffer = files.noise((64, 64), "uint16"), io.BytesIO()
    with tifffile.TiffWriter(buffer, ome=True) as writer:
        writer.write(pixels, subifds=2, metadata={"axes": "YX"})
        writer.write(pixels[::2, ::2], subfiletype=1)
        writer.write(pixels[::4, ::4], subfiletype=1)
    decoded = decode_here(buffer.getvalue())
    assert decoded.warnings == ("2 reduced copies or masks inside the file were left out of the result.",)
    with tifffile.TiffFile(io.BytesIO(encode(decoded, decoded.pixels).data)) as result:
        assert len(result.series[0].levels) == 1


@pytest.mark.parametrize(
    "options",
    [
        {"ome": True, "metadata": {"axes": "TCYX", "PhysicalSizeX": 0.13, "PhysicalSizeY": 0.14}},
        {"imagej": True, "metadata": {"axes": "TCYX"}},
        {"metadata": {"axes": "TCYX"}},
        {"metadata": None},
    ],
    ids=["ome", "imagej", "tifffile", "plain"],
)
def test_a_crop_of_a_stack_tells_its_own_size(options: dict[str, Any]) -> None:
    stack = files.noise((2, 3, 40, 50), "uint16")
    data = files.tiff(stack if options["metadata"] else stack[0], photometric="minisblack", **options)
    decoded = crop(decode_here(data), 10, 20, 32, 16)
    with tifffile.TiffFile(io.BytesIO(encode(decoded, decoded.pixels).data)) as result:
        expected = (stack if options["metadata"] else stack[0])[..., 20:36, 10:42]
        assert result.series[0].axes == ("TCYX" if options["metadata"] else "IYX")
        np.testing.assert_array_equal(result.series[0].asarray(), expected)
        if result.is_ome:
            assert 'PhysicalSizeX="0.13"' in (result.ome_metadata or "")


def test_the_note_of_earlier_versions_is_known_too() -> None:
    assert notes.find("Scope 9; denoised by Blind2Sound, model base-rgb") == "denoised by Blind2Sound, model base-rgb"
    assert notes.find(f"Scope 9; {NOTE}") == NOTE == "denoised by the Blind2Sound service, model base-rgb"


@pytest.mark.parametrize(("field", "value"), [(282, "00000000" * 2), (283, "4800000000000000"), (296, "ffff")])
def test_a_resolution_that_is_none_does_not_keep_a_tiff_from_being_written(field: int, value: str) -> None:
    data = bytearray(files.tiff(files.noise((20, 30)), resolution=(72, 72), metadata=None))
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        place = file.pages[0].aspage().tags[field].valueoffset
    data[place : place + len(value) // 2] = bytes.fromhex(value)
    decoded = decode_here(bytes(data))
    assert np.array_equal(decode_here(encode(decoded, decoded.pixels).data).pixels, decoded.pixels)
