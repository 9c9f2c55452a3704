"""Output: a value stays inside its place, whatever it holds."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_openworkflow.management.output import (
    age,
    count_of,
    flatten,
    json_line,
    one_line,
    shorten,
    table,
)

HOSTILE = [
    ("a\nb", r"a\nb"),
    ("a\r\nb", r"a\r\nb"),
    ("\x1b[2J\x1b[31m", r"\x1b[2J\x1b[31m"),
    ("\x9b31m", r"\x9b31m"),  # the one-byte form of ESC [
    ("\x00\x07\x08\x7f", r"\x00\x07\x08\x7f"),
    ("a\u2028b\u2029c\x85d", r"a\u2028b\u2029c\x85d"),
    ("\u202egnp.exe", r"\u202egnp.exe"),  # turns the writing direction
    ("\ud800", r"\ud800"),
    ("zero\u200bwidth", r"zero\u200bwidth"),
]


@pytest.mark.parametrize(("value", "shown"), HOSTILE)
def test_one_line_escapes_what_forges_lines_or_steers_a_terminal(value: str, shown: str) -> None:
    assert one_line(value) == shown


@pytest.mark.parametrize("value", ["", "process-order", "größe", "注文", "🙂", "tab-free text"])
def test_one_line_leaves_ordinary_text_alone(value: str) -> None:
    assert one_line(value) == value


@given(st.text(st.characters(exclude_categories=[])))
def test_one_line_is_always_printable(value: str) -> None:
    assert one_line(value).isprintable()


def test_flatten_puts_a_databases_message_on_one_line() -> None:
    assert flatten("failed:\n\tIs it running?\n \x1b[0m") == r"failed: Is it running? \x1b[0m"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("", ""),
        ("ten chars!", "ten chars!"),
        ("eleven char", "eleven ..."),
        ("\n" * 5, r"\n\n\n\n\n"),
        ("\n" * 6, r"\n\n\n\..."),
        ("注文注文注", "注文注文注"),
        ("注文注文注文", "注文注..."),
        ("e\u0301" * 4, "e\u0301" * 4),
        ("\u0301" * 1000, "\u0301" * 11 + "..."),
    ],
)
def test_shorten_counts_what_a_terminal_shows(value: str, shown: str) -> None:
    assert shorten(value, 10) == shown


@given(st.text(st.characters(exclude_categories=[])), st.integers(min_value=4, max_value=80))
def test_shorten_never_grows_beyond_its_width_nor_its_line(value: str, width: int) -> None:
    line = shorten(value, width)
    assert line.isprintable()
    assert len(line) <= width + 4


def test_shorten_of_a_huge_value_is_cheap() -> None:
    assert shorten("\x1b" * 10_000_000, 60).endswith("...")


def test_table_aligns_columns_wide_and_combining_characters_included() -> None:
    rows = [["注文", "x", "end"], ["e\u0301", "yy", ""], ["plain", "", "end"]]
    assert table(["A", "B", "C"], rows) == "\n".join(
        ["A      B   C", "注文   x   end", "e\u0301      yy", "plain      end"]
    )


def test_json_line_is_one_ascii_line_that_reads_back_equal() -> None:
    value = {"text": "ü\n\x1b\x7f\x9b\u2028\ud800🙂", "list": [1, 2.5, None, True]}
    line = json_line(value)
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line) == value


def test_json_line_writes_ids_and_times_as_text() -> None:
    pk = UUID(int=7)
    moment = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
    assert json.loads(json_line([pk, moment])) == [str(pk), "2026-01-02T03:04:05.678901+00:00"]


@pytest.mark.parametrize(
    ("number", "shown"), [(0, "0 child runs"), (1, "1 child run"), (2, "2 child runs")]
)
def test_count_of_knows_the_plural(number: int, shown: str) -> None:
    assert count_of(number, "child run") == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(-5, "0s"), (0, "0s"), (59.9, "59s"), (60, "1m"), (7199, "1h"), (86_400, "1d"), (9e6, "104d")],
)
def test_age_is_told_in_its_longest_whole_unit(seconds: float, shown: str) -> None:
    assert age(timedelta(seconds=seconds)) == shown
