"""A helper that a file has taken over: it does not heed that its CPU time is over, and burns on until it is killed."""

from __future__ import annotations

import signal
import socket

from images.guest import _restrict_to
from images.messages import receive


def serve(channel: socket.socket, used: int) -> None:
    """Never answers."""
    request, _ = receive(channel, 1 << 20)
    signal.signal(signal.SIGXCPU, signal.SIG_IGN)
    _restrict_to(request, used)
    while True:
        sum(range(10_000))
