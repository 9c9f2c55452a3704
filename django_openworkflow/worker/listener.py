"""Hear at once of runs that are due and of cancels, where the database can notify.

A hint, never the truth: without it everything works at the pace of polls and heartbeats.
"""

from __future__ import annotations

import logging
import selectors
import socket
import threading
from typing import TYPE_CHECKING, Any, Final

from django.db import connections

from django_openworkflow.notices import channel

if TYPE_CHECKING:
    from collections.abc import Callable

logger: Final = logging.getLogger(__name__)

_RECONNECT_SECONDS: Final = 2.0


class Listener:
    """A thread with a connection of its own that calls ``on_notice`` for each notification.

    ``on_notice`` gets its payload. After each connect it is called once with an empty one: what was
    missed meanwhile is looked up. Behind a pooler that drops LISTEN nothing is ever heard.
    """

    def __init__(self, using: str, on_notice: Callable[[str], object]) -> None:
        self._using = using
        self._on_notice = on_notice
        self._stopping = threading.Event()
        self._ends: tuple[socket.socket, ...] = ()  # one is closed to wake the thread at the other
        self._thread = threading.Thread(target=self._run, name="openworkflow-listener", daemon=True)
        self.is_listening = False

    def start(self) -> None:
        """Begin to listen, if the database can notify."""
        if connections[self._using].vendor == "postgresql":
            self._ends = socket.socketpair()
            self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopping.set()
        for end in self._ends[:1]:
            end.close()
        if self._thread.is_alive():
            self._thread.join(timeout=5)
        for end in self._ends:
            end.close()

    def _run(self) -> None:
        import psycopg

        while not self._stopping.is_set():
            try:
                with psycopg.connect(**self._parameters(), autocommit=True) as connection:
                    self._listen(connection)
            except psycopg.Error as error:
                logger.warning("Listening for notifications failed and is tried again: %s", error)
            finally:
                self.is_listening = False
            self._stopping.wait(_RECONNECT_SECONDS)

    def _listen(self, connection: Any) -> None:
        from psycopg import sql

        connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel())))
        self.is_listening = True
        self._on_notice("")
        with selectors.DefaultSelector() as selector:
            selector.register(connection.fileno(), selectors.EVENT_READ)
            selector.register(self._ends[1], selectors.EVENT_READ)
            while not self._stopping.is_set():
                selector.select()  # costs nothing while nothing happens; stop() ends it
                connection.pgconn.consume_input()
                while notice := connection.pgconn.notifies():
                    self._on_notice(notice.extra.decode())

    def _parameters(self) -> dict[str, Any]:
        """Return what Django connects with; a pool is for connections that are given back."""
        parameters = dict(connections[self._using].get_connection_params())
        parameters.pop("pool", None)
        return parameters
