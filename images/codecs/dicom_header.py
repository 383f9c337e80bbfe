"""What a DICOM data set says about its samples: their bits, their padding, and the units of their values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pydicom

from images.bit_field import BitField
from images.info import ImageInfo
from images.samples import NoData, declared
from images.units import STORED, Units

_OVERLAYS = range(0x6000, 0x6020, 2)  # groups
_BIT_POSITION, _DATA = 0x0102, 0x3000
_UNSPECIFIED = ("US", "UNSPECIFIED", "NONE")


def field(dataset: pydicom.Dataset, info: ImageInfo) -> BitField:
    """BitsStored bits that end with HighBit; all of BitsAllocated where the file says what cannot be."""
    dtype = np.dtype(info.dtype)
    allocated, bits = 8 * dtype.itemsize, info.bits
    if not 0 < bits < allocated or int(dataset.get("SamplesPerPixel", 1)) != 1:
        return BitField(0, allocated, dtype)
    high = dataset.get("HighBit")
    low = high + 1 - bits if isinstance(high, int) else 0
    return BitField(low if 0 <= low <= allocated - bits else 0, bits, dtype)


def padding(dataset: pydicom.Dataset, dtype: np.dtype[Any]) -> NoData | None:
    """The values around the image that mean nothing (PS3.3 C.7.5.1.1.2): one, or a range."""
    value = dataset.get("PixelPaddingValue")
    limit = dataset.get("PixelPaddingRangeLimit", value)
    if not isinstance(value, int) or not isinstance(limit, int):
        return None
    return declared(dtype, _as_stored(value, dtype), _as_stored(limit, dtype))


def _as_stored(value: int, dtype: np.dtype[Any]) -> int:
    """`value` with its sign: some writers give that of signed pixels as unsigned (63536 for -2000)."""
    return value - (1 << 16) if dtype == np.int16 and value > np.iinfo(np.int16).max else value


def _embedded(dataset: pydicom.Dataset) -> Iterator[tuple[int, int]]:
    """(group, bit) of every overlay that lies in the words of the pixels."""
    for group in _OVERLAYS:
        element = dataset.get((group, _BIT_POSITION))
        if element is not None and (group, _DATA) not in dataset and isinstance(element.value, int):
            yield group, element.value


def has_embedded_overlay(dataset: pydicom.Dataset, samples: BitField) -> bool:
    """Whether the header places an overlay in bits that the samples do not take."""
    return any(not samples.low <= bit < samples.low + samples.bits for _, bit in _embedded(dataset))


def drop_embedded_overlays(dataset: pydicom.Dataset) -> None:
    """Remove what describes overlays in the words of the pixels, for a crop whose words hold none."""
    for group, _ in list(_embedded(dataset)):
        for tag in [tag for tag in dataset.keys() if tag.group == group]:  # noqa: SIM118 - iterating reads elements
            del dataset[tag]


def units(dataset: pydicom.Dataset) -> tuple[Units, tuple[str, ...]]:
    """(rescale slope, intercept and type (PS3.3 C.11.1.1.2), warnings), of the image or of all its frames alike."""
    if "ModalityLUTSequence" in dataset:
        return STORED, ("The file has a modality look-up table: the report's native numbers are of stored samples.",)
    found = {_rescaled(item, dataset) for item in _transformations(dataset)} or {STORED}
    if len(found) > 1:
        return STORED, ("Frames have rescale slopes of their own: the report's native numbers are of stored samples.",)
    return found.pop(), ()


def _transformations(dataset: pydicom.Dataset) -> Iterator[pydicom.Dataset]:
    """The data sets that hold rescale slopes: itself, or the functional groups of an enhanced multi-frame image."""
    if "RescaleSlope" in dataset:
        yield dataset
        return
    shared = dataset.get("SharedFunctionalGroupsSequence") or []
    for groups in [*shared, *(dataset.get("PerFrameFunctionalGroupsSequence") or [])]:
        yield from groups.get("PixelValueTransformationSequence") or []


def _rescaled(item: pydicom.Dataset, dataset: pydicom.Dataset) -> Units:
    name = str(item.get("RescaleType") or dataset.get("Units") or "").strip()
    if not name and dataset.get("Modality") == "CT":
        name = "HU"  # what CT images are in where they do not say (PS3.3 C.8.2.1.1.2)
    try:
        slope, intercept = float(item.get("RescaleSlope", 1)), float(item.get("RescaleIntercept", 0))
    except (TypeError, ValueError):
        return STORED
    return Units.of(slope, intercept, "" if name in _UNSPECIFIED else name)
