"""The one clock: the database's statement clock, and the offset that tests may give it.

Leases, availability, retries and deadlines are decided by the database alone, and by its statement
clock: a transaction's clock stands still in a long transaction, and a worker's may be wrong.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.db import connections
from django.db.models import DateTimeField, DurationField, ExpressionWrapper, Func, Value
from django.db.models.functions import Now

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.models.expressions import Combinable
    from django.db.models.sql.compiler import SQLCompiler

_offset = timedelta()


class NowMilliseconds(Func):
    """The statement clock in whole milliseconds: the default of ``created_at``.

    The original pages by a cursor with three fractional digits and skips rows that have more.
    Source: the original's ``core/cursor.ts``.
    """

    function = "NOW"
    output_field = DateTimeField()

    def as_mysql(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **_extra: Any
    ) -> tuple[str, tuple[Any, ...]]:
        """Render for MariaDB and MySQL."""
        return "NOW(3)", ()

    def as_postgresql(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **_extra: Any
    ) -> tuple[str, tuple[Any, ...]]:
        """Render for PostgreSQL; NOW() would be the transaction's clock there."""
        return "DATE_TRUNC('milliseconds', STATEMENT_TIMESTAMP())", ()

    def as_sqlite(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **_extra: Any
    ) -> tuple[str, tuple[Any, ...]]:
        """Render for SQLite, in the text form that Django stores."""
        return "STRFTIME('%%Y-%%m-%%d %%H:%%M:%%f', 'NOW')", ()


def moment(now: datetime | None = None, *, plus: timedelta | None = None) -> Combinable:
    """Return an expression for "now", or for ``now`` where a test gives it, ``plus`` a span."""
    start: Any = Now() if now is None else Value(now, output_field=DateTimeField())
    span = (plus or timedelta()) + (_offset if now is None else timedelta())
    if not span:
        return start  # type: ignore[no-any-return]
    return ExpressionWrapper(
        start + Value(span, output_field=DurationField()), output_field=DateTimeField()
    )


def read(using: str) -> datetime:
    """Read the clock of a database: one round trip, no table touched."""
    connection = connections[using]
    compiler_sql = {
        "postgresql": "SELECT STATEMENT_TIMESTAMP()",
        "sqlite": "SELECT STRFTIME('%Y-%m-%d %H:%M:%f', 'NOW')",
    }.get(connection.vendor, "SELECT CURRENT_TIMESTAMP(6)")
    with connection.cursor() as cursor:
        cursor.execute(compiler_sql)
        value = cursor.fetchone()[0]
    for convert in connection.ops.get_db_converters(ExpressionWrapper(Now(), DateTimeField())):
        value = convert(value, None, connection)
    result: datetime = value
    return result + _offset


def offset() -> timedelta:
    """Return by how much tests have moved the clock; zero in production."""
    return _offset


def shift(by: timedelta) -> None:
    """Move the clock of this process; for ``django_openworkflow.testing`` only."""
    global _offset
    _offset += by


def reset() -> None:
    """Undo all shifts."""
    global _offset
    _offset = timedelta()
