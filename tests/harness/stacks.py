"""TIFFs with structure outside their directories, laid out as their programs do: from the formats' descriptions."""

from __future__ import annotations

import json
import struct
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Entry = tuple[int, int, int, int]  # code, type, count, value or offset


def directory(entries: list[Entry], following: int = 0) -> bytes:
    """A classic little-endian directory; a single SHORT lies left in its field."""
    body = b"".join(
        struct.pack("<HHI", code, kind, count)
        + (struct.pack("<HH", value, 0) if kind == 3 and count == 1 else struct.pack("<I", value))
        for code, kind, count, value in entries
    )
    return struct.pack("<H", len(entries)) + body + struct.pack("<I", following)


def plane_entries(plane: Array, place: int) -> list[Entry]:
    """The entries of one gray plane in one strip."""
    height, width = plane.shape
    return [
        (254, 4, 1, 0), (256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8 * plane.itemsize), (259, 3, 1, 1),
        (262, 3, 1, 1), (273, 4, 1, place), (277, 3, 1, 1), (278, 4, 1, height), (279, 4, 1, plane.nbytes),
    ]  # fmt: skip


def metamorph(planes: Array, wavelengths: list[int] | None = None, promised: int | None = None) -> bytes:
    """STK: (N, H, W) uint16 behind each other under one directory, with UIC1 to UIC3."""
    count = promised or len(planes)
    z = b"".join(struct.pack("<6I", 250 * (n + 1), 1, 2459000, n, 2459000, n) for n in range(count))
    waves = b"".join(struct.pack("<2I", (wavelengths or [500] * count)[n], 1) for n in range(count))
    name = b"movie\0"
    data = planes.astype("<u2").tobytes()
    place_z = 8 + len(data)
    place_waves = place_z + len(z)
    place_name = place_waves + len(waves)
    place_uic1 = place_name + 4 + len(name)
    uic1 = struct.pack("<2I", 7, place_name)  # the stack's name: an offset to its length and text
    entries = [*plane_entries(planes[0].astype("u2"), 8), (33628, 4, 1, place_uic1), (33629, 5, count, place_z),
               (33630, 5, count, place_waves)]  # fmt: skip
    head = b"II*\0" + struct.pack("<I", place_uic1 + len(uic1))
    return head + data + z + waves + struct.pack("<I", len(name)) + name + uic1 + directory(entries)


def micromanager(planes: Array, channels: int = 1) -> bytes:
    """A Micro-Manager image stack: blocks behind the header and at the end, a JSON text for each plane."""
    size = {"Width": planes.shape[2], "Height": planes.shape[1], "PixelType": "GRAY16"}
    axes = {"Slices": len(planes) // channels, "Channels": channels, "Frames": 1, "Positions": 1}
    text = json.dumps({"MicroManagerVersion": "2.0.1", "z-step_um": 0.3, **size, **axes}).encode()
    out = bytearray(b"II*\0" + struct.pack("<I", 0) + bytes(24) + struct.pack("<2I", 2355492, len(text)) + text)
    out += bytes(-len(out) % 2)
    pointer, index = 4, b""
    for number, plane in enumerate(planes):
        about = json.dumps({"ChannelIndex": number % channels, "SliceIndex": number // channels}).encode()
        ifd, place = len(out), len(out) + 162  # readers of the index count on pixels so far behind their directory
        scale = place + 2 * plane.size
        entries = [*plane_entries(plane.astype("u2"), place)[1:], (282, 5, 1, scale), (283, 5, 1, scale),
                   (296, 3, 1, 3), (51123, 2, len(about), scale + 8)]  # fmt: skip
        struct.pack_into("<I", out, pointer, ifd)
        index += struct.pack("<5I", number % channels, number // channels, 0, 0, ifd)
        out += directory(entries) + plane.astype("<u2").tobytes() + struct.pack("<2I", 92593, 1)
        out += about + bytes(len(about) % 2)
        pointer = place - 4
    colours, comment = b'[{"Channel":"GFP","Color":65280}]', b'{"Summary":"drug added"}'
    blocks = [(54773648, 3453623, len(planes), index), (483765892, 347834724, len(colours), colours),
              (99384722, 84720485, len(comment), comment)]  # fmt: skip
    for place, (magic, head, count, data) in zip((8, 16, 24), blocks, strict=True):
        struct.pack_into("<2I", out, place, magic, len(out))
        out += struct.pack("<2I", head, count) + data
    return bytes(out)


def scanimage(planes: Array, channels: int = 1, in_software: bool = False) -> bytes:
    """A ScanImage BigTIFF: settings and regions behind the header, channels of a frame one after the other."""
    saved = " ".join(str(n + 1) for n in range(channels))
    settings = (
        f"SI.LINE_FORMAT_VERSION = 1\nSI.hChannels.channelSave = [{saved}]\nSI.hRoiManager.zoom = 2".encode() + b"\0"
    )
    regions = b'{"RoiGroups": {}}\0'
    out = bytearray(b"II+\0" + struct.pack("<HHQ", 8, 0, 0))
    out += struct.pack("<4I", 0x07030301, 3, len(settings), len(regions)) + settings + regions
    out += bytes(-len(out) % 8)
    pointer = 8
    for plane in planes:
        place = len(out)
        out += plane.astype("<i2").tobytes()
        entries = [(code, kind, count, value) for code, kind, count, value in plane_entries(plane.astype("i2"), place)]
        entries += [(305, 2, len(settings), 32)] if in_software else []
        entries += [(339, 3, 1, 2)]
        struct.pack_into("<Q", out, pointer, len(out))
        out += struct.pack("<Q", len(entries))
        for code, kind, count, value in entries:
            out += struct.pack("<HHQQ", code, kind, count, value)
        pointer = len(out)
        out += bytes(8)
    return bytes(out)


def lsm(planes: Array, compressed: bool = False) -> bytes:
    """A Zeiss LSM stack (Z): each plane's directory is followed by that of its thumbnail; tables elsewhere.

    Strips that are `compressed` (LZW) keep the size in the directory that they had before, as the microscope has it.
    """
    count, height, width = planes.shape
    out = bytearray(b"II*\0" + struct.pack("<I", 0))
    info, stamps = len(out), len(out) + 512
    about = struct.pack("<2I8i", 0x00400494C, 512, width, height, count, 1, 1, 2, width // 4, height // 4)
    about += struct.pack("<6d", 1e-7, 1e-7, 3e-7, 0, 0, 0)  # voxel, origin; then zeros: a scan of X, Y and Z
    about = about.ljust(132, b"\0") + struct.pack("<I", stamps)
    out += about.ljust(512, b"\0") + struct.pack("<2i", 8 + 8 * count, count) + np.arange(count, dtype="<f8").tobytes()
    pointer = 4
    for number, plane in enumerate(planes):
        place = len(out)
        out += imagecodecs.lzw_encode(plane.astype("<u2").tobytes()) if compressed else plane.astype("<u2").tobytes()
        small = (plane[::4, ::4] >> 8).astype("u1")
        thumbnail = len(out)
        out += small.tobytes() + bytes(small.size % 2)
        struct.pack_into("<I", out, pointer, len(out))
        entries = plane_entries(plane.astype("u2"), place) + ([(34412, 1, 512, info)] if number == 0 else [])
        if compressed:
            entries[4] = (259, 3, 1, 5)
        size = 6 + 12 * len(entries)
        out += directory(entries, len(out) + size)
        reduced = [(254, 4, 1, 1), *plane_entries(small, thumbnail)[1:]]
        out += directory(reduced)
        pointer = len(out) - 4
    return bytes(out)
