"""A helper that an archive has taken over: it has members without end, with names that steer a terminal, then hangs."""

from __future__ import annotations

import os
import socket
import time

from images.archive import Member
from images.messages import Reply, receive, send


def serve(channel: socket.socket, used: int) -> None:
    """Three members, larger than they are said to be, then none and no end."""
    _, (_, target) = receive(channel, 1 << 20)
    for number in range(3):
        receive(channel, 1 << 20)
        os.ftruncate(target, 1000)
        send(channel, Reply(member=Member(f"\x1b[2J{number}", 1)))
    time.sleep(1000)
