"""Image files made in memory by writers other than ours, to be read by ours, and the other way round."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

Array = NDArray[Any]
FITS_BITPIX = {"uint8": 8, "int16": 16, "int32": 32, "int64": 64, "float32": -32, "float64": -64}


def noise(shape: tuple[int, ...], dtype: str = "uint8", seed: int = 0) -> Array:
    """Random samples over the whole range of an integer type, around zero for floats."""
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return rng.normal(0, 100, shape).astype(dtype)
    bounds = np.iinfo(dtype)
    return rng.integers(bounds.min, bounds.max, shape, dtype, endpoint=True)


def smooth(height: int = 48, width: int = 64, channels: int = 3) -> Array:
    """A picture that lossy codecs keep well."""
    y, x = np.mgrid[0:height, 0:width]
    planes = [128 + 100 * np.sin(x / (7 + c) + y / (11 - c)) for c in range(channels)]
    return np.stack(planes, axis=2).astype(np.uint8)


def pillow(pixels: Array, kind: str, **options: Any) -> bytes:
    """A file by Pillow of (H, W) or (H, W, C) uint8."""
    buffer = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels).save(
        buffer, kind, **options
    )
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    """One PNG chunk."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(pixels: Array, *chunks: tuple[bytes, bytes], interlace: int = 0) -> bytes:
    """A PNG of (H, W, 1-4) uint8 or uint16, written by hand, unfiltered; `chunks` go before the image data."""
    height, width, samples = pixels.shape
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[samples]
    depth = pixels.dtype.itemsize * 8
    rows = pixels.astype(pixels.dtype.newbyteorder(">")).reshape(height, -1).view(np.uint8)
    raw = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    body = [
        chunk(b"IHDR", header),
        *(chunk(*c) for c in chunks),
        chunk(b"IDAT", zlib.compress(raw)),
        chunk(b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


def png_bits(values: Array, depth: int, palette: bytes = b"", transparency: bytes = b"") -> bytes:
    """A gray or palette PNG of (H, W) values with 1, 2, 4 or 8 bit a pixel."""
    height, width = values.shape
    bits = np.unpackbits(values[..., None].astype(np.uint8), axis=2)[..., 8 - depth :].reshape(height, -1)
    raw = b"".join(b"\0" + row.tobytes() for row in np.packbits(bits, axis=1))
    header = struct.pack(">IIBBBBB", width, height, depth, 3 if palette else 0, 0, 0, 0)
    parts = [chunk(b"IHDR", header), chunk(b"PLTE", palette) if palette else b""]
    parts += [chunk(b"tRNS", transparency) if transparency else b"", chunk(b"IDAT", zlib.compress(raw))]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + chunk(b"IEND", b"")


def tiff(pixels: Array, **options: Any) -> bytes:
    """A TIFF by tifffile."""
    buffer = io.BytesIO()
    top = {name: options.pop(name) for name in ("bigtiff", "byteorder", "ome", "imagej") if name in options}
    with tifffile.TiffWriter(buffer, **top) as writer:
        writer.write(pixels, **options)
    return buffer.getvalue()


def npy(array: Array) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def fits(array: Array, *cards: str) -> bytes:
    """A FITS file with one image and extra cards, by hand."""
    head = ["SIMPLE  =                    T", f"BITPIX  = {FITS_BITPIX[array.dtype.name]:>20}"]
    head += [f"NAXIS   = {array.ndim:>20}"]
    head += [f"NAXIS{index:<3}= {size:>20}" for index, size in enumerate(reversed(array.shape), start=1)]
    text = "".join(card.ljust(80) for card in [*head, *cards, "END"])
    data = array.astype(array.dtype.newbyteorder(">")).tobytes()
    return text.ljust(-(-len(text) // 2880) * 2880).encode() + data + bytes(-len(data) % 2880)


def dicom(array: Array, **attributes: Any) -> bytes:
    """A DICOM secondary capture of (H, W), (N, H, W) or (H, W, 3), by pydicom."""
    import pydicom
    from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = SecondaryCaptureImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = "1.2.826.0.1.3680043.8.498.1"
    colour = array.ndim == 3 and array.shape[2] == 3
    planes = array[None] if colour or array.ndim == 2 else array
    dataset.Rows, dataset.Columns = planes.shape[1:3]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = (3, "RGB") if colour else (1, "MONOCHROME2")
    if colour:
        dataset.PlanarConfiguration = 0
    if len(planes) > 1:
        dataset.NumberOfFrames = len(planes)
    dataset.BitsAllocated = dataset.BitsStored = 8 * array.itemsize
    dataset.HighBit, dataset.PixelRepresentation = 8 * array.itemsize - 1, int(array.dtype.kind == "i")
    for name, value in attributes.items():
        setattr(dataset, name, value)
    data = array.tobytes()
    dataset.PixelData = data + bytes(len(data) & 1)
    dataset["PixelData"].VR = "OB" if array.itemsize == 1 else "OW"
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True, implicit_vr=False, little_endian=True)
    return buffer.getvalue()


def dng(mosaic: Array) -> bytes:
    """A minimal DNG of a Bayer mosaic (H, W) uint16, by tifffile."""
    matrix = (9, 10, -3, 10, -1, 10, -4, 10, 13, 10, 1, 10, 0, 10, 2, 10, 6, 10)
    tags = [
        (33421, 3, 2, (2, 2), False),
        (33422, 1, 4, b"\0\1\1\2", False),
        (50706, 1, 4, b"\1\4\0\0", False),
        (50708, 2, 0, "Test Camera", False),
        (50714, 3, 1, 256, False),
        (50717, 3, 1, 16383, False),
        (50721, 10, 9, matrix, False),
        (50728, 5, 3, (1, 2, 1, 1, 2, 3), False),
        (50778, 3, 1, 21, False),
        (274, 3, 1, 6, False),
    ]
    return tiff(mosaic, photometric="CFA", metadata=None, extratags=tags)


def camera_raw(mosaic: Array, pattern: bytes = b"\2\1\1\0", model: str = "DSLR-A900", order: str = "<") -> bytes:
    """An uncompressed raw file as TIFF-like cameras write it, of a Bayer mosaic (H, W) uint16, with EXIF in it.

    LibRaw knows the model's colours; no DNG tag is in it. `pattern` has R as 0, G as 1, B as 2.
    """
    tags: list[tuple[Any, ...]] = [
        (33421, 3, 2, (2, 2), False),
        (33422, 1, len(pattern), pattern, False),
        (271, 2, 0, "SONY", False),
        (272, 2, 0, model, False),
        (274, 3, 1, 6, False),
        ("ExifTag", 4, 1, 0x0E0F0A0B, False),
    ]
    data = tiff(mosaic, byteorder=order, photometric="CFA", metadata=None, software=False, extratags=tags)
    place = len(data) + 2 + 2 * 12 + 4
    directory = struct.pack(order + "H", 2) + struct.pack(order + "HHIHH", 34855, 3, 1, 800, 0)
    directory += struct.pack(order + "HHII", 37500, 7, 20, place) + bytes(4) + b"maker's private note"
    return data.replace(struct.pack(order + "I", 0x0E0F0A0B), struct.pack(order + "I", len(data)), 1) + directory


def exif(orientation: int = 6, gps: bool = True, thumbnail: bool = False) -> bytes:
    """A little-endian EXIF block: orientation, a maker, GPS and a directory for a preview, as wanted."""
    entries = [(0x010F, 2, 6, None), (0x0112, 3, 1, orientation)] + ([(0x8825, 4, 1, None)] if gps else [])
    size = 8 + 2 + 12 * len(entries) + 4
    maker, place = size, size + 6
    body = struct.pack("<H", len(entries))
    for code, kind, count, value in entries:
        body += struct.pack("<HHII", code, kind, count, {0x010F: maker, 0x8825: place}.get(code, value))
    position = place + 2 + 12 + 4
    directory = struct.pack("<HHHIII", 1, 2, 5, 3, position, 0) + struct.pack("<6I", 48, 1, 8, 1, 15, 1) if gps else b""
    preview = place + len(directory)
    body += struct.pack("<I", preview if thumbnail else 0) + b"Maker\0" + directory
    if thumbnail:
        body += struct.pack("<HHHIII", 1, 0x0201, 4, 1, preview + 18, 0) + b"\xff\xd8noisy preview\xff\xd9"
    return b"II*\0" + struct.pack("<I", 8) + body
