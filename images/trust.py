"""What is believed of a helper's answers: a file may have taken it over, and write them itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from images.archive import Member
from images.formats import FORMATS
from images.info import ImageInfo
from images.messages import Place, Reply
from images.words import plain

_WORKING = ("uint8", "uint16", "float32")
_KINDS = tuple("biuf")
_LONGEST_SIDE = 1 << 32
_TEXT = 1000


def sound_info(info: object) -> bool:
    """Whether what is computed with, and looked up by, is there."""
    if not isinstance(info, ImageInfo) or not isinstance(info.dtype, str) or not isinstance(info.format, str):
        return False
    numbers = (info.width, info.height, info.frames, info.channels)
    return info.format in FORMATS and all(type(number) is int and number > 0 for number in numbers)


def sound_image(reply: Reply) -> Reply | None:
    """The reply with words as they may be shown, if arrays have shapes and types of images and the rest its types."""
    about, pixels = reply.metadata, reply.pixels
    if about is None or pixels is None or not sound_info(reply.info) or not isinstance(reply.warnings, tuple):
        return None
    before = reply.denoised_before
    if not all(isinstance(text, str) for text in (*reply.warnings, before or "", reply.pattern)):
        return None
    if not all(isinstance(part, bytes) for part in (about.exif, about.icc, about.xmp)):
        return None
    others = [place for place in (reply.alpha, reply.exact) if place is not None]
    if not all(_sound_place(place) for place in (pixels, *others)) or len(pixels.shape) != 4:
        return None
    if np.dtype(pixels.dtype).name not in _WORKING or any(place.shape[:3] != pixels.shape[:3] for place in others):
        return None
    warnings = tuple(plain(text, _TEXT) for text in reply.warnings)
    return replace(reply, warnings=warnings, denoised_before=before and plain(before, _TEXT))


def sound_member(member: object) -> Member | None:
    """A member with words as they may be shown, if it is one."""
    if not isinstance(member, Member) or not isinstance(member.name, str):
        return None
    if not (member.refused is None or isinstance(member.refused, str)):
        return None
    return Member(plain(member.name, _TEXT), 0, member.refused and plain(member.refused, _TEXT))


def _sound_place(place: Place) -> bool:
    if type(place.offset) is not int or not isinstance(place.shape, tuple) or not isinstance(place.dtype, str):
        return False
    sides = len(place.shape) >= 3 and all(type(side) is int and 0 < side < _LONGEST_SIDE for side in place.shape)
    return sides and place.dtype[1:2] in _KINDS and place.dtype[2:].isdigit() and len(place.dtype) <= 4
