"""Which channel, time and depth each directory of an OME-TIFF shows.

Source: OME Model and File Formats, 2016-06, and its TiffData.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from xml.parsers import expat  # nosec B407  # entity declarations are refused below

Attributes = dict[str, str]
_MOST_PLANES = 1_000_000  # of all Images, before a file is taken to be built to do harm


class _NotBelieved(Exception):
    """The XML is broken, contradicts itself, or is of no use here."""


@dataclass
class _Image:
    """One Image: its Pixels and Channels, and the blocks of planes that it says lie in this file."""

    pixels: Attributes = field(default_factory=dict)
    channels: list[Attributes] = field(default_factory=list)
    blocks: list[tuple[Attributes, list[str]]] = field(default_factory=list)

    def sizes(self) -> dict[str, int]:
        """Planes along C, Z and T, fastest first; samples that share a plane count once."""
        order = self.pixels.get("DimensionOrder", "XYCZT")[2:]
        samples = _number(self.channels[0], "SamplesPerPixel", 1) if self.channels else 1
        found = {axis: _number(self.pixels, f"Size{axis}", 1) for axis in order}
        if sorted(order) != ["C", "T", "Z"] or min(found.values()) < 1:
            raise _NotBelieved
        return found | {"C": max(1, found["C"] // max(1, samples))}

    def strides(self) -> dict[str, int]:
        """Planes from one place along an axis to the next."""
        found, stride = {}, 1
        for axis, size in self.sizes().items():
            found[axis] = stride
            stride *= size
        return found

    def names(self, count: int) -> list[str]:
        return [channel.get("Name", "") for channel in self.channels[:count]] + [""] * (count - len(self.channels))


def channels_of_directories(xml: str, directories: int) -> dict[int, int] | None:
    """The channel, from 0, of each of so many directories, by its place in the chain; None if the XML does not say.

    Channels of several Images are one channel where number and name agree, as they do for positions of one recording.
    Directories that no Image claims get a channel of their own.
    """
    try:
        images = _images(xml)
        found, blocks = _mapped(images, directories)
    except (_NotBelieved, expat.ExpatError):
        return None
    missing = set(range(directories)) - found.keys()
    if not found or (missing and blocks == 1):
        return None
    return found | dict.fromkeys(missing, max(found.values()) + 1)


def planes_of_directories(xml: str, directories: int) -> dict[int, tuple[int, dict[str, int]]] | None:
    """The Image and the place along C, Z and T of each of so many directories; None if the XML does not say."""
    found: dict[int, tuple[int, dict[str, int]]] = {}
    steps = 0
    try:
        for number, image in enumerate(_images(xml)):
            sizes, strides = image.sizes(), image.strides()
            planes = math.prod(sizes.values())
            for block, _ in image.blocks:
                start, first, many = _block(block, strides, planes, max(found, default=-1) + 1)
                steps += max(0, min(many, planes - first, directories - start))
                if steps > _MOST_PLANES:
                    raise _NotBelieved
                for step in range(min(many, planes - first, directories - start)):
                    places = {axis: (first + step) // strides[axis] % size for axis, size in sizes.items()}
                    found[start + step] = number, places
    except (_NotBelieved, expat.ExpatError):
        return None
    return found or None


def _mapped(images: list[_Image], directories: int) -> tuple[dict[int, int], int]:
    """(channel of each directory that an Image claims, number of blocks read)."""
    numbers: dict[tuple[int, int, str], int] = {}
    found: dict[int, int] = {}
    steps = blocks = 0
    for image in images:
        sizes = image.sizes()
        count, planes = sizes["C"], math.prod(sizes.values())
        strides = image.strides()
        keys = [(channel, count, name) for channel, name in enumerate(image.names(min(count, directories)))]
        own = [numbers.setdefault(key, len(numbers)) for key in keys]
        for block, _ in image.blocks:
            start, first, many = _block(block, strides, planes, max(found, default=-1) + 1)
            blocks += 1
            for step in range(min(many, planes - first, directories - start)):
                channel = (first + step) // strides["C"] % count
                found[start + step] = own[channel] if channel < len(own) else len(numbers)
                steps += 1
            if steps > _MOST_PLANES:
                raise _NotBelieved
    return found, blocks


def _block(block: Attributes, strides: dict[str, int], planes: int, free: int) -> tuple[int, int, int]:
    """(first directory, first plane, number of planes) of a TiffData element."""
    start = _number(block, "IFD", free)
    first = sum(_number(block, f"First{axis}", 0) * stride for axis, stride in strides.items())
    return start, first, _number(block, "PlaneCount", 1 if "IFD" in block else planes)


def _number(attributes: Attributes, name: str, default: int) -> int:
    text = attributes.get(name, "")
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 8):
        raise _NotBelieved
    return int(text)


def _images(xml: str) -> list[_Image]:
    """The Images with the blocks of this file: a TiffData whose UUID is not the document's own is another file's."""
    images: list[_Image] = []
    own: list[str] = []
    inside: list[str] = []

    def start(name: str, attributes: Attributes) -> None:
        kind = name.rpartition(":")[2]
        inside.append(kind)
        if kind == "OME":
            own.append(attributes.get("UUID", ""))
        elif kind == "Image":
            images.append(_Image())
        elif images and kind == "Pixels":
            images[-1].pixels = attributes
        elif images and kind == "Channel" and "Pixels" in inside:
            images[-1].channels.append(attributes)
        elif images and kind == "TiffData":
            images[-1].blocks.append((attributes, []))

    def text(data: str) -> None:
        if inside[-2:] == ["TiffData", "UUID"]:
            images[-1].blocks[-1][1].append(data)

    def end(name: str) -> None:
        inside.pop()

    def refuse(*_: object) -> None:
        raise _NotBelieved

    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.CharacterDataHandler, parser.EndElementHandler = start, text, end
    parser.EntityDeclHandler = refuse
    parser.Parse(xml.rstrip("\0 \n").encode(), True)
    files = {"".join(uuid) for image in images for _, uuid in image.blocks if uuid}
    if len(files) > 1 and not own[0]:
        raise _NotBelieved  # a set of files, and nothing says which of them this is
    for image in images:
        image.blocks = [(a, uuid) for a, uuid in image.blocks if not uuid or not own[0] or "".join(uuid) == own[0]]
    return [image for image in images if image.blocks and image.pixels]
