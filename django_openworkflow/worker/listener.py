"""Hear of cancels at once, where the database can notify. A hint, never the truth."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any, Final

from django.db import connections

from django_openworkflow.notices import channel

if TYPE_CHECKING:
    from collections.abc import Callable

logger: Final = logging.getLogger(__name__)

_LOOK_SECONDS: Final = 0.1  # how soon a stop is noticed
_RECONNECT_SECONDS: Final = 2.0


class Listener:
    """A thread with a connection of its own that calls ``on_notice`` for each notification.

    Without it, or behind a pooler that drops LISTEN, everything works at the pace of heartbeats.
    After each connect ``on_notice`` is called once: what was missed meanwhile is looked up.
    """

    def __init__(self, using: str, on_notice: Callable[[], object]) -> None:
        self._using = using
        self._on_notice = on_notice
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="openworkflow-listener", daemon=True)

    def start(self) -> None:
        """Begin to listen, if the database can notify."""
        if connections[self._using].vendor == "postgresql":
            self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def _run(self) -> None:
        import psycopg

        while not self._stopping.is_set():
            try:
                with psycopg.connect(**self._parameters(), autocommit=True) as connection:
                    self._listen(connection)
            except psycopg.Error as error:
                logger.warning("Listening for cancels failed and is tried again: %s", error)
                self._stopping.wait(_RECONNECT_SECONDS)

    def _listen(self, connection: Any) -> None:
        from psycopg import sql

        connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel())))
        self._on_notice()
        while not self._stopping.is_set():
            for _ in connection.notifies(timeout=_LOOK_SECONDS, stop_after=1):
                self._on_notice()

    def _parameters(self) -> dict[str, Any]:
        """Return what Django connects with; a pool is for connections that are given back."""
        parameters = dict(connections[self._using].get_connection_params())
        parameters.pop("pool", None)
        return parameters
