"""Words that a stranger chose, as they may be shown and kept."""

from __future__ import annotations


def plain(text: str, most: int) -> str:
    """`text` without control characters, at most so many letters long."""
    return "".join(letter if letter.isprintable() else "?" for letter in text[:most])
