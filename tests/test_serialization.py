"""Payloads: nothing changes silently. Errors: nothing keeps a failure from being stored."""

from __future__ import annotations

import json
import math
import runpy
from collections import OrderedDict, UserDict
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from http import HTTPStatus
from typing import Any
from uuid import UUID

import pytest
from django.utils.functional import SimpleLazyObject
from hypothesis import given
from hypothesis import strategies as st

from django_openworkflow import conf, serialization
from django_openworkflow.exceptions import InvalidPayload
from django_openworkflow.serialization import (
    PayloadDecoder,
    PayloadEncoder,
    clean_text,
    decode,
    describe_error,
    encode,
    plain_error,
)
from django_openworkflow.states import RunStatus


def encoded(value: object, limit: int = 10_000_000) -> str | None:
    return encode(value, what="input", limit=limit)


def refused(value: object, limit: int = 10_000_000) -> tuple[str, str]:
    with pytest.raises(InvalidPayload, match=r"^The input cannot be stored: \$") as caught:
        encoded(value, limit)
    return caught.value.path, caught.value.problem


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth - 1):
        value = [value]
    return value


def explode(_self: object, *_arguments: object) -> Any:
    raise KeyboardInterrupt


class Text(str):  # two of them are never equal, and none says what it holds
    __slots__ = ()
    __str__ = __format__ = explode
    __eq__, __hash__ = object.__eq__, object.__hash__


# --- values that would change -------------------------------------------------------------------

DIGITS = "an integer beyond 2**53 would lose digits: convert it to text first"
KEYS = ((1, "int"), (None, "NoneType"), (True, "bool"), (("a",), "tuple"))


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        *((value, f"{value} is not a JSON number") for value in (math.nan, math.inf, -math.inf)),
        *((value, DIGITS) for value in (2**53 + 1, -(2**53) - 1, 10**400)),
        *(({key: 1}, f"a key of type {name} is not text: convert it first") for key, name in KEYS),
        ({Text("a"): 1, Text("a"): 2}, "two of its keys are the same text"),
        ("a\0b", "the text holds a NUL character at position 1, remove it first"),
        ("a\udfff", "the text holds a lone surrogate at position 1, remove it first"),
        ("\ud83d\ude00", "the text holds a lone surrogate at position 0, remove it first"),
    ],
)
def test_a_value_that_would_change_is_refused_with_its_place(value: Any, problem: str) -> None:
    assert refused(value) == ("$", problem)
    assert refused({"items": [0, 1, 2, {"price": value}]}) == ("$.items[3].price", problem)
    assert refused(((value,),)) == ("$[0][0]", problem)
    assert refused({"größe": {"a b": {"": value}}}) == ('$.größe["a b"][""]', problem)


@pytest.mark.parametrize(
    ("values", "advice"),
    [
        ((datetime.now(UTC), date.min, time.min), "to text first, for example with .isoformat()"),
        ((timedelta(1),), "to a number first, for example with .total_seconds()"),
        ((Decimal("1.10"), UUID(int=0)), "to text first, for example with str()"),
        ((b"", bytearray(), memoryview(b"")), "to text first, for example with base64"),
        (({1}, frozenset()), "to a list first, for example with sorted()"),
        ((object(), object, 1j, UserDict(), {}.keys(), iter(())), "dict can be stored"),
        ((SimpleLazyObject(lambda: "text"),), "dict can be stored"),
    ],
)
def test_a_type_unknown_to_json_is_refused_with_advice(values: Any, advice: str) -> None:
    for value in values:
        path, problem = refused({"a": [value]})
        assert (path, problem.endswith(advice)) == ("$.a[0]", True)
        assert problem.startswith(f"a value of type {type(value).__name__} is not JSON: ")


def test_a_key_that_no_database_stores_is_refused() -> None:
    nul = "the text holds a NUL character at position 1, remove it first"
    assert refused({"a": {"b\0": 1}}) == ('$.a["b\\u0000"]', nul)
    assert refused({"a": {"\ud800": 1}})[0] == '$.a["\\ud800"]'
    assert refused({"k" * 1000: {1}})[0] == "$." + "k" * 40 + "..."


def test_a_circular_reference_is_named_and_not_followed() -> None:
    array: list[Any] = []
    array.append({"me": array})
    mapping: dict[str, Any] = {}
    mapping["self"] = mapping
    assert refused(array) == ("$[0].me", "it contains itself (a circular reference)")
    assert refused(mapping) == ("$.self", "it contains itself (a circular reference)")
    shared: list[Any] = [{}]
    assert encoded([shared, {"a": shared, "b": shared}]) == '[[{}],{"a":[{}],"b":[{}]}]'


def test_one_level_too_deep_is_refused_before_python_gives_up() -> None:
    assert encoded(nested(100)) == "[" * 100 + "]" * 100
    for value in (nested(101), nested(100_000)):
        assert refused(value) == ("$" + "[0]" * 100, "it is nested more than 100 levels deep")


# --- size ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["x" * 98, "é" * 49, [1] * 49, {"a": "x"}, "\n" * 49, [], {}])
def test_the_limit_counts_bytes_of_the_text_itself(value: Any) -> None:
    size = len(str(encoded(value)).encode())
    assert encoded(value, limit=size) == encoded(value)
    assert refused(value, limit=size - 1)[0] == "$"


@pytest.mark.parametrize(
    ("value", "size"),
    [
        ("é" * 98, "198"),
        ("x" * 2_000_000, "at least 2000002"),
        ([None] * 1_000_000, "at least 1000001"),
        (dict.fromkeys(map(str, range(1000))), "at least 2001"),
        ({"k" * 1000: 1}, "at least 1005"),
    ],
    ids=range(5),
)
def test_a_payload_that_is_too_large_is_refused_with_both_sizes(value: Any, size: str) -> None:
    assert refused(value, limit=100) == ("$", f"it takes {size} bytes, the limit is 100 bytes")


def test_a_huge_payload_is_not_read_to_its_end() -> None:
    bomb: list[Any] = ["boom"]
    for _ in range(50):
        bomb = [bomb] * 10  # 10**50 strings
    assert "the limit is 1000 bytes" in refused(bomb, limit=1000)[1]


def test_the_limit_is_the_setting(settings: Any) -> None:
    settings.OPENWORKFLOW = {"MAX_PAYLOAD_BYTES": 64}
    assert encode("x" * 62, what="output") == '"' + "x" * 62 + '"'
    with pytest.raises(InvalidPayload, match=r"^The output cannot be .* the limit is 64 bytes$"):
        encode("x" * 63, what="output")


def test_importing_reads_no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conf, "get_settings", None)
    assert runpy.run_path(serialization.__file__)["encode"](None, what="input") is None


# --- what is kept -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, None),
        ([None, True, False], "[null,true,false]"),
        ((1, (2,)), "[1,[2]]"),
        ([2**53, -(2**53)], "[9007199254740992,-9007199254740992]"),
        ([0.0, -0.0, 1.0, 1e22], "[0.0,0.0,1.0,1e+22]"),
        ('ä"\\\n\x7f\u2028😀', '"ä\\"\\\\\\n\x7f\u2028😀"'),
        ([RunStatus.PENDING, HTTPStatus.OK, Text("a")], '["pending",200,"a"]'),
        (OrderedDict(b={"d": 1, RunStatus.PENDING: 2}, a=3), '{"a":3,"b":{"d":1,"pending":2}}'),
        # as PostgreSQL 15 prints it, for every database
        ({"€": 1, "z": 1, "ä": 1, "aa": 1, "": 1, "B": 1}, '{"":1,"B":1,"z":1,"aa":1,"ä":1,"€":1}'),
    ],
)
def test_encodes_to_plain_compact_text_in_the_order_of_jsonb(value: Any, text: str | None) -> None:
    assert encoded(value) == text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *((None, None), ("null", None), ("1.0", 1.0)),
        *(("9007199254740992", 2**53), ("-9007199254740992", -(2**53))),
        *(("9007199254740993", 2.0**53), ("-10000000000000000", -1e16)),
        *(("10000000000000000000000", 1e22), ("1" + "0" * 308, 1e308), ("1" * 5000, math.inf)),
    ],
    ids=range(10),
)
def test_a_float_that_jsonb_prints_as_an_integer_stays_one(text: str | None, value: Any) -> None:
    assert repr(decode(text)) == repr(value)


storable = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
numbers = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
scalars = st.none() | st.booleans() | numbers | storable
payloads = st.recursive(scalars, lambda some: st.lists(some) | st.dictionaries(storable, some))


@given(payloads)
def test_what_is_read_back_equals_what_was_given(value: Any) -> None:
    text = str(encoded([value]))
    assert decode(text) == [value]
    assert encoded(decode(text), limit=len(text.encode())) == text
    assert json.dumps(decode(text), cls=PayloadEncoder) == text


@given(st.dictionaries(storable, st.none()))
def test_every_object_is_read_back_in_the_order_of_jsonb(value: dict[str, None]) -> None:
    keys = [key.encode() for key in decode(encoded(value))]
    assert keys == sorted(sorted(keys), key=len)


@given(st.floats(min_value=2**53, allow_infinity=False))
def test_a_large_float_survives_the_way_jsonb_prints_it(value: float) -> None:
    assert repr(decode(f"{Decimal(repr(value)):f}")) == repr(value)


def test_the_field_classes_follow_the_same_rules() -> None:
    assert json.dumps({"ä": [1, 2]}, cls=PayloadEncoder) == '{"ä":[1,2]}'
    assert json.dumps([1], cls=PayloadEncoder, indent=1) == "[\n 1\n]"
    assert repr(json.loads("[1, 10000000000000000000000]", cls=PayloadDecoder)) == "[1, 1e+22]"
    with pytest.raises(ValueError, match="not JSON compliant"):
        json.dumps(math.nan, cls=PayloadEncoder)


# --- errors -------------------------------------------------------------------------------------


def described(exc: BaseException) -> dict[str, str]:
    text = describe_error(exc)
    error: dict[str, str] = decode(text)
    assert encoded(error) == text  # storable on every database
    assert len(error["message"].encode()) <= 8 * 1024
    assert len(error["stack"].encode()) <= 32 * 1024
    return error


def raised(exc: BaseException, *, depth: int = 0, hidden: str = "") -> BaseException:
    try:
        if depth:
            raised(exc, depth=depth - 1)
        raise exc
    except BaseException as caught:
        return caught


def hostile(metaclass: type = type, **members: Any) -> BaseException:
    kind: Any = metaclass("Hostile", (Exception,), members)
    return raised(kind("words"))


def grouped(depth: int) -> Exception:
    group: Exception = ValueError("inside")
    for _ in range(depth):
        group = ExceptionGroup("deep", [group])
    return group


def circular() -> BaseException:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    return first


def test_an_error_has_the_form_of_the_original() -> None:
    error = described(raised(ValueError("no\0 \ud800 good"), hidden="hunter2"))
    assert list(error) == ["name", "stack", "message"]
    assert (error["name"], error["message"]) == ("ValueError", "no\ufffd \ufffd good")
    assert error["stack"].startswith("Traceback (most recent call last):")
    assert error["stack"].endswith("\nValueError: no\ufffd \ufffd good\n")
    assert "hunter2" not in error["stack"]  # no local variables


@pytest.mark.parametrize(
    ("exc", "name", "message"),
    [
        (hostile(__str__=explode, __repr__=explode), "Hostile", "(the message cannot be shown"),
        (hostile(__str__=lambda self: str(self)), "Hostile", "(the message cannot be shown"),
        (hostile(__str__=lambda _self: 7), "Hostile", "(the message cannot be shown"),
        (hostile(__str__=lambda _self: Text("lies")), "Hostile", "lies"),
        (hostile(__class__=property(explode)), "Hostile", "words"),
        (hostile(__notes__=property(explode)), "Hostile", "words"),
        (hostile(type("Meta", (type,), {"__name__": property(explode)})), "object", "words"),
        (circular(), "ValueError", "first"),
        (grouped(3000), "ExceptionGroup", "deep (1 sub-exception)"),
        (ExceptionGroup("wide", [ValueError()] * 9999), "ExceptionGroup", "wide (9999 sub-"),
        (raised(SystemExit(3)), "SystemExit", "3"),
        (ValueError("x" * 10**6), "ValueError", "x" * 8 * 1024),
        (ValueError("é" * 10**6), "ValueError", "é" * 4 * 1024),
    ],
    ids=range(13),
)
def test_a_hostile_exception_is_stored(exc: BaseException, name: str, message: str) -> None:
    error = described(exc)
    assert error["name"] == name
    assert error["message"].startswith(message)


@pytest.mark.parametrize("size", [30_000, 1_000_000])
def test_a_long_stack_keeps_both_ends(size: int) -> None:
    exc = raised(ValueError("outermost"), depth=300)
    exc.__cause__ = raised(ValueError("é" * size))
    stack = described(exc)["stack"]
    assert stack.startswith("Traceback (most recent call last):")
    assert "é\n... cut ...\n" in stack
    assert stack.endswith("\nValueError: outermost\n")


def test_when_all_fails_a_constant_is_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serialization, "_canonical", explode)
    assert decode(describe_error(ValueError()))["message"] == "The error could not be described"


def test_an_error_without_an_exception() -> None:
    assert plain_error("Too late") == '{"message":"Too late"}'
    cleaned = plain_error("m\0", name="N\ud800", code="C\0", limit=1000)
    assert cleaned == '{"code":"C\ufffd","name":"N\ufffd","limit":1000,"message":"m\ufffd"}'
    with pytest.raises(InvalidPayload, match=r"^The error cannot be stored: \$\.at: "):
        plain_error("Too late", at=datetime.now(UTC))


def test_a_cut_never_splits_a_character() -> None:
    for limit, clean in enumerate(("", "a", "a", "a", "a€", "a€", "a€", "a€\ufffd")):
        assert clean_text("a€\0\ud800", limit) == clean
        assert clean_text(Text("a€\ud800\0"), limit) == clean


@given(st.text(st.characters()), st.integers(0, 50))
def test_clean_text_is_storable_and_as_long_as_allowed(text: str, limit: int) -> None:
    size = len(clean_text(text, limit).encode())
    assert size <= limit
    assert size > limit - 4 or len(clean_text(text, limit)) == len(text)
    assert "\0" not in clean_text(text, limit)
