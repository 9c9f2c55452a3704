"""User code gets healthy connections, and must leave them as it found them."""

from __future__ import annotations

import contextlib
import logging
import time
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

from django.db import Error, connections
from django.db.backends.signals import connection_created

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from django.db.backends.base.base import BaseDatabaseWrapper

logger: Final = logging.getLogger(__name__)

# How long a connection that answered is trusted before it is asked again.
_TRUST_SECONDS: Final = 1.0
_NO_RUN: Final = {"run_id": None, "workflow": None, "step": None}


class _Opened:
    """Counts the connections that this process has opened, in whichever thread."""

    def __init__(self) -> None:
        self.count = 0
        connection_created.connect(self.note)

    def note(self, **_facts: object) -> None:
        """Count one more."""
        self.count += 1


_opened: Final = _Opened()


class UserConnections:
    """The connections of one thread that executes user code, during one pass."""

    def __init__(self) -> None:
        self._opened = -1
        self._known: Sequence[BaseDatabaseWrapper] = ()
        self._depths = {connection.alias: _depth(connection) for connection in self._all()}
        self._checked_at = float("-inf")

    def _all(self) -> Sequence[BaseDatabaseWrapper]:
        """Return this thread's connections. They are looked for after somebody has opened one.

        A body that touches no database costs next to nothing.
        """
        if self._opened != _opened.count:
            self._opened = _opened.count
            self._known = connections.all(initialized_only=True)
        return self._known

    def refresh(self) -> None:
        """Close connections that are too old or do not answer, so that the next use reconnects.

        Django does so at the ends of a request; a worker has none.
        """
        if time.monotonic() - self._checked_at < _TRUST_SECONDS:
            return
        for connection in self._between_transactions():
            connection.close_if_unusable_or_obsolete()
            if connection.connection is not None and not connection.is_usable():
                connection.close()
        self._checked_at = time.monotonic()

    def close_old(self) -> None:
        """Close connections that have lived for as long as the project lets them."""
        for connection in self._between_transactions():
            connection.close_if_unusable_or_obsolete()

    def _between_transactions(self) -> list[BaseDatabaseWrapper]:
        """Return this thread's connections but for those inside a transaction (a test's, say)."""
        return [connection for connection in self._all() if not connection.in_atomic_block]

    def open_transaction(self) -> str | None:
        """Return the alias of a connection on which user code has a transaction open."""
        for connection in self._all():
            if _depth(connection) > self._depths.get(connection.alias, 0):
                return connection.alias
            if not connection.in_atomic_block and _is_manual(connection):
                return connection.alias
        return None

    def roll_back(self, alias: str) -> None:
        """Throw away what user code left open on a connection.

        Between transactions by closing it; inside a transaction of the caller's (a test's) only
        down to where user code began.
        """
        connection = connections[alias]
        depth = self._depths.get(alias, 0)
        if depth:
            _unwind(connection, depth - 1)
            return
        with contextlib.suppress(Error):
            connection.close()
        del connections[alias]
        self._opened = -1
        self._checked_at = float("-inf")

    def roll_back_all(self, facts: Mapping[str, str | None] = _NO_RUN) -> None:
        """Throw away whatever user code has left open; ``facts`` say in the log whose code."""
        while alias := self.open_transaction():
            message = "A transaction left open on database %r was rolled back"
            logger.warning(message, alias, extra=facts)
            self.roll_back(alias)


def _unwind(connection: BaseDatabaseWrapper, savepoints: int) -> None:
    """Roll back to the first savepoint above so many, and forget those that were left open."""
    savepoint = connection.savepoint_ids[savepoints]
    if savepoint is not None:
        connection.savepoint_rollback(savepoint)
    del connection.savepoint_ids[savepoints:]
    del connection.atomic_blocks[savepoints + 1 :]
    connection.needs_rollback = False


_current: Final[ContextVar[UserConnections | None]] = ContextVar(
    "openworkflow_connections", default=None
)


def current_connections() -> UserConnections:
    """Return what looks after the connections of the thread that runs this."""
    return _current.get() or UserConnections()


def open_transaction() -> str | None:
    """Return the alias of a connection on which the code that calls this has a transaction open.

    On an event loop nobody has: Django refuses to use connections there.
    """
    mine = _current.get()
    return None if mine is None else mine.open_transaction()


@contextlib.contextmanager
def user_connections() -> Iterator[None]:
    """Look after this thread's connections around one pass, or one branch of it."""
    mine = UserConnections()
    mine.refresh()
    token = _current.set(mine)
    try:
        yield
    finally:
        _current.reset(token)
        mine.roll_back_all()
        mine.close_old()


def _depth(connection: BaseDatabaseWrapper) -> int:
    return int(connection.in_atomic_block) + len(connection.savepoint_ids)


def _is_manual(connection: BaseDatabaseWrapper) -> bool:
    return connection.connection is not None and not connection.autocommit
