"""Arguments: nonsense is refused with a sentence that shows it, escaped."""

from __future__ import annotations

import json
from argparse import ArgumentTypeError
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_openworkflow.exceptions import InvalidInput
from django_openworkflow.management.arguments import (
    duration,
    names,
    parse_json,
    positive,
    seconds,
    stored_text,
)


def refusal(parse: Callable[[], object]) -> str:
    """Return the message of the refusal; empty when the text was taken."""
    try:
        parse()
    except (ArgumentTypeError, InvalidInput) as error:
        return str(error)
    return ""


TYPES: list[Callable[[str], Any]] = [positive, seconds, names, duration, stored_text]


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (positive, "1", 1),
        (positive, "10000", 10_000),
        (seconds, "0", 0.0),
        (seconds, "1.5", 1.5),
        (names, "a, b", ["a", "b"]),
        (duration, "0s", timedelta()),
        (duration, "90m", timedelta(minutes=90)),
        (stored_text, "line\nbreak", "line\nbreak"),
        (stored_text, "注文", "注文"),
    ],
)
def test_sense_is_read(parse: Callable[[str], Any], text: str, value: object) -> None:
    assert parse(text) == value


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        *((positive, text) for text in ("0", "-1", "1.5", "", "x", "10001", "9" * 5000, "1\n")),
        (positive, "²"),
        *((seconds, text) for text in ("-1", "nan", "inf", "1e9", "", "5s", "1\x00")),
        *((names, text) for text in ("", ",", "a,,b", " ")),
        *((duration, text) for text in ("-5s", "nan", "inf", "5 parsecs", "", "1h\x00", "9" * 200)),
        *((duration, text) for text in ("5\n\x1b[31m", "1001y", "1e3s", "\ud800")),
        *((stored_text, text) for text in ("", "a\x00b", "\udcff")),
    ],
)
def test_nonsense_is_refused_in_one_line(parse: Callable[[str], Any], text: str) -> None:
    with pytest.raises(ArgumentTypeError) as caught:
        parse(text)
    assert str(caught.value).isprintable()


@given(st.text(st.characters(exclude_categories=[])))
def test_no_text_makes_a_type_fail_otherwise(text: str) -> None:
    for parse in TYPES:
        assert refusal(lambda: parse(text)).isprintable()  # noqa: B023 - called at once


@pytest.mark.parametrize("value", [None, True, 0, -1.5, "x", [], {"a": [1, {"b": None}]}, "NaN"])
def test_json_is_read(value: object) -> None:
    assert parse_json(json.dumps(value), "--input") == value


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "Expecting value at line 1, column 1"),
        ("{", "Expecting property name enclosed in double quotes at line 1, column 2"),
        ('{"a": }', "Expecting value at line 1, column 7"),
        ("{'a': 1}", "Expecting property name enclosed in double quotes at line 1, column 2"),
        ('{\n"a": 1,\n"b": x}', "Expecting value at line 3, column 6"),
        ("1 2", "Extra data at line 1, column 3"),
        ('"a\x00b"', "Invalid control character at line 1, column 3"),
        ("\x00", "Expecting value at line 1, column 1"),
        ("NaN", "NaN is not a JSON number at line 1, column 1"),
        ('["NaN \\" Infinity",\n NaN]', "NaN is not a JSON number at line 2, column 2"),
        ('{"a": Infinity}', "Infinity is not a JSON number at line 1, column 7"),
        ("[1, -Infinity]", "-Infinity is not a JSON number at line 1, column 5"),
        ("\ufeff{}", "Unexpected UTF-8 BOM (decode using utf-8-sig) at line 1, column 1"),
    ],
)
def test_malformed_json_is_refused_with_its_place(text: str, problem: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_json(text, "--input")
    assert str(caught.value) == f"--input is not valid JSON: {problem}"


@pytest.mark.parametrize("text", ["[" * 100_000, "9" * 5000, '{"a":' * 100_000])
def test_json_bombs_are_refused_in_one_line(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"\A--data is not valid JSON: .+\Z") as caught:
        parse_json(text, "--data")
    assert str(caught.value).isprintable()


@given(st.text(alphabet='[]{}:,"\\ \nN aInfity-0123e.\x00\ud800'))
def test_no_text_makes_the_json_reader_fail_otherwise(text: str) -> None:
    assert refusal(lambda: parse_json(text, "--input")).isprintable()
