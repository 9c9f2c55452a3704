"""The network of the scorecard: what ends on one side ends on the other."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

import pytest

from benchmarks.reliability.cluster import HOST
from benchmarks.reliability.proxy import Proxy

PATIENCE_SECONDS = 10.0
# Closes with a reset, as the system does for a process that was killed with unread input.
ABORT = struct.pack("ii", 1, 0)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A client and the server's end, with the proxy between them."""
    with socket.create_server((HOST, 0)) as listener:
        proxy = Proxy(listener.getsockname()[1], seed=1)
        listener.settimeout(PATIENCE_SECONDS)
        client = socket.create_connection((HOST, proxy.port), timeout=PATIENCE_SECONDS)
        server, _ = listener.accept()
        server.settimeout(PATIENCE_SECONDS)
        yield client, server
        client.close()
        server.close()
        proxy.close()


def has_ended(end: socket.socket) -> bool:
    """Wait for the end of a connection."""
    try:
        return end.recv(1) == b""
    except ConnectionError:
        return True


def test_what_is_said_arrives(pair: tuple[socket.socket, socket.socket]) -> None:
    client, server = pair
    client.sendall(b"question")
    assert server.recv(100) == b"question"
    server.sendall(b"answer")
    assert client.recv(100) == b"answer"


@pytest.mark.parametrize("is_reset", [False, True])
@pytest.mark.parametrize("who", [0, 1])
def test_an_end_is_passed_on(
    pair: tuple[socket.socket, socket.socket], who: int, *, is_reset: bool
) -> None:
    ends, lasts = pair[who], pair[1 - who]
    if is_reset:
        ends.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
    ends.close()
    assert has_ended(lasts)
