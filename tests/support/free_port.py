"""A port for a program that has to be told one: not of those the system gives to whoever asks for any."""

import random
import socket

_BELOW_EPHEMERAL = range(10_000, 32_000)  # Linux: net.ipv4.ip_local_port_range begins at 32768


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody has now, and that nobody is given by chance a moment later."""
    while True:
        port = random.choice(_BELOW_EPHEMERAL)
        with socket.socket() as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                tried.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
