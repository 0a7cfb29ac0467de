"""Ports for servers that have to know where they listen before they do."""

import itertools
import os
import socket

# Below those that systems give to outgoing connections, of which one might come between the choice and the server.
_FIRST, _COUNT = 10_240, 20_000
_candidates = (_FIRST + (os.getpid() * 131 + step) % _COUNT for step in itertools.count())


def free_port() -> int:
    """Return a port of loopback that nobody listens at, another each time."""
    for port in itertools.islice(_candidates, _COUNT):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("all ports are taken")
