"""How many runs ended in each span of time, as bars. A pure function of counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _

from django_openworkflow.admin.axis import Tick, percent
from django_openworkflow.states import SUCCESSFUL, RunStatus

# From the bottom of a bar to its top.
_STACK: Final = (RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELED)
_TICKS: Final = 6
_GAP: Final = 0.12  # of a bar's place, between it and the next
_HEAD_ROOM: Final = 0.96

Ended = tuple[datetime, str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """The runs of one status that ended in one span."""

    x: str
    y: str
    width: str
    height: str
    kind: str
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Throughput:
    """All bars. ``most``: how many runs the highest stands for."""

    blocks: Sequence[Block]
    ticks: Sequence[Tick]
    most: int
    total: int


def build(ended: Iterable[Ended], since: datetime, until: datetime, span: timedelta) -> Throughput:
    """Return the bars of runs that ended between two moments, one for each ``span``."""
    places = max(round((until - since) / span), 1)
    counts: Counter[tuple[int, RunStatus]] = Counter()
    for minute, status, number in ended:
        place = min(max(int((minute - since) / span), 0), places - 1)
        kind = RunStatus.COMPLETED if status in SUCCESSFUL else RunStatus(status)
        counts[place, kind] += number
    heights = Counter[int]()
    for (place, _kind), number in counts.items():
        heights[place] += number
    most = max(heights.values(), default=0)
    blocks = []
    for place in sorted(heights):
        below = 0
        for kind in _STACK:
            if number := counts[place, kind]:
                blocks.append(
                    _block(place, places, below, number, most, kind, since + span * place)
                )
                below += number
    marks = [since + (until - since) * number / _TICKS for number in range(_TICKS)]
    ticks = [
        Tick(x=percent(number / _TICKS), label=_clock(mark)) for number, mark in enumerate(marks)
    ]
    return Throughput(blocks=blocks, ticks=ticks, most=most, total=heights.total())


def _block(  # noqa: PLR0913, PLR0917 - one place, six facts
    place: int,
    places: int,
    below: int,
    number: int,
    most: int,
    kind: RunStatus,
    began_at: datetime,
) -> Block:
    scale = _HEAD_ROOM / most
    return Block(
        x=percent((place + _GAP / 2) / places),
        width=percent((1 - _GAP) / places),
        y=percent(1 - (below + number) * scale),
        height=percent(number * scale),
        kind=kind.value,
        title=_("%(time)s: %(count)d %(status)s")
        % {"time": _clock(began_at), "count": number, "status": kind.label},
    )


def _clock(moment: datetime) -> str:
    return date_format(timezone.localtime(moment), "TIME_FORMAT")
