"""What is logged is shown, never obeyed."""

from __future__ import annotations

import subprocess
import sys

import pytest

from store.logs import shown

WRITE = """
import logging, structlog, sys
from store.logs import configure_logs
from store.settings import Settings
evil = "a\\x1b[2Jb\\x1b]0;owned\\x07c\\x9b31md\\re\\x00f\\u202eg\\nforged line"
configure_logs(Settings(log_format=sys.argv[1]))
log = structlog.get_logger("x")
log.warning("event " + evil, path=evil, many=[evil], ok="ü µ 日本")
logging.getLogger("y").warning("standard %s", evil)
try:
    raise ValueError(evil)
except ValueError as error:
    log.error("failed", exc_info=error)
"""
COLOURS = ("\x1b[0m", "\x1b[1m", "\x1b[2m", *(f"\x1b[{code}m" for code in range(30, 48)))


@pytest.mark.parametrize("kind", ["pretty", "json"])
def test_no_control_reaches_the_terminal(kind: str) -> None:
    done = subprocess.run([sys.executable, "-c", WRITE, kind], capture_output=True, check=True, timeout=60)
    text = done.stdout.decode()
    for colour in COLOURS:
        text = text.replace(colour, "")
    assert [letter for letter in text if not letter.isprintable() and letter != "\n"] == []
    assert text.count("owned") == 5 and "\nforged line" not in text.partition("Traceback")[0]
    assert kind == "json" or "ü µ 日本" in text


def test_what_is_printable_stays() -> None:
    assert shown("ü µ 日本 ✓") == "ü µ 日本 ✓"
    assert shown("a\x1bb\tc\x85") == "a\\x1bb\\tc\\x85"
