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
