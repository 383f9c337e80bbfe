"""A header's value and its options (`form-data; name="image"; filename="a.png"`), at a bounded cost."""

from __future__ import annotations

from email.message import Message
from email.utils import collapse_rfc2231_value

from python_multipart.multipart import parse_options_header

MAX_SEMICOLONS = 32
"""Both parsers look at all options again for each one: 4 kB of semicolons cost 60 ms, and a form has many parts."""


class TooManyOptions(ValueError):
    """A header has more semicolons than are read."""

    def __init__(self) -> None:
        super().__init__(f"more than {MAX_SEMICOLONS} semicolons")


def options_of(header: bytes) -> dict[bytes, bytes]:
    """The options by name. Raises TooManyOptions."""
    _require_few(header)
    return parse_options_header(header)[1]


def extended_filename(disposition: bytes) -> str | None:
    """The file name of `filename*`, which wins over `filename` (RFC 6266, section 4.3) and python-multipart leaves out.

    RFC 7578 forbids it in forms, and clients send names that are not ASCII by it alone.

    Raises:
        TooManyOptions: there are.
    """
    if b"filename*" not in disposition.lower():
        return None
    _require_few(disposition)
    header = Message()
    header["content-disposition"] = disposition.decode("latin-1")
    for name, value in header.get_params([], "content-disposition"):
        if name.lower() == "filename" and isinstance(value, tuple):  # of RFC 2231: charset, language, value
            return collapse_rfc2231_value(value).replace("\\", "/").rpartition("/")[2]
    return None


def _require_few(header: bytes) -> None:
    if header.count(b";") > MAX_SEMICOLONS:
        raise TooManyOptions
