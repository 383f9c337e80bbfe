"""DICOM pixel data through pydicom: uncompressed, RLE, JPEG, JPEG-LS and JPEG 2000.

The data set goes out as it came in, uncompressed, as a derived image with an identifier of its own, as PS3.3 C.7.6.1
asks: a result under the original's identifier would overwrite the original in an archive.
"""

from __future__ import annotations

import io
import zlib
from typing import Any

import imagecodecs
import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.encaps import generate_frames
from pydicom.pixels.processing import convert_color_space
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from images import note as notes
from images.bit_field import BitField
from images.codecs import dicom_header as reading
from images.decoded import Decoded, Metadata
from images.errors import BrokenImage, UnsupportedFormat
from images.info import ImageInfo
from images.limits import Limits
from images.samples import NoData, flipped, flipped_range, to_working, without_data
from images.source import Source
from images.units import STORED

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
    """(N, H, W, 1 | 3) of the bits that samples have; rescale slope, window and overlays stay where they are."""
    raw = bytes(source.whole())
    dataset = pydicom.dcmread(io.BytesIO(raw), force=False)
    words = _pixels(dataset, info)
    inverse = dataset.get("PhotometricInterpretation", "") == "MONOCHROME1"
    no_data = reading.padding(dataset, words.dtype) if info.channels == 1 else None
    field = reading.field(dataset, info)
    stored, rest, remarks = _samples(dataset, words, field, no_data)
    bits = None if field.is_whole or remarks else field.bits
    units, unit_remarks = reading.units(dataset)
    if inverse:
        stored, no_data = flipped(stored, bits), flipped_range(no_data, stored.dtype, bits)
    pixels, exact, warnings = to_working(stored, no_data)
    del dataset.PixelData
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    limits.check_metadata(buffer.tell())
    native = {"dataset": buffer.getvalue(), "inverse": inverse, "bits": bits, "rest": rest}
    before = str(dataset.get(_DERIVATION, ""))
    return Decoded(
        pixels,
        None,
        info,
        Metadata(native=native),
        warnings + remarks + unit_remarks,
        denoised_before=notes.find(before),
        exact=exact,
        significant_bits=bits,
        no_data=no_data,
        units=STORED if inverse else units,
    )


def _samples(
    dataset: pydicom.Dataset, words: Array, field: BitField, no_data: NoData | None
) -> tuple[Array, bytes | None, tuple[str, ...]]:
    """(samples, what the other bits hold (deflated) if they hold anything, warnings) of the file's words."""
    if field.is_whole:
        return words, None, ()
    samples = field.samples(words)
    padding = without_data(words, no_data) if field.low == 0 else None  # its value may need more bits than the samples
    if padding is not None:
        samples = np.where(padding, words, samples)
    used = ~field.is_clean(words)
    if padding is not None:
        used &= ~padding
    if not used.any():
        return samples, None, ()
    if field.low == 0 and not reading.has_embedded_overlay(dataset, field) and field.continues(words):
        return (
            words,
            None,
            (f"Samples are larger than the {field.bits} bits that the file states; all bits were read.",),
        )
    return samples, zlib.compress(field.rest(words).tobytes(), 1), ()


def _pixels(dataset: pydicom.Dataset, info: ImageInfo) -> Array:
    syntax = dataset.file_meta.TransferSyntaxUID
    shape = (info.frames, info.height, info.width, info.channels)
    if syntax in _JPEG | _JPEG_LOSSLESS | _JPEG_LS | _JPEG_2000:
        return _compressed(dataset, syntax, shape, info)
    if syntax.is_compressed and syntax != "1.2.840.10008.1.2.5":
        raise UnsupportedFormat("This DICOM file is compressed in a way that is not read; save it uncompressed.")
    dataset.pixel_array_options(raw=True, correct_unused_bits=False)  # both are done here
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
    return stored


def _words(samples: Array, field: BitField, rest: bytes | None) -> Array:
    """Samples in their bits, with what the other bits held."""
    if field.is_whole or (field.low == 0 and rest is None):
        return samples
    word = np.dtype(f"u{samples.itemsize}")
    kept = None if rest is None else np.frombuffer(zlib.decompress(rest), word).reshape(samples.shape)
    return field.joined(np.ascontiguousarray(samples), kept)


def encode(stored: Array, metadata: Metadata, info: ImageInfo, note: str | None) -> bytes:
    """The input's data set with its pixels replaced, uncompressed."""
    native = metadata.native
    if info.format != "dicom" or "dataset" not in native:
        raise UnsupportedFormat("DICOM is written for a DICOM image only, with its metadata; choose tiff.")
    dataset = pydicom.dcmread(io.BytesIO(native["dataset"]))
    if native["inverse"]:
        stored = flipped(stored, native["bits"])
    whole = (dataset.Rows, dataset.Columns) == stored.shape[1:3]
    stored = _words(stored, reading.field(dataset, info), native["rest"] if whole else None)
    if not whole:
        reading.drop_embedded_overlays(dataset)
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
