"""Ports on which a test starts a server later, or on which nobody is to listen."""

from __future__ import annotations

import contextlib
import random
import socket

_PORTS = range(10_000, 32_000)  # below those that the kernel gives to whoever asks for any


def unused_port() -> int:
    """Return a port that nobody listens on, and that no test beside this one gets by asking the kernel for any."""
    choice = random.SystemRandom()
    while True:
        port = choice.choice(_PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
