"""Durations as people write them: ``"500ms"``, ``"1.5 hours"``, ``"7d"``, or a ``timedelta``.

Source: the original's ``core/duration.ts``; the grammar is in the wire format, "Durations".
"""

from __future__ import annotations

import calendar
import re
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Final

from django_openworkflow.exceptions import InvalidDuration

MAX_DURATION: Final = timedelta(days=365_250)  # 1000 years of 365.25 days
MAX_LENGTH: Final = 100  # characters; bounds the work that a hostile text can cause

_SECOND: Final = 1_000_000  # all in microseconds, the resolution of a timedelta
_MINUTE: Final = 60 * _SECOND
_HOUR: Final = 60 * _MINUTE
_DAY: Final = 24 * _HOUR
_YEAR: Final = 31_557_600 * _SECOND  # 365.25 days, so that twelve months are one year
_MICROSECONDS: Final[dict[str, int]] = {
    **dict.fromkeys(("ms", "msec", "msecs", "millisecond", "milliseconds"), 1000),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), _SECOND),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), _MINUTE),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), _HOUR),
    **dict.fromkeys(("d", "day", "days"), _DAY),
    **dict.fromkeys(("w", "week", "weeks"), 7 * _DAY),
    **dict.fromkeys(("mo", "month", "months"), _YEAR // 12),
    **dict.fromkeys(("y", "yr", "yrs", "year", "years"), _YEAR),
}
# The original also reads ".5.5", as ".5": it drops the rest. Here that is malformed.
_GRAMMAR: Final = re.compile(r"(-?(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+))\s*([A-Za-z]+)?", re.ASCII)
# Exact for every text of MAX_LENGTH characters times the longest unit.
_EXACT: Final = Context(prec=MAX_LENGTH + 20, rounding=ROUND_HALF_EVEN)


def parse_duration(text: str) -> timedelta:
    """Return the span that ``text`` names, exact to the microsecond (half a one goes to the even).

    A number, optional blanks, and a unit in any case; without a unit it is milliseconds.

    Raises:
        InvalidDuration: malformed, negative, or above ``MAX_DURATION``.

    Source: the original's ``parseDuration``, which also takes negative values.
    """
    _check_text(text)
    match = _GRAMMAR.fullmatch(text)
    unit = _MICROSECONDS.get((match[2] or "ms").lower()) if match else None
    if match is None or unit is None:
        problem = f'Invalid duration format: "{text}"'
        raise InvalidDuration(problem)
    return _within_limits(_EXACT.multiply(Decimal(match[1]), Decimal(unit)), f'"{text}"')


def to_timedelta(value: str | timedelta) -> timedelta:
    """Return ``value`` as a span from zero to ``MAX_DURATION``.

    Raises:
        InvalidDuration: for anything else, numbers included: they carry no unit.
    """
    return _span(value, 'not a duration: give text such as "5s" or a timedelta')


def to_moment(value: str | timedelta | datetime) -> timedelta | datetime:
    """Return what a "when" argument means: an aware ``datetime`` as it is, or a span from now.

    Raises:
        InvalidDuration: for a naive ``datetime``, for one that has no equivalent in UTC (at the
            ends of the calendar), and wherever ``to_timedelta`` does.
    """
    if not isinstance(value, datetime):
        return _span(value, 'not a time: give text such as "5s", a timedelta or an aware datetime')
    if value.utcoffset() is None:
        problem = (
            f"{value!r} has no time zone: give an aware datetime, for example from "
            f"django.utils.timezone.now() or django.utils.timezone.make_aware()"
        )
        raise InvalidDuration(problem)
    try:
        value.astimezone(UTC)
    except OverflowError:
        problem = f"{value!r} lies outside of the years 1 to 9999 in UTC"
        raise InvalidDuration(problem) from None
    return value


def describe_value(value: object) -> str:
    """Name a value in a message, by its class where its own words are long or fail."""
    try:
        shown = repr(value)
    except Exception:  # a repr may raise anything, that of a very long int does
        shown = ""
    return shown if 0 < len(shown) <= MAX_LENGTH else f"a value of type {type(value).__name__}"


def _check_text(text: object) -> None:
    if not isinstance(text, str):
        problem = f"expected a string but received {type(text).__name__}"
    elif len(text) > MAX_LENGTH:
        problem = f"{len(text)} characters, at most {MAX_LENGTH} are allowed"
    else:
        return
    raise InvalidDuration("Invalid duration format: " + problem)


def _span(value: object, refusal: str) -> timedelta:
    if isinstance(value, str):
        return parse_duration(value)
    if isinstance(value, timedelta):
        return _within_limits(Decimal(value // timedelta.resolution), repr(value))
    problem = f"{describe_value(value)} is {refusal}"
    raise InvalidDuration(problem)


def _within_limits(microseconds: Decimal, shown: str) -> timedelta:
    # The comparison is exact and comes first: a timedelta overflows, at other limits than ours.
    if microseconds < 0:
        problem = f"A duration cannot be negative: {shown}"
        raise InvalidDuration(problem)
    if microseconds > MAX_DURATION // timedelta.resolution:
        problem = f"A duration cannot exceed {MAX_DURATION.days} days (1000 years): {shown}"
        raise InvalidDuration(problem)
    return timedelta(microseconds=int(microseconds.to_integral_value(ROUND_HALF_EVEN)))


def one_year_after(moment: datetime) -> datetime:
    """Return the same time a calendar year later, 29 February becoming 1 March.

    Source: the original's ``step-history.ts``, the default timeout of waits.
    """
    if (moment.month, moment.day) == (2, 29) and not calendar.isleap(moment.year + 1):
        return moment.replace(year=moment.year + 1, month=3, day=1)
    return moment.replace(year=moment.year + 1)
