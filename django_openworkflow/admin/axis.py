"""The time axis of a timeline: where a moment stands, and which marks tell the time.

Positions are fractions of the width. They leave this package as text such as ``12.5%``, never as
numbers, which a template would print with the decimal comma of some languages.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Final

from django_openworkflow.admin.spans import span_text

MOST_TICKS: Final = 8
# What a compressed wait takes, as a share of all that is not compressed.
_WAIT_SHARE: Final = 0.12
_CLOSEST: Final = 0.08  # between two marks of a compressed axis
_LAST_LABEL: Final = 0.97  # a later one would stand beyond the edge
_STEPS: Final = tuple(
    timedelta(milliseconds=number)
    for number in (
        *(factor * 10**power for power in (1, 2, 3) for factor in (1, 2, 5)),
        *(seconds * 1000 for seconds in (10, 15, 30, 60, 120, 300, 600, 900, 1800)),
        *(hours * 3_600_000 for hours in (1, 2, 3, 6, 12)),
        *(days * 86_400_000 for days in (1, 2, 7, 14, 30, 60, 91, 182, 365, 730, 3650)),
    )
)

Interval = tuple[datetime, datetime]


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark of the axis: where, and the time since the beginning."""

    x: str
    label: str


class Axis:
    """Maps moments to fractions of the width, evenly between its points."""

    def __init__(self, points: Sequence[tuple[datetime, float]]) -> None:
        self._moments = [moment for moment, _ in points]
        self._places = [place for _, place in points]

    @classmethod
    def even(cls, start: datetime, end: datetime) -> Axis:
        """Return the axis on which every second takes the same space."""
        return cls([(start, 0.0), (end, 1.0)])

    @classmethod
    def compressed(cls, start: datetime, end: datetime, busy: Iterable[Interval]) -> Axis:
        """Return an axis on which long spans in which nothing is at work take little space."""
        waits = idle(start, end, sorted(busy))
        at_work = (end - start) - sum((until - since for since, until in waits), timedelta())
        longest = max(at_work * _WAIT_SHARE, timedelta(milliseconds=1))
        points, place, at = [(start, timedelta())], timedelta(), start
        for since, until in waits:
            place += since - at
            points.append((since, place))
            place += min(until - since, longest)
            points.append((until, place))
            at = until
        points.append((end, place + (end - at)))
        total = points[-1][1] or timedelta(milliseconds=1)
        return cls([(moment, place / total) for moment, place in points])

    def at(self, moment: datetime) -> float:
        """Return the place of a moment, from 0 to 1."""
        index = min(max(bisect_right(self._moments, moment), 1), len(self._moments) - 1)
        since, until = self._moments[index - 1], self._moments[index]
        low, high = self._places[index - 1], self._places[index]
        share = (moment - since) / (until - since) if until > since else 0.0
        return low + (high - low) * min(max(share, 0.0), 1.0)

    def ticks(self) -> list[Tick]:
        """Return at most ``MOST_TICKS`` marks at round times, or where a compressed span ends."""
        start, end = self._moments[0], self._moments[-1]
        if self._moments[1:-1]:
            return self._ticks_at_points()
        step = _nice_step(end - start)
        count = int((end - start) / step)
        marks = [step * number for number in range(count + 1)]
        places = [(self.at(start + mark), mark) for mark in marks]
        return [_tick(place, mark) for place, mark in places if place < _LAST_LABEL]

    def _ticks_at_points(self) -> list[Tick]:
        found: list[Tick] = []
        last = -1.0
        for moment, place in zip(self._moments, self._places, strict=True):
            if place - last >= _CLOSEST and place <= 1 - _CLOSEST and len(found) < MOST_TICKS:
                found.append(_tick(place, moment - self._moments[0]))
                last = place
        return found


def percent(fraction: float) -> str:
    """Return a fraction as SVG takes it in every language."""
    return f"{fraction * 100:.2f}%"


def _tick(place: float, since_start: timedelta) -> Tick:
    return Tick(x=percent(place), label=span_text(since_start) if since_start else "0")


def _nice_step(span: timedelta) -> timedelta:
    for step in _STEPS:
        if span / step <= MOST_TICKS - 1:
            return step
    return span / (MOST_TICKS - 1)


def idle(start: datetime, end: datetime, busy: Sequence[Interval]) -> list[Interval]:
    """Return the spans between busy intervals, which are sorted, as far as there are any."""
    edges: list[Interval] = []
    at = start
    for since, until in busy:
        if since > at:
            edges.append((at, min(since, end)))
        at = max(at, until)
    if at < end:
        edges.append((at, end))
    return [(since, until) for since, until in edges if until > since]


def gaps(intervals: Sequence[Interval]) -> list[Interval]:
    """Return the spans between intervals that follow each other."""
    return [(left[1], right[0]) for left, right in pairwise(intervals) if right[0] > left[1]]
