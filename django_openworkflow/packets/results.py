"""Rows as the server sends them in binary form: the few types that the statements of a turn return.

psycopg looks up a loader for each column of each result, and reads moments as text, in Python: too
much for what is done several times for every run.
"""

from __future__ import annotations

import struct
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from psycopg.adapt import Transformer

if TYPE_CHECKING:
    from collections.abc import Callable

    from psycopg import Connection
    from psycopg.pq.abc import PGresult

Rows = list[tuple[Any, ...]]

_BINARY: Final = 1
_SHORT, _INT, _BIGINT = struct.Struct(">h"), struct.Struct(">i"), struct.Struct(">q")
_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
_FIRST: Final = datetime.min.replace(tzinfo=UTC)
_LAST: Final = datetime.max.replace(tzinfo=UTC)


def rows_of(raw: Connection[Any], result: PGresult) -> Rows:
    """Return the rows of a result."""
    if not result.ntuples:
        return []
    columns = range(result.nfields)
    loaders = [_LOADERS.get(result.ftype(column)) for column in columns]
    if None in loaders or result.fformat(0) != _BINARY:
        return _read_by_psycopg(raw, result)
    get = result.get_value
    return [
        tuple(
            None if (value := get(row, column)) is None else load(value)  # type: ignore[misc]
            for column, load in zip(columns, loaders, strict=True)
        )
        for row in range(result.ntuples)
    ]


def _read_by_psycopg(raw: Connection[Any], result: PGresult) -> Rows:
    transformer = Transformer(raw)
    transformer.set_pgresult(result)
    return transformer.load_rows(0, result.ntuples, tuple)


def _moment(value: bytes) -> datetime:
    """Read a moment; those that Python's calendar does not have become its first or its last."""
    (microseconds,) = _BIGINT.unpack(value)
    try:
        return _EPOCH + timedelta(microseconds=microseconds)
    except OverflowError:
        return _FIRST if microseconds < 0 else _LAST


_LOADERS: Final[dict[int, Callable[[bytes], Any]]] = {
    16: lambda value: value == b"\x01",  # bool
    20: lambda value: _BIGINT.unpack(value)[0],
    21: lambda value: _SHORT.unpack(value)[0],
    23: lambda value: _INT.unpack(value)[0],
    25: bytes.decode,  # text
    1043: bytes.decode,  # varchar
    1184: _moment,  # timestamptz
    2950: lambda value: UUID(bytes=value),
    3802: lambda value: value[1:].decode(),  # jsonb, after its version; text, as Django has it
}
