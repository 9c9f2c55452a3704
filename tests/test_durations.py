"""Durations: what the original reads is read alike, all else is refused with a clear sentence."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from django_openworkflow import durations
from django_openworkflow.durations import (
    MAX_DURATION,
    describe_value,
    parse_duration,
    to_moment,
    to_timedelta,
)
from django_openworkflow.exceptions import InvalidDuration, InvalidInput

# --- parse_duration -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        # from the tests of the original's core/duration.test.ts
        ("100ms", 100),
        ("1.5ms", 1.5),
        ("10.25ms", 10.25),
        ("53 milliseconds", 53),
        ("17 msecs", 17),
        ("100 millisecond", 100),
        ("100", 100),
        ("5000", 5000),
        ("1s", 1000),
        ("0.1s", 100),
        ("0.001s", 1),
        ("1 sec", 1000),
        ("10 secs", 10_000),
        (".5s", 500),
        (".5ms", 0.5),
        ("30m", 1_800_000),
        ("1 min", 60_000),
        ("10 mins", 600_000),
        ("1.5h", 5_400_000),
        ("0.25h", 900_000),
        ("1 hr", 3_600_000),
        ("3 hrs", 10_800_000),
        ("2 days", 172_800_000),
        ("0.5w", 302_400_000),
        ("2 weeks", 1_209_600_000),
        ("1mo", 2_629_800_000),
        ("0.5mo", 1_314_900_000),
        ("2 months", 5_259_600_000),
        ("1y", 31_557_600_000),
        ("2 yrs", 63_115_200_000),
        ("5M", 300_000),
        ("5H", 18_000_000),
        ("53 YeArS", 1_672_552_800_000),
        ("53 MiLliSeCondS", 53),
        ("5   m", 300_000),
        ("0", 0),
        ("0d", 0),
        # and ours
        ("7\td", 604_800_000),
        ("-0s", 0),
        ("000000012s", 12_000),
    ],
)
def test_reads_what_the_original_reads(text: str, milliseconds: float) -> None:
    assert parse_duration(text) == timedelta(milliseconds=milliseconds)


@pytest.mark.parametrize(
    ("units", "seconds"),
    [
        ("ms msec msecs millisecond milliseconds", 0.001),
        ("s sec secs second seconds", 1),
        ("m min mins minute minutes", 60),
        ("h hr hrs hour hours", 3600),
        ("d day days", 86_400),
        ("w week weeks", 604_800),
        ("mo month months", 2_629_800),
        ("y yr yrs year years", 31_557_600),
    ],
)
def test_every_unit_has_its_length(units: str, seconds: float) -> None:
    for unit in units.split():
        assert parse_duration(f"2{unit}") == timedelta(seconds=2 * seconds)
        assert parse_duration(f"2 {unit.upper()}") == timedelta(seconds=2 * seconds)


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "invalid", "ms", "s", "100x", "5z", "1h30m", "5s100ms", "5s!", "@5s"),
        *(" 5s", "5s ", "5s\n", "\n5s", "10-.5", "+5s", "--5s", "- 5s", "5-s", "5.s", ".s"),
        *("1e5s", "1E5", "1_000s", "1,5s", "0x10", "1/2h", "inf", "nan", "NaN s", "infinity"),
        *("5.5.5s", ".5.5s", "..5s", "5 constructor", "5 toString", "5 __proto__"),
        *(
            "\u0665s",
            "\uff15s",
            "\u00b2s",
            "5\u017f",
            "5 \u212ar",
            "5\x00s",
            "5\ud800",
            "5s\x00",
            "5\u00a0s",
        ),
    ],
)
def test_malformed_text_is_refused_in_the_words_of_the_original(text: str) -> None:
    with pytest.raises(InvalidDuration) as caught:
        parse_duration(text)
    assert str(caught.value) == f'Invalid duration format: "{text}"'


@pytest.mark.parametrize(
    ("value", "name"),
    [(5, "int"), (1.5, "float"), (None, "NoneType"), ([], "list"), (b"5s", "bytes")],
)
def test_a_value_that_is_no_text_is_named(value: Any, name: str) -> None:
    with pytest.raises(InvalidDuration) as caught:
        parse_duration(value)
    assert str(caught.value) == (f"Invalid duration format: expected a string but received {name}")


@pytest.mark.parametrize("text", ["-5s", "-.5h", "-1", "-0.0000001ms", "-1000 years"])
def test_a_negative_duration_is_refused_and_quoted(text: str) -> None:
    with pytest.raises(InvalidDuration) as caught:
        parse_duration(text)
    assert str(caught.value) == f'A duration cannot be negative: "{text}"'


@pytest.mark.parametrize("text", ["1000y", "365250d", "31557600000000ms"])
def test_a_thousand_years_are_allowed(text: str) -> None:
    assert parse_duration(text) == MAX_DURATION


@pytest.mark.parametrize("text", ["1001y", "31557600000000.0001ms", "9" * 90 + "years", "9" * 100])
def test_a_longer_duration_is_refused_before_anything_overflows(text: str) -> None:
    with pytest.raises(InvalidDuration) as caught:
        parse_duration(text)
    assert str(caught.value) == f'A duration cannot exceed 365250 days (1000 years): "{text}"'


@pytest.mark.parametrize(
    ("text", "microseconds"),
    [
        ("0.0015ms", 2),
        ("0.0025ms", 2),
        ("0.0005ms", 0),
        ("0.00050000000000000000000000000000000000000000000000001ms", 1),
        ("0.1s", 100_000),
        ("4.35s", 4_350_000),  # in binary floating point a little less
        ("31557599999.999999s", 31_557_599_999_999_999),
    ],
)
def test_decimals_are_exact_to_the_microsecond(text: str, microseconds: int) -> None:
    assert parse_duration(text) // timedelta.resolution == microseconds


@pytest.mark.parametrize(
    "text",
    [
        *("9" * 100_000, "." * 100_000, "-" * 100_000, " " * 100_000, "s" * 100_000),
        *("1" + " " * 100_000, "1" + "s" * 100_000, "1." * 50_000, "1s" * 50_000, "1" * 99 + "ss"),
    ],
    ids=range(10),
)
def test_a_hostile_length_never_reaches_the_grammar(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(durations, "_GRAMMAR", None)
    with pytest.raises(InvalidDuration) as caught:
        parse_duration(text)
    assert str(caught.value) == (
        f"Invalid duration format: {len(text)} characters, at most 100 are allowed"
    )


@given(st.text() | st.text("0123456789.- smhdwyoMS"))
@example("1 s")
@example("1" * 100)
@example("." * 100)
@example("1" + " " * 98 + "!")
def test_any_text_is_a_duration_within_the_limits_or_refused(text: str) -> None:
    try:
        span = parse_duration(text)
    except InvalidDuration:
        return
    assert timedelta() <= span <= MAX_DURATION


@given(st.timedeltas(min_value=timedelta(), max_value=MAX_DURATION))
def test_every_span_can_be_written_in_milliseconds(span: timedelta) -> None:
    microseconds = span // timedelta.resolution
    assert parse_duration(f"{microseconds // 1000}.{microseconds % 1000:03} ms") == span


# --- to_timedelta -------------------------------------------------------------------------------


def test_text_and_timedelta_are_both_spans() -> None:
    assert to_timedelta("1.5h") == timedelta(minutes=90)
    assert to_timedelta(timedelta(minutes=90)) == timedelta(minutes=90)
    assert to_timedelta(timedelta()) == timedelta()
    assert to_timedelta(MAX_DURATION) == MAX_DURATION


@pytest.mark.parametrize(
    ("span", "problem"),
    [
        (timedelta(microseconds=-1), "cannot be negative"),
        (timedelta.min, "cannot be negative"),
        (MAX_DURATION + timedelta.resolution, "cannot exceed 365250 days"),
        (timedelta.max, "cannot exceed 365250 days"),
    ],
)
def test_a_timedelta_beyond_the_limits_is_refused(span: timedelta, problem: str) -> None:
    with pytest.raises(InvalidDuration, match=problem):
        to_timedelta(span)


NOT_A_SPAN: list[tuple[Any, str]] = [
    (5, "5"),
    (0, "0"),
    (1.5, "1.5"),
    (float("nan"), "nan"),
    (float("inf"), "inf"),
    (True, "True"),
    (None, "None"),
    (b"5s", "b'5s'"),
    (date(2026, 1, 31), "datetime.date(2026, 1, 31)"),
    (10**5000, "a value of type int"),
    (["5s"] * 100, "a value of type list"),
]


@pytest.mark.parametrize(("value", "shown"), NOT_A_SPAN, ids=range(len(NOT_A_SPAN)))
def test_a_value_without_a_unit_is_refused_with_advice(value: Any, shown: str) -> None:
    with pytest.raises(InvalidDuration) as caught:
        to_timedelta(value)
    assert str(caught.value) == (
        f'{shown} is not a duration: give text such as "5s" or a timedelta'
    )


def test_a_point_in_time_is_no_duration() -> None:
    with pytest.raises(InvalidDuration, match="is not a duration"):
        to_timedelta(datetime(2026, 1, 31, tzinfo=UTC))  # type: ignore[arg-type]


def test_a_broken_repr_does_not_break_the_message() -> None:
    class Broken:
        def __repr__(self) -> str:
            raise RuntimeError

    assert describe_value(Broken()) == "a value of type Broken"


# --- to_moment ----------------------------------------------------------------------------------


def test_an_aware_datetime_passes_unchanged() -> None:
    moment = datetime(2026, 1, 31, 8, tzinfo=timezone(timedelta(hours=2)))
    assert to_moment(moment) is moment


def test_text_and_timedelta_count_from_now() -> None:
    assert to_moment("5m") == timedelta(minutes=5)
    assert to_moment(timedelta(minutes=5)) == timedelta(minutes=5)


def test_a_naive_datetime_is_refused_with_advice() -> None:
    with pytest.raises(InvalidInput, match=r"no time zone.*aware.*django\.utils\.timezone"):
        to_moment(datetime(2026, 1, 31))  # noqa: DTZ001 (the danger itself)


@pytest.mark.parametrize(
    "moment",
    [
        datetime.max.replace(tzinfo=timezone(-timedelta(hours=12))),
        datetime.min.replace(tzinfo=timezone(timedelta(hours=12))),
    ],
)
def test_a_time_beyond_the_calendar_in_utc_is_refused(moment: datetime) -> None:
    with pytest.raises(InvalidDuration, match="outside of the years 1 to 9999 in UTC"):
        to_moment(moment)


def test_the_ends_of_the_calendar_in_utc_are_exact() -> None:
    for moment in (datetime.max.replace(tzinfo=UTC), datetime.min.replace(tzinfo=UTC)):
        assert to_moment(moment) is moment


@pytest.mark.parametrize(("value", "shown"), NOT_A_SPAN, ids=range(len(NOT_A_SPAN)))
def test_a_value_that_is_no_time_is_refused_with_advice(value: Any, shown: str) -> None:
    with pytest.raises(InvalidDuration) as caught:
        to_moment(value)
    assert str(caught.value) == (
        f'{shown} is not a time: give text such as "5s", a timedelta or an aware datetime'
    )


@pytest.mark.parametrize("value", ["-5s", "soon", timedelta(-1), "1001y"])
def test_a_moment_has_the_limits_of_a_duration(value: Any) -> None:
    with pytest.raises(InvalidDuration):
        to_moment(value)
