"""Statements as the server receives them: numbered parameters, arrays in binary form.

psycopg would find out for each value how to send it. Here the statement says so in its casts, which
also gives every parameter the same type on the server, whatever the values.
"""

from __future__ import annotations

import re
import struct
from datetime import datetime, timedelta
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from uuid import UUID

Encoded = tuple[bytes | None, int]  # the value, and 1 for the binary form

_PARAMETER: Final = re.compile(r"%\((\w+)\)[sb](?:::(\w+(?:\[\])?))?")
_TEXT, _BINARY = 0, 1
# Dimensions, a flag for NULLs that is not looked at, the type of the elements; size, lower bound.
_HEADER: Final = struct.Struct(">iiIii")
_LENGTH: Final = struct.Struct(">i")
_NULL: Final = _LENGTH.pack(-1)
_UUID_OID, _TEXT_OID, _BOOL_OID = 2950, 25, 16
_UUID_LENGTH: Final = _LENGTH.pack(16)
_TRUE, _FALSE = _LENGTH.pack(1) + b"\x01", _LENGTH.pack(1) + b"\x00"


class Query:
    """A statement with ``$1`` for ``%(name)s``, and its name on the server once it is prepared."""

    __slots__ = ("_encoders", "name", "sql")

    def __init__(self, sql: str) -> None:
        places: dict[str, int] = {}
        self._encoders: dict[str, Callable[[Any], Encoded]] = {}

        def number(match: re.Match[str]) -> str:
            name, kind = match.groups()
            place = places.setdefault(name, len(places) + 1)
            encoder = _ENCODERS.get(kind or "")
            if encoder is not None or name not in self._encoders:
                self._encoders[name] = encoder or _scalar
            return f"${place}" + (f"::{kind}" if kind else "")

        self.sql = _PARAMETER.sub(number, sql).encode()
        self.name = b"openworkflow_" + sha256(self.sql).hexdigest()[:16].encode()

    @property
    def names(self) -> list[str]:
        """The names of the parameters in the order of their numbers."""
        return list(self._encoders)

    def encode(self, parameters: dict[str, Any]) -> tuple[list[bytes | None], list[int]]:
        """Return the values in their order, and the format of each."""
        encoded = [encode(parameters[name]) for name, encode in self._encoders.items()]
        return [value for value, _ in encoded], [form for _, form in encoded]


@lru_cache(maxsize=256)
def query(sql: str) -> Query:
    """Return the form of a statement for the server; there are few, and they are constants."""
    return Query(sql)


# --- values ---------------------------------------------------------------------------------------


def _array(oid: int, elements: Sequence[bytes]) -> Encoded:
    if not elements:
        return _HEADER.pack(0, 0, oid, 0, 0)[:12], _BINARY
    return _HEADER.pack(1, 1, oid, len(elements), 1) + b"".join(elements), _BINARY


def _uuids(values: Sequence[UUID]) -> Encoded:
    return _array(_UUID_OID, [_UUID_LENGTH + value.bytes for value in values])


def _texts(values: Sequence[str | None] | None) -> Encoded:
    if values is None:
        return None, _BINARY
    return _array(_TEXT_OID, [_text(value) for value in values])


def _text(value: str | None) -> bytes:
    if value is None:
        return _NULL
    data = value.encode()
    return _LENGTH.pack(len(data)) + data


def _bools(values: Sequence[bool]) -> Encoded:
    return _array(_BOOL_OID, [_TRUE if value else _FALSE for value in values])


def _scalar(value: Any) -> Encoded:
    return (None if value is None else _literal(value).encode()), _TEXT


def _scalars(values: Sequence[Any]) -> Encoded:
    """Encode an array whose elements are numbers or moments: nothing that needs quotes inside."""
    literals = ("NULL" if value is None else f'"{_literal(value)}"' for value in values)
    return f"{{{','.join(literals)}}}".encode(), _TEXT


def _literal(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, timedelta):
        return f"{value.days} days {value.seconds} seconds {value.microseconds} microseconds"
    return str(value)


_ENCODERS: Final[dict[str, Callable[[Any], Encoded]]] = {
    "uuid[]": _uuids,
    "text[]": _texts,
    "bool[]": _bools,
    "int[]": _scalars,
    "interval[]": _scalars,
    "timestamptz[]": _scalars,
}
