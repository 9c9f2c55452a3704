"""One trip to the server for a whole transaction, on the connection that Django holds.

Statements are sent in psycopg's pipeline mode, without waiting for the reply to each.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

from psycopg import Cursor
from psycopg.pq import TransactionStatus

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper
    from psycopg import Connection

_OPTION: Final = "prepare_threshold"


class Trip:
    """The statements of one transaction, and their rows once it has been made."""

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self._connection = connection
        self._sent: list[tuple[str, dict[str, Any]]] = []

    def add(self, sql: str, parameters: dict[str, Any]) -> int:
        """Add a statement; return the place of its rows."""
        self._sent.append((sql, parameters))
        return len(self._sent) - 1

    def make(self) -> list[list[tuple[Any, ...]]]:
        """Send everything, commit, and return the rows of each statement.

        Raises Django's database errors; nothing was written then, unless the commit is in doubt.
        """
        raw = self._connection.connection
        is_prepared = may_prepare(self._connection)
        with self._connection.wrap_database_errors:
            try:
                with raw.pipeline():
                    Cursor(raw).execute("BEGIN", prepare=is_prepared)
                    cursors = [
                        Cursor(raw).execute(sql, parameters, prepare=is_prepared)
                        for sql, parameters in self._sent
                    ]
                    Cursor(raw).execute("COMMIT", prepare=is_prepared)
            except BaseException:
                _roll_back(raw)
                raise
        return [cursor.fetchall() if cursor.description else [] for cursor in cursors]


def is_ready(connection: BaseDatabaseWrapper) -> bool:
    """Whether a transaction may begin and end here: nobody has one open on this connection."""
    connection.ensure_connection()
    return not connection.in_atomic_block and connection.get_autocommit()


def may_prepare(connection: BaseDatabaseWrapper) -> bool:
    """Whether statements may stay prepared on the server, and if so, let psycopg do it on request.

    A pooler that lends server connections by the transaction may not allow it. Then the project has
    told Django so: ``"prepare_threshold": None`` in OPTIONS, or ``DISABLE_SERVER_SIDE_CURSORS``.
    """
    settings = connection.settings_dict
    if settings.get("DISABLE_SERVER_SIDE_CURSORS"):
        return False
    if settings["OPTIONS"].get(_OPTION, 0) is None:
        return False
    if connection.connection.prepare_threshold is None:  # Django's default
        connection.connection.prepare_threshold = sys.maxsize
    return True


def _roll_back(raw: Connection[Any]) -> None:
    if not raw.closed and raw.info.transaction_status != TransactionStatus.IDLE:
        raw.rollback()
