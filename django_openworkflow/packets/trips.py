"""One trip to the server for a whole transaction, on the connection that Django holds.

All statements leave in one packet and all replies come back in one, in libpq's pipeline mode. That
is done here and not by psycopg's own ``pipeline()``, which sends statement by statement: then the
server and this process wake each other for every one of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from psycopg import errors
from psycopg.pq import ExecStatus, TransactionStatus
from psycopg.waiting import Ready, Wait

from django_openworkflow.packets.results import rows_of
from django_openworkflow.packets.wire import query

if TYPE_CHECKING:
    from collections.abc import Generator

    from django.db.backends.base.base import BaseDatabaseWrapper
    from psycopg import Connection
    from psycopg.pq.abc import PGconn, PGresult

    from django_openworkflow.packets.results import Rows
    from django_openworkflow.packets.wire import Query

Statement = tuple["Query", dict[str, Any]]

_OPTION: Final = "prepare_threshold"
_BEGIN, _COMMIT = query("BEGIN"), query("COMMIT")
_NOTHING: Final[dict[str, Any]] = {}
_GOOD: Final = (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK)
_UNKNOWN: Final = TransactionStatus.UNKNOWN
_BINARY: Final = 1
_NOT_PREPARED: Final = (errors.InvalidSqlStatementName, errors.DuplicatePreparedStatement)
# What each connection has prepared on its server; None if that is in vain.
_prepared: WeakKeyDictionary[Connection[Any], set[bytes] | None] = WeakKeyDictionary()


class Trip:
    """The statements of one transaction, and their rows once it has been made."""

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self._connection = connection
        self._sent: list[Statement] = []
        self._are_read: list[bool] = []

    def add(self, sql: str, parameters: dict[str, Any], *, is_read: bool = True) -> int:
        """Add a statement; return the place of its rows, if they are to be read."""
        self._sent.append((query(sql), parameters))
        self._are_read.append(is_read)
        return len(self._sent) - 1

    def make(self) -> list[Rows]:
        """Send everything, commit, and return the rows of each statement.

        Raises Django's database errors; nothing was written then, unless the commit is in doubt.
        """
        block = [(_BEGIN, _NOTHING), *self._sent, (_COMMIT, _NOTHING)]
        raw, results = _send_and_wait(self._connection, block)
        return [
            rows_of(raw, result) if is_read else []
            for result, is_read in zip(results[1:-1], self._are_read, strict=True)
        ]


def ask(connection: BaseDatabaseWrapper, sql: str, parameters: dict[str, Any]) -> Rows:
    """Send one statement, which is a transaction of its own, and return its rows.

    Unlike Django's cursors it stays prepared, and is not planned anew each time. Raises as
    ``Trip.make`` does. Only where one ``may_ask``.
    """
    raw, (result,) = _send_and_wait(connection, [(query(sql), parameters)])
    return rows_of(raw, result)


def may_ask(connection: BaseDatabaseWrapper) -> bool:
    """Whether a statement may be its own transaction here, unseen by Django.

    Not where somebody wants to see the queries: a debug toolbar, a tracer, a test.
    """
    is_watched = bool(connection.execute_wrappers) or connection.queries_logged
    return not is_watched and is_ready(connection)


def is_ready(connection: BaseDatabaseWrapper) -> bool:
    """Whether a transaction may begin and end here: nobody has one open on this connection."""
    connection.ensure_connection()
    return not connection.in_atomic_block and connection.get_autocommit()


def may_prepare(connection: BaseDatabaseWrapper) -> bool:
    """Whether statements may stay prepared on the server.

    A pooler that lends server connections by the transaction may not allow it. Then the project has
    told Django so: ``"prepare_threshold": None`` in OPTIONS, or ``DISABLE_SERVER_SIDE_CURSORS``.
    """
    settings = connection.settings_dict
    is_forbidden = settings["OPTIONS"].get(_OPTION, 0) is None
    return not is_forbidden and not settings.get("DISABLE_SERVER_SIDE_CURSORS")


def _send_and_wait(
    connection: BaseDatabaseWrapper, statements: list[Statement]
) -> tuple[Connection[Any], list[PGresult]]:
    """Exchange statements; once more, unprepared, if the server does not know them any more."""
    raw: Connection[Any] = connection.connection
    with connection.wrap_database_errors:
        try:
            return raw, _exchange(raw, statements, is_prepared=may_prepare(connection))
        except _NOT_PREPARED:
            # A pooler has changed the server's connection under ours. Nothing was written.
            _roll_back(raw)
            _prepared[raw] = None
            return raw, _exchange(raw, statements, is_prepared=False)
        except BaseException:
            _roll_back(raw)
            raise


def _roll_back(raw: Connection[Any]) -> None:
    if not raw.closed and raw.info.transaction_status != TransactionStatus.IDLE:
        raw.rollback()


# --- the packet -----------------------------------------------------------------------------------


def _exchange(
    raw: Connection[Any], statements: list[Statement], *, is_prepared: bool
) -> list[PGresult]:
    """Send statements in one packet and return their results."""
    pgconn = raw.pgconn
    known = _prepared.setdefault(raw, set()) if is_prepared else None
    with raw.lock:
        pgconn.enter_pipeline_mode()
        try:
            new = [_send(pgconn, each, parameters, known) for each, parameters in statements]
            pgconn.pipeline_sync()
            replies = iter(raw.wait(_communicate(pgconn)))
        finally:
            if pgconn.transaction_status != _UNKNOWN:
                pgconn.exit_pipeline_mode()
    results = []
    for name in new:
        if name is not None and known is not None:
            _checked(raw, next(replies))
            known.add(name)
        results.append(_checked(raw, next(replies)))
    return results


def _send(
    pgconn: PGconn, each: Query, parameters: dict[str, Any], known: set[bytes] | None
) -> bytes | None:
    """Put a statement into the packet; return its name if it is prepared first."""
    values, formats = each.encode(parameters)
    if known is None:
        pgconn.send_query_params(each.sql, values, param_formats=formats, result_format=_BINARY)
        return None
    is_new = each.name not in known
    if is_new:
        pgconn.send_prepare(each.name, each.sql)
    pgconn.send_query_prepared(each.name, values, param_formats=formats, result_format=_BINARY)
    return each.name if is_new else None


def _communicate(pgconn: PGconn) -> Generator[Wait, Ready | int, list[PGresult]]:
    """Let the packet leave while replies arrive, and collect the replies."""
    while pgconn.flush():
        if (yield Wait.RW) & Ready.R:
            pgconn.consume_input()
    replies: list[PGresult] = []
    while True:
        while pgconn.is_busy():
            yield Wait.R
            pgconn.consume_input()
        reply = pgconn.get_result()
        if reply is None:
            continue
        if reply.status == ExecStatus.PIPELINE_SYNC:
            return replies
        replies.append(reply)


def _checked(raw: Connection[Any], result: PGresult) -> PGresult:
    if result.status not in _GOOD:
        raise errors.error_from_result(result, encoding=raw.info.encoding)
    return result
