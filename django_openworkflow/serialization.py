"""Payloads and errors as JSON text, the same text for every database.

Strict on the way in: what JSON, PostgreSQL or JavaScript would change without a word is refused at
the call, with its place. What is read back therefore equals what was given, except that a tuple is
a list and a member of an enum is its plain value. Source: the wire format, "NULL / JSON rules".
"""

from __future__ import annotations

import json
import math
import re
import sys
import traceback
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from types import NoneType
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeAlias
from uuid import UUID

from django_openworkflow import conf
from django_openworkflow.exceptions import InvalidPayload

if TYPE_CHECKING:
    from collections.abc import Callable

JSONValue: TypeAlias = bool | int | float | str | list[Any] | dict[str, Any] | None

MAX_DEPTH: Final = 100  # lists and objects inside of each other
MAX_INTEGER: Final = 2**53  # JavaScript rounds what is beyond
NAME_BYTES: Final = 200
MESSAGE_BYTES: Final = 8 * 1024
STACK_BYTES: Final = 32 * 1024
STACK_FRAMES: Final = 500  # the innermost; more than STACK_BYTES can show

_UNSTORABLE: Final = re.compile("[\0\ud800-\udfff]")  # NUL and lone surrogates
_CUT: Final = "\n... cut ...\n"
_LAST_RESORT: Final = '{"name":"Exception","message":"The error could not be described"}'
_NO_MESSAGE: Final = "(the message cannot be shown: str() of the exception failed)"
_NO_STACK: Final = "(the traceback cannot be shown: formatting it failed)"
_SHOWN_KEY: Final = 40  # characters of a key in a path
_KINDS: Final = "only None, bool, int, float, str, list, tuple and dict can be stored"
_ADVICE: Final[tuple[tuple[tuple[type, ...], str], ...]] = (
    ((date, datetime, time), "convert it to text first, for example with .isoformat()"),
    ((timedelta,), "convert it to a number first, for example with .total_seconds()"),
    ((Decimal, UUID), "convert it to text first, for example with str()"),
    ((bytes, bytearray, memoryview), "convert it to text first, for example with base64"),
    ((set, frozenset), "convert it to a list first, for example with sorted()"),
)


# --- payloads -----------------------------------------------------------------------------------


class PayloadEncoder(json.JSONEncoder):
    """For ``JSONField``: compact, not escaped beyond what JSON demands, never NaN or Infinity."""

    def __init__(self, **options: Any) -> None:
        """Override the options that ``json.dumps`` passes on; an indented text stays indented."""
        options.update(ensure_ascii=False, allow_nan=False)
        if options.get("indent") is None:
            options["separators"] = (",", ":")
        super().__init__(**options)


class PayloadDecoder(json.JSONDecoder):
    """For ``JSONField``: integers beyond ``MAX_INTEGER`` become floats.

    They were floats: jsonb prints 1e22 as an integer, and JavaScript has nothing else.
    """

    def __init__(self, **options: Any) -> None:
        """Override the reading of integers."""
        super().__init__(**{**options, "parse_int": _read_integer})


def encode(value: object, *, what: str, limit: int | None = None) -> str | None:
    """Return ``value`` as canonical JSON text, None (SQL NULL) for None.

    Canonical is what jsonb would give back: object keys by their length in UTF-8, then by their
    bytes. ``what`` names the payload in the error; ``limit`` is the longest text in bytes of UTF-8,
    the setting ``MAX_PAYLOAD_BYTES`` by default.

    Raises:
        InvalidPayload: the value would change, cannot be stored on every database, is nested more
            than ``MAX_DEPTH`` levels deep, refers to itself, or is too large.
    """
    if value is None:
        return None
    if limit is None:
        limit = conf.get_settings().MAX_PAYLOAD_BYTES
    return _canonical(value, what, limit)


def encode_stored(value: Any) -> str | None:
    """Encode what was read from the database once more: it is canonical, and it has been accepted.

    Whatever limits there are now: another client, or an earlier setting, may have had others.
    """
    return None if value is None else _ENCODER.encode(value)


def decode(text: str | None) -> Any:
    """Return the value of a JSON text, None for SQL NULL and for JSON's null alike."""
    return None if text is None else _DECODER.decode(text)


def _read_integer(digits: str) -> int | float:
    if len(digits) > len(str(-MAX_INTEGER)):  # int() is slow for long ones and refuses very long
        return float(digits)
    number = int(digits)
    return number if abs(number) <= MAX_INTEGER else float(number)


_ENCODER: Final = PayloadEncoder()
_DECODER: Final = PayloadDecoder()


def _canonical(value: object, what: str, limit: int, *, depth: int = MAX_DEPTH) -> str:
    text = _ENCODER.encode(_Walk(what, limit, depth).plain(value))
    size = len(text.encode())
    if size > limit:
        raise InvalidPayload(what, "$", _too_large(f"{size}", limit))
    return text


def _too_large(size: str, limit: int) -> str:
    return f"it takes {size} bytes, the limit is {limit} bytes"


class _Walk:
    """One walk over a value: copies it into plain types in canonical order, or names the place.

    Reads the storage of the built-in types, past whatever a subclass overrides.
    """

    def __init__(self, what: str, limit: int, depth: int) -> None:
        self.what = what
        self.limit = limit
        self.depth = depth
        self.size = 0  # bytes that the text has at least: stops a huge value early
        self.path: list[str | int] = []
        self.entered: set[int] = set()  # ids of the containers around the current place

    def plain(self, value: object) -> JSONValue:
        return (_READERS.get(type(value)) or _reader(type(value)))(self, value)

    def constant(self, value: JSONValue) -> JSONValue:
        self.spend(4)
        return value

    def integer(self, value: Any) -> int:
        self.spend(1)
        plain = int.__int__(value)
        if not -MAX_INTEGER <= plain <= MAX_INTEGER:
            self.refuse("an integer beyond 2**53 would lose digits: convert it to text first")
        return plain

    def real(self, value: Any) -> float:
        self.spend(3)
        plain = float.__float__(value)
        if not math.isfinite(plain):
            self.refuse(f"{plain} is not a JSON number")
        return plain + 0.0  # turns -0.0, which jsonb does not know, into 0.0

    def text(self, value: Any) -> str:
        plain = str.__str__(value)
        self.spend(len(plain) + 2)
        is_ascii = plain.isascii()  # known of every text: most are spared the search
        if (not is_ascii or "\0" in plain) and (found := _UNSTORABLE.search(plain)):
            kind = "a NUL character" if found[0] == "\0" else "a lone surrogate"
            self.refuse(f"the text holds {kind} at position {found.start()}, remove it first")
        return plain

    def sequence(self, value: Any) -> list[JSONValue]:
        kind = list if issubclass(type(value), list) else tuple
        self.spend(max(2, kind.__len__(value) + 1))
        self.enter(value)
        path, plain = self.path, list[JSONValue]()
        path.append(0)
        for index, item in enumerate(kind.__iter__(value)):
            path[-1] = index
            # As plain() does: of a long list, one more call for each item is felt.
            plain.append((_READERS.get(type(item)) or _reader(type(item)))(self, item))
        path.pop()
        self.entered.discard(id(value))
        return plain

    def mapping(self, value: Any) -> dict[str, JSONValue]:
        length = dict.__len__(value)
        self.spend(max(2, 2 * length + 1))  # before the keys are sorted
        self.enter(value)
        items = {self.key(key): item for key, item in dict.items(value)}
        if len(items) != length:
            self.refuse("two of its keys are the same text")
        path, plain = self.path, dict[str, JSONValue]()
        path.append("")
        for key in sorted(items, key=_jsonb_order):
            path[-1] = key
            plain[key] = self.plain(items[key])
        path.pop()
        self.entered.discard(id(value))
        return plain

    def key(self, key: object) -> str:
        if not issubclass(type(key), str):
            self.refuse(f"a key of type {_class_name(key)} is not text: convert it first")
        self.path.append(str.__str__(key))
        plain = self.text(key)
        self.path.pop()
        return plain

    def enter(self, container: object) -> None:
        if id(container) in self.entered:
            self.refuse("it contains itself (a circular reference)")
        if len(self.entered) == self.depth:
            self.refuse(f"it is nested more than {self.depth} levels deep")
        self.entered.add(id(container))

    def spend(self, size: int) -> None:
        self.size += size
        if self.size > self.limit:
            raise InvalidPayload(self.what, "$", _too_large(f"at least {self.size}", self.limit))

    def other(self, value: object) -> NoReturn:
        advice = next((words for kinds, words in _ADVICE if issubclass(type(value), kinds)), _KINDS)
        self.refuse(f"a value of type {_class_name(value)} is not JSON: {advice}")

    def refuse(self, problem: str) -> NoReturn:
        raise InvalidPayload(self.what, "$" + "".join(map(_place, self.path)), problem)


_READERS: Final[dict[type, Callable[[_Walk, Any], JSONValue]]] = {
    NoneType: _Walk.constant,
    bool: _Walk.constant,  # before int, which it is too
    str: _Walk.text,
    int: _Walk.integer,
    float: _Walk.real,
    list: _Walk.sequence,
    tuple: _Walk.sequence,
    dict: _Walk.mapping,
}


def _reader(kind: type) -> Callable[[_Walk, Any], JSONValue]:
    # Not isinstance(): it believes a __class__ that lies, as lazy objects and mocks have.
    return next((read for base, read in _READERS.items() if issubclass(kind, base)), _Walk.other)


def _jsonb_order(key: str) -> tuple[int, bytes]:
    """Source: PostgreSQL's ``lengthCompareJsonbStringValue`` in ``jsonb_util.c``."""
    stored = key.encode()
    return len(stored), stored


def _place(part: str | int) -> str:
    if isinstance(part, int):
        return f"[{part}]"
    short = part if len(part) <= _SHOWN_KEY else part[:_SHOWN_KEY] + "..."
    return f".{short}" if part.isidentifier() else f"[{json.dumps(short)}]"


# --- errors -------------------------------------------------------------------------------------


def describe_error(exc: BaseException) -> str:
    """Return the error object of an exception: its class, its words, and where it came from.

    Never raises, whatever the exception does, and never takes long: storing a failure must not
    fail. The stack holds no local variables. Source: the original's ``serializeError``.
    """
    try:
        error = {
            "name": _class_name(exc),
            "message": clean_text(_guarded(lambda: str(exc), _NO_MESSAGE), MESSAGE_BYTES),
            "stack": _head_and_tail(_guarded(lambda: _stack(exc), _NO_STACK), STACK_BYTES),
        }
        return _canonical(error, "error", sys.maxsize)
    except BaseException:  # out of memory, most likely
        return _LAST_RESORT


def plain_error(message: str, *, name: str | None = None, **extra: object) -> str:
    """Return the error object of a failure that is no exception; texts are cleaned.

    Raises:
        InvalidPayload: a value of ``extra`` is not JSON.
    """
    error = {"message": message, **({} if name is None else {"name": name}), **extra}
    cleaned = {
        key: clean_text(value, MESSAGE_BYTES) if isinstance(value, str) else value
        for key, value in error.items()
    }
    return _canonical(cleaned, "error", sys.maxsize)


def encode_error(error: dict[str, Any]) -> str:
    """Encode an error object once more; errors are bounded already, whatever the payload's limits.

    Raises:
        InvalidPayload: a value is not JSON.
    """
    return _canonical(error, "error", sys.maxsize, depth=sys.maxsize)


def clean_text(text: str, limit: int) -> str:
    """Return ``text`` as every database stores it, in at most ``limit`` bytes of UTF-8.

    NUL and lone surrogates become U+FFFD; the cut never splits a character.
    """
    start = str.__str__(text)[:limit]  # a character has at least one byte
    return _storable(start)[:limit].decode(errors="ignore")


def _storable(text: str) -> bytes:
    return _UNSTORABLE.sub("\ufffd", text).encode()


def _head_and_tail(text: str, limit: int) -> str:
    """Clean a long text and leave out its middle: a traceback tells most at its two ends."""
    if len(text) > 2 * limit:  # spares work; what is left is still too long
        text = text[:limit] + text[-limit:]
    data = _storable(text)
    if len(data) <= limit:
        return data.decode()
    half = (limit - len(_CUT)) // 2
    return data[:half].decode(errors="ignore") + _CUT + data[-half:].decode(errors="ignore")


def _stack(exc: BaseException) -> str:
    return "".join(traceback.format_exception(exc, limit=-STACK_FRAMES))


def _class_name(value: object) -> str:
    return clean_text(_guarded(lambda: type(value).__name__, "object"), NAME_BYTES)


def _guarded(read: Callable[[], str], otherwise: str) -> str:
    """Call what a stranger wrote; a ``__str__`` may even raise a ``BaseException``."""
    try:
        return str.__str__(read())
    except BaseException:
        return otherwise
