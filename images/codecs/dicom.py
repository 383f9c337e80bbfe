"""DICOM pixel data through pydicom: uncompressed, RLE, JPEG, JPEG-LS and JPEG 2000.

The data set goes out as it came in, uncompressed, as a derived image with an identifier of its own, as PS3.3 C.7.6.1
asks: a result under the original's identifier would overwrite the original in an archive.
"""

from __future__ import annotations

import io
from typing import Any

import imagecodecs
import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.encaps import generate_frames
from pydicom.pixels.processing import convert_color_space
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from images import note as notes
from images.decoded import Decoded, Metadata
from images.errors import BrokenImage, UnsupportedFormat
from images.info import ImageInfo
from images.limits import Limits
from images.samples import NoData, declared, flipped, flipped_range, to_working
from images.source import Source

Array = NDArray[Any]
_DERIVATION = "DerivationDescription"
_PERSONAL = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientAddress", "PatientTelephoneNumbers", "OtherPatientIDs",
    "ReferringPhysicianName", "InstitutionName", "InstitutionAddress", "OperatorsName", "PerformingPhysicianName",
)  # fmt: skip
_JPEG = {"1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"}
_JPEG_LOSSLESS = {"1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70"}
_JPEG_LS = {"1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81"}
_JPEG_2000 = {"1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"}


def decode(source: Source, info: ImageInfo, limits: Limits) -> Decoded:
    """(N, H, W, 1 | 3) as stored; rescale slope, window and overlays stay in the header."""
    raw = bytes(source.whole())
    dataset = pydicom.dcmread(io.BytesIO(raw), force=False)
    stored = _pixels(dataset, info)
    inverse = dataset.get("PhotometricInterpretation", "") == "MONOCHROME1"
    bits = _significant_bits(info)
    no_data = _padding(dataset, stored.dtype) if info.channels == 1 else None
    if inverse:
        stored, no_data = flipped(stored, bits), flipped_range(no_data, stored.dtype, bits)
    pixels, exact, warnings = to_working(stored, no_data)
    del dataset.PixelData
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    limits.check_metadata(buffer.tell())
    native = {"dataset": buffer.getvalue(), "inverse": inverse}
    before = str(dataset.get(_DERIVATION, ""))
    return Decoded(
        pixels,
        None,
        info,
        Metadata(native=native),
        warnings,
        denoised_before=notes.find(before),
        exact=exact,
        significant_bits=bits,
        no_data=no_data,
    )


def _significant_bits(info: ImageInfo) -> int | None:
    """BitsStored where that is fewer than BitsAllocated."""
    return info.bits if 0 < info.bits < 8 * np.dtype(info.dtype).itemsize else None


def _padding(dataset: pydicom.Dataset, dtype: np.dtype[Any]) -> NoData | None:
    """The values around the image that mean nothing (PS3.3 C.7.5.1.1.2): one, or a range."""
    value = dataset.get("PixelPaddingValue")
    limit = dataset.get("PixelPaddingRangeLimit", value)
    if not isinstance(value, int) or not isinstance(limit, int):
        return None
    return declared(dtype, _as_stored(value, dtype), _as_stored(limit, dtype))


def _as_stored(value: int, dtype: np.dtype[Any]) -> int:
    """`value` with its sign: some writers give that of signed pixels as unsigned (63536 for -2000)."""
    return value - (1 << 16) if dtype == np.int16 and value > np.iinfo(np.int16).max else value


def _pixels(dataset: pydicom.Dataset, info: ImageInfo) -> Array:
    syntax = dataset.file_meta.TransferSyntaxUID
    shape = (info.frames, info.height, info.width, info.channels)
    if syntax in _JPEG | _JPEG_LOSSLESS | _JPEG_LS | _JPEG_2000:
        return _compressed(dataset, syntax, shape, info)
    if syntax.is_compressed and syntax != "1.2.840.10008.1.2.5":
        raise UnsupportedFormat("This DICOM file is compressed in a way that is not read; save it uncompressed.")
    stored: Array = np.asarray(dataset.pixel_array)
    if stored.size != int(np.prod(shape, dtype=np.int64)):
        raise BrokenImage("The DICOM file's image data does not fit its header.")
    stored = stored.reshape(shape).astype(info.dtype, copy=False)
    interpretation = str(dataset.get("PhotometricInterpretation", ""))
    return convert_color_space(stored, interpretation, "RGB") if interpretation.startswith("YBR") else stored


def _compressed(dataset: pydicom.Dataset, syntax: str, shape: tuple[int, ...], info: ImageInfo) -> Array:
    decoder: Any = imagecodecs.jpeg8_decode
    if syntax in _JPEG_LOSSLESS:
        decoder = imagecodecs.jpegsof3_decode
    elif syntax in _JPEG_LS:
        decoder = imagecodecs.jpegls_decode
    elif syntax in _JPEG_2000:
        decoder = imagecodecs.jpeg2k_decode
    options = {}
    if syntax in _JPEG and dataset.get("PhotometricInterpretation", "") == "RGB":
        options = {"colorspace": "RGB", "outcolorspace": "RGB"}  # stored without the usual transform to YCbCr
    stored = np.empty(shape, info.dtype)
    frames = generate_frames(dataset.PixelData, number_of_frames=info.frames)
    for index, frame in zip(range(info.frames), frames, strict=True):
        stored[index] = np.asarray(decoder(frame, **options)).reshape(shape[1:]).astype(info.dtype, copy=False)
    spare = 8 * stored.itemsize - info.bits
    return stored << spare >> spare if stored.dtype.kind == "i" and spare > 0 else stored  # extend the sign


def encode(stored: Array, metadata: Metadata, info: ImageInfo, note: str | None) -> bytes:
    """The input's data set with its pixels replaced, uncompressed."""
    native = metadata.native
    if info.format != "dicom" or "dataset" not in native:
        raise UnsupportedFormat("DICOM is written for a DICOM image only, with its metadata; choose tiff.")
    dataset = pydicom.dcmread(io.BytesIO(native["dataset"]))
    if native["inverse"]:
        stored = flipped(stored, _significant_bits(info))
    if native.get("safe"):
        for name in _PERSONAL:
            if name in dataset:
                setattr(dataset, name, "")
    _, dataset.Rows, dataset.Columns, samples = stored.shape
    if samples == 3:
        dataset.PhotometricInterpretation, dataset.PlanarConfiguration = "RGB", 0
    data = stored.astype(stored.dtype.newbyteorder("<"), copy=False).tobytes()
    dataset.PixelData = data + bytes(len(data) & 1)
    dataset["PixelData"].VR = "OB" if stored.itemsize == 1 else "OW"
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    kind = list(dataset.get("ImageType", ["ORIGINAL", "PRIMARY"]))
    dataset.ImageType = ["DERIVED", *kind[1:]]
    if note:
        earlier = str(dataset.get(_DERIVATION, ""))
        dataset.DerivationDescription = f"{earlier}; {note}" if earlier else note
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True, implicit_vr=False, little_endian=True)
    return buffer.getvalue()
