"""Transactions that take their write lock first, and connections that belong to the engine."""

from __future__ import annotations

from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Final, TypeVar
from weakref import WeakSet

from django.db import OperationalError, connections, transaction

from django_openworkflow import conf

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from django.db.backends.base.base import BaseDatabaseWrapper

# A statement that writes takes SQLite's write lock even when it matches no row.
# Source: https://www.sqlite.org/lang_transaction.html ("DEFERRED")
_TAKE_WRITE_LOCK: Final = "UPDATE django_openworkflow_workflowrun SET status = status WHERE 1 = 0"

# For the transaction only, and no longer than the server allows by itself.
# Source: https://www.postgresql.org/docs/current/runtime-config-client.html
_LIMIT_SILENCE: Final = """
SELECT set_config('idle_in_transaction_session_timeout', %(ms)s::text, true)
 WHERE current_setting('idle_in_transaction_session_timeout')::interval
       NOT BETWEEN '1ms' AND %(ms)s * '1ms'::interval
"""

# How often a transaction of ours is begun again after the database has broken it up.
_MOST_TRIES: Final = 5
# How a victim of a deadlock is told: PostgreSQL's SQLSTATE, and the number of MariaDB and MySQL.
_DEADLOCK_STATE: Final = "40P01"
_DEADLOCK_NUMBER: Final = 1213

_Result = TypeVar("_Result")
# The connections of the engine itself, on which no code of the project's runs.
_private: Final[WeakSet[BaseDatabaseWrapper]] = WeakSet()


@contextmanager
def write_transaction(using: str) -> Iterator[None]:
    """Open ``atomic()`` and, on SQLite, wait for the write lock at once.

    A deferred SQLite transaction that reads before it writes fails without waiting when another
    writer came first; taking the lock first turns that error into a wait. On a connection of the
    engine's own, see ``limit_silence``. Joins an open transaction, as ``atomic()`` does.
    """
    with transaction.atomic(using=using):
        connection = connections[using]
        if connection.vendor == "sqlite":
            with connection.cursor() as cursor:
                cursor.execute(_TAKE_WRITE_LOCK)
        elif connection in _private:
            limit_silence(using)
        yield


def limit_silence(using: str) -> None:
    """Let PostgreSQL end this transaction, and its connection, if it hears nothing for a lease.

    A worker that is frozen, or cut off without a word, between two statements would hold the locks
    of runs until the network gives up, hours later; nobody could take them over or cancel them.
    Needs an open transaction, in which no code of the project's will run any more.
    """
    connection = connections[using]
    if connection.vendor != "postgresql":
        return
    with connection.cursor() as cursor:
        cursor.execute(_LIMIT_SILENCE, {"ms": round(conf.get_settings().LEASE_SECONDS * 1000)})


def hooks_allowed(using: str) -> AbstractContextManager[object]:
    """Open ``atomic()`` where the project has switched autocommit off, and nothing elsewhere.

    Only there ``on_commit()`` needs it: it would raise, after all had been written. The project's
    own ``commit()`` decides as before; a savepoint would commit at once on SQLite.
    """
    connection = connections[using]
    if connection.in_atomic_block or connection.get_autocommit():
        return nullcontext()
    return transaction.atomic(using=using, savepoint=False)


def in_write_transaction(using: str, work: Callable[[], _Result]) -> _Result:
    """Do ``work`` in a write transaction; again, if the database broke it up to end a deadlock.

    The engine's verbs take their locks in one order, so no two of them wait for each other. But a
    transaction of the project's may use several verbs, or lock rows of its own. A victim that has
    joined the caller's transaction cannot be repeated here: the error is the caller's.
    """
    tries = 1 if connections[using].in_atomic_block else _MOST_TRIES
    while True:
        tries -= 1
        try:
            with write_transaction(using):
                return work()
        except OperationalError as error:
            if not tries or not is_deadlock(error):
                raise


def is_deadlock(error: BaseException) -> bool:
    """Whether the database chose this statement to break up a deadlock."""
    cause = error.__cause__ or error
    is_told_by_state = getattr(cause, "sqlstate", None) == _DEADLOCK_STATE
    return is_told_by_state or cause.args[:1] == (_DEADLOCK_NUMBER,)


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
    _private.add(connection)
    return connection
