import io

import numpy as np
import pytest
import tifffile

from images.page_channels import page_channels


def described(array: np.ndarray, **options: object) -> tuple[str, int]:
    """What tifffile writes about a stack, and its number of pages."""
    file = io.BytesIO()
    tifffile.imwrite(file, array, **options)  # type: ignore[arg-type]
    with tifffile.TiffFile(io.BytesIO(file.getvalue())) as tiff:
        return str(tiff.pages[0].description), len(tiff.pages)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("axes", "shape", "expected"),
    [
        ("CYX", (2,), (0, 1)),
        ("TCYX", (3, 2), (0, 1, 0, 1, 0, 1)),
        ("CZYX", (2, 3), (0, 0, 0, 1, 1, 1)),
        ("TCZYX", (2, 2, 2), (0, 0, 1, 1, 0, 0, 1, 1)),
        ("ZYX", (4,), None),
        ("TYX", (4,), None),
    ],
)
def test_pages_of_ome(axes: str, shape: tuple[int, ...], expected: tuple[int, ...] | None) -> None:
    array = np.zeros((*shape, 8, 8), np.uint16)
    assert page_channels(*described(array, ome=True, photometric="minisblack", metadata={"axes": axes})) == expected


def test_samples_of_ome_are_no_pages() -> None:
    array = np.zeros((4, 8, 8, 3), np.uint8)
    assert page_channels(*described(array, ome=True, photometric="rgb", metadata={"axes": "TYXS"})) is None


def test_pages_of_imagej() -> None:
    array = np.zeros((3, 2, 2, 8, 8), np.uint16)
    text, pages = described(array, imagej=True, metadata={"axes": "TZCYX"})
    assert page_channels(text, pages) == (0, 1) * 6
    assert page_channels(*described(np.zeros((4, 8, 8), np.uint16), imagej=True, metadata={"axes": "ZYX"})) is None


def test_descriptions_that_do_not_fit_are_not_believed() -> None:
    text, pages = described(
        np.zeros((2, 8, 8), np.uint16), ome=True, photometric="minisblack", metadata={"axes": "CYX"}
    )
    assert page_channels(text, pages + 1) is None
    for odd in ("", "taken on a Tuesday", "ImageJ=1.54\nchannels=0", "ImageJ=1.54\nchannels=99999999999", "<Pixels>",
                '<Pixels SizeC="²">', '<Pixels SizeC="99999999999999999999">', '<Pixels SizeC="XYCZT">',
                '<Pixels SizeC="x" DimensionOrder="CCCC">', '<Pixels SizeC="2" DimensionOrder="XYCC">'):  # fmt: skip
        assert page_channels(odd, 4) is None


def ome(*images: tuple[str, str, tuple[str, ...], str], uuid: str = "") -> str:
    """OME-XML of Images (order, sizes, channels' names, TiffData elements)."""
    body = ""
    for order, sizes, names, data in images:
        c, z, t = sizes.split(",")
        channels = "".join(f'<Channel ID="Channel:{n}" Name="{name}"/>' for n, name in enumerate(names))
        sizes_and_order = f'SizeT=\'{t}\' SizeZ="{z}" SizeC="{c}" DimensionOrder="{order}"'
        body += f"<ome:Image><ome:Pixels {sizes_and_order}>{channels}{data}</ome:Pixels></ome:Image>"
    head = '<?xml version="1.0" encoding="UTF-8"?><!-- <Pixels SizeC="7"/> -->'
    space = "http://www.openmicroscopy.org/Schemas/OME/2016-06"
    return f'{head}<ome:OME xmlns:ome="{space}" {uuid}>{body}</ome:OME>'


def block(ifd: int | None = None, c: int = 0, z: int = 0, count: int | None = None, inside: str = "") -> str:
    said = {"IFD": ifd, "FirstC": c, "FirstZ": z, "PlaneCount": count}
    attributes = [f'{key}="{value}"' for key, value in said.items() if value is not None]
    return f"<TiffData {' '.join(attributes)}>{inside}</TiffData>"


GFP = ("DAPI", "GFP")
OTHER_FILE = '<UUID FileName="b.ome.tif">urn:uuid:b</UUID>'
OWN_FILE = '<UUID FileName="a.ome.tif">urn:uuid:a</UUID>'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (ome(("XYCZT", "2,3,1", GFP, block())), (0, 1, 0, 1, 0, 1)),
        (ome(("XYZCT", "2,3,1", GFP, block())), (0, 0, 0, 1, 1, 1)),
        (ome(("XYCZT", "2,3,1", GFP, "".join(block(i, c, z) for i, (c, z) in enumerate(
            [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)])))), (0, 0, 0, 1, 1, 1)),
        (ome(("XYCZT", "2,3,1", GFP, block(3, 0, 0, 3) + block(0, 1, 1, 3))), (1, 0, 1, 0, 1, 0)),
        (ome(("XYZCT", "2,3,1", GFP, block(0, 1, 0, 3) + block(3, 0, 0, 3))), (1, 1, 1, 0, 0, 0)),
        # positions: the same channels again; then Images of their own
        (ome(("XYCZT", "2,1,1", GFP, block(0, 0, 0, 2)), ("XYCZT", "2,2,1", GFP, block(2, 0, 0, 4))), (0, 1) * 3),
        (ome(("XYCZT", "2,2,1", GFP, block(0, 0, 0, 4)), ("XYCZT", "1,2,1", ("label",), block(4, 0, 0, 2))),
         (0, 1, 0, 1, 2, 2)),
        (ome(("XYCZT", "1,4,1", ("a",), block(0, 0, 0, 4)), ("XYCZT", "1,2,1", ("b",), block(4, 0, 0, 2))),
         (0, 0, 0, 0, 1, 1)),
        (ome(("XYCZT", "1,3,1", ("a",), block()), ("XYCZT", "1,3,1", ("b",), block())), (0, 0, 0, 1, 1, 1)),
        # this file holds the second half of a recording
        (ome(("XYZCT", "2,6,1", GFP, block(0, 0, 0, 6, OTHER_FILE) + block(0, 1, 0, 6, OWN_FILE)),
             uuid='UUID="urn:uuid:a"'), None),
        (ome(("XYCZT", "2,6,1", GFP, block(0, 0, 0, 6, OTHER_FILE) + block(0, 1, 2, 6, OWN_FILE)),
             uuid='UUID="urn:uuid:a"'), (1, 0, 1, 0, 1, 0)),
        (ome(("XYZCT", "2,6,1", GFP, block(0, 0, 0, 6, OTHER_FILE) + block(0, 1, 2, 6, OWN_FILE))), None),
        # pages that no block claims are a channel of their own, if blocks there are
        (ome(("XYCZT", "2,2,1", GFP, block(0, 0) + block(1, 1) + block(2, 0, 1) + block(3, 1, 1))), (0, 1, 0, 1, 2, 2)),
    ],
)  # fmt: skip
def test_tiff_data_says_where_each_plane_lies(text: str, expected: tuple[int, ...] | None) -> None:
    assert page_channels(text, 6) == expected


def test_samples_of_a_channel_are_no_pages() -> None:
    text = ome(("XYCZT", "6,3,1", GFP, block())).replace('Name="DAPI"', 'Name="DAPI" SamplesPerPixel="3"')
    assert page_channels(text, 6) == (0, 1, 0, 1, 0, 1)


def test_directories_that_are_no_pages_count() -> None:
    text = ome(("XYZCT", "2,3,1", GFP, block(0, 0, 0, 3) + block(4, 1, 0, 3)))
    assert page_channels(text, 6, places=(0, 1, 2, 4, 5, 6)) == (0, 0, 0, 1, 1, 1)


def test_ome_xml_that_is_built_to_do_harm_is_not_believed() -> None:
    many = ome(("XYCZT", "2,9999999,1", GFP, block(0, 0, 0, 9_999_999) * 5000))
    for text in (many, "<!DOCTYPE a [<!ENTITY b 'c'>]><OME><Image><Pixels SizeC='2'/></Image></OME>",
                 ome(("XYCZT", "2,3,1", GFP, block(-1))), ome(("XYCZT", "0,3,1", GFP, block()))):  # fmt: skip
        assert page_channels(text, 6_000) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ImageJ=1.53\nimages=6\nchannels=2\nslices=3\n", (0, 1, 0, 1, 0, 1)),
        ("ImageJ=1.53\nimages=6\nchannels=2\nslices=3\norder=zct\n", (0, 0, 0, 1, 1, 1)),
        ('{"shape": [2, 3, 8, 8], "axes": "CZYX"}', (0, 0, 0, 1, 1, 1)),
        ('{"shape": [3, 2, 8, 8], "axes": "ZCYX"}', (0, 1, 0, 1, 0, 1)),
        ('{"shape": [6, 8, 8, 2], "axes": "ZYXC"}', None),
        ('{"shape": [6, 8, 8]}', None),
        ("scanimage.SI.hChannels.channelSave = [1;2]", (0, 1, 0, 1, 0, 1)),
        ("scanimage.SI4.channelsSave = [1;3]\n", (0, 1, 0, 1, 0, 1)),
        ("SI.hChannels.channelSave = 2\n", None),
        ("state.acq.numberOfChannelsSave=2\r", (0, 1, 0, 1, 0, 1)),
    ],
)
def test_pages_as_other_programs_order_them(text: str, expected: tuple[int, ...] | None) -> None:
    assert page_channels(text, 6) == expected
