"""Transactions that take their write lock first, and connections that belong to the engine."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from django.db import connections, transaction

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.db.backends.base.base import BaseDatabaseWrapper

# A statement that writes takes SQLite's write lock even when it matches no row.
# Source: https://www.sqlite.org/lang_transaction.html ("DEFERRED")
_TAKE_WRITE_LOCK: Final = "UPDATE django_openworkflow_workflowrun SET status = status WHERE 1 = 0"


@contextmanager
def write_transaction(using: str) -> Iterator[None]:
    """Open ``atomic()`` and, on SQLite, wait for the write lock at once.

    A deferred SQLite transaction that reads before it writes fails without waiting when another
    writer came first; taking the lock first turns that error into a wait. Joins a transaction that
    is already open, as ``atomic()`` does.
    """
    with transaction.atomic(using=using):
        connection = connections[using]
        if connection.vendor == "sqlite":
            with connection.cursor() as cursor:
                cursor.execute(_TAKE_WRITE_LOCK)
        yield


@contextmanager
def borrowed(alias: str, connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Let this thread's ORM use ``connection`` under ``alias`` while the block runs.

    The engine's writes must not join, nor be poisoned by, a transaction of the user's code, so they
    go through a connection of their own. The thread's own connection is put back whatever happens.
    """
    own = connections[alias]
    connections[alias] = connection
    try:
        yield
    finally:
        connections[alias] = own


def private_connection(alias: str) -> BaseDatabaseWrapper:
    """Return a new, unopened connection to ``alias`` that any thread may use, one at a time.

    Never one of a pool's: it is kept for as long as the worker lives.
    """
    connection = connections[alias].copy()
    connection.settings_dict["OPTIONS"].pop("pool", None)
    connection.inc_thread_sharing()
    return connection
