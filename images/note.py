"""The note left in every result, so that nobody denoises an image twice without knowing."""

from __future__ import annotations

import re

MARK = "denoised by the Blind2Sound service"
"""The program, not the method: how a model was trained stands on its card."""
_FOUND = re.compile(rb"denoised by (?:the )?Blind2Sound[ -~]{0,200}")  # without "the" in files of before 2026-11-23


def find(*fields: bytes | str) -> str | None:
    """The note, if one of the metadata fields holds it."""
    for field in fields:
        raw = field.encode("utf-8", "replace") if isinstance(field, str) else field
        if match := _FOUND.search(raw):
            return match[0].decode("ascii").split('"')[0].split("<")[0].strip()
    return None


def compose(model: str) -> str:
    """The note's text for a result of `model`."""
    return f"{MARK}, model {model}"


def into_xmp(xmp: bytes, note: str) -> bytes:
    """The XMP packet with the note in it; a packet of its own where there was none."""
    text = "".join(f"&#{ord(c)};" if c in "&<>\"'" else c for c in note)
    block = f'<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/" dc:description="{text}"/>'
    if b"</rdf:RDF>" in xmp:
        # A namespace of our own: the packet may hold a dc:description already, and two would not be valid.
        block = block.replace("xmlns:dc", "xmlns:b2s").replace("dc:description", "b2s:note")
        block = block.replace("http://purl.org/dc/elements/1.1/", "urn:blind2sound:1")
        return xmp.replace(b"</rdf:RDF>", block.encode() + b"</rdf:RDF>", 1)
    if xmp:
        return xmp
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'{block}</rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
    ).encode()
