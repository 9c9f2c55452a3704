"""A run as a picture: one row per step, its tries as bars, its waits in between.

``build`` is a pure function of rows and the time: what it returns is drawn by a template alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby
from typing import TYPE_CHECKING, Final

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from django_openworkflow.admin.axis import Axis, Interval, Tick, gaps, idle, percent
from django_openworkflow.admin.badges import attempt_badge, run_badge, state_badge
from django_openworkflow.admin.spans import span_text
from django_openworkflow.states import WAITS, RunStatus, StepKind, StepStatus

if TYPE_CHECKING:
    from uuid import UUID

    from django_openworkflow.admin.badges import Badge
    from django_openworkflow.models import StepAttempt, WorkflowRun

MOST_ROWS: Final = 200
_NOTICED: Final = timedelta(seconds=5)  # a pause that is worth to be shortened
_THINNEST: Final = 0.004  # a bar that can still be seen


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One try. ``kind`` chooses the colour, ``title`` tells it in words."""

    x: str
    width: str
    kind: str
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """The pause before the next try."""

    x1: str
    x2: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One step. ``anchor`` is the id of the element that tells more of its last try, if any."""

    name: str
    badge: Badge
    took: str
    attempts: int = 0
    kind: str = ""
    anchor: str = ""
    attempt_id: UUID | None = None
    child_id: UUID | None = None
    is_run: bool = False
    bars: Sequence[Bar] = ()
    gaps: Sequence[Gap] = ()

    @property
    def words(self) -> str:
        """What the picture of this row says."""
        return ", ".join(bar.title for bar in self.bars)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """The whole picture. ``now``: where the present stands; None when the run has ended."""

    rows: Sequence[Row] = ()
    ticks: Sequence[Tick] = ()
    total: str = ""
    now: str | None = None
    has_long_waits: bool = False
    span: timedelta = field(default_factory=timedelta)


def build(
    run: WorkflowRun,
    attempts: Iterable[StepAttempt],
    now: datetime,
    *,
    compress: bool = False,
    began_at: datetime | None = None,
    told: Collection[UUID] | None = None,
) -> Timeline:
    """Return the timeline of a run from its step attempts, at ``now``.

    ``compress``: spans in which nothing but waiting happened take little space. ``began_at``: when
    the first try began, if it is none of these. ``told``: the tries that the page tells more of;
    None for all. At most ``MOST_ROWS`` steps, those that ended last, have a row of their own; one
    row before them stands for all others.
    """
    known = sorted(attempts, key=_began_at)
    began_at = began_at or (_began_at(known[0]) if known else None)
    start = min([run.created_at, *([began_at] if began_at else ()), *map(_began_at, known)])
    ends = [_ended_at(attempt, now) for attempt in known]
    end = max([run.finished_at or now, start + timedelta(milliseconds=1), *ends])
    busy = [(_began_at(one), _ended_at(one, now)) for one in known if one.kind not in WAITS]
    axis = Axis.compressed(start, end, busy) if compress else Axis.even(start, end)
    canvas = _Canvas(axis=axis, now=now, start=start, end=end, told=told)
    rest, steps = _latest(_by_step(known), now)
    rows = [canvas.run_row(run, began_at)]
    if rest:
        rows.append(canvas.rest_row([one for tries in rest for one in tries], len(rest)))
    rows += [canvas.step_row(tries) for tries in steps]
    return Timeline(
        rows=rows,
        ticks=axis.ticks(),
        total=span_text(end - start),
        now=None if run.is_terminal else percent(axis.at(now)),
        has_long_waits=_has_waits(known, start, end, busy) and _is_mostly_waiting(start, end, busy),
        span=end - start,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Canvas:
    axis: Axis
    now: datetime
    start: datetime
    end: datetime
    told: Collection[UUID] | None

    def run_row(self, run: WorkflowRun, began_at: datetime | None) -> Row:
        """Draw the run itself: queued until its first sign of life, then as it stands."""
        began_at = run.started_at or began_at
        ended_at = run.finished_at or self.now
        badge = run_badge(run)
        bars = []
        if began_at is None or began_at > self.start:
            bars.append(self._bar((self.start, began_at or ended_at), "queued", _("queued")))
        if began_at is not None:
            # Its own waits are told by its steps.
            at_work = state_badge(RunStatus.RUNNING) if not run.is_terminal else badge
            bars.append(self._bar((began_at, ended_at), at_work.kind, at_work.label))
        took = ended_at - (began_at or self.start)
        return Row(
            name=run.workflow_name,
            badge=badge,
            took=span_text(took),
            attempts=run.attempts,
            is_run=True,
            bars=bars,
        )

    def step_row(self, tries: Sequence[StepAttempt]) -> Row:
        """Draw the tries of one step, and the pauses between them."""
        last = tries[-1]
        spans = [self._span(attempt) for attempt in tries]
        return Row(
            name=last.step_name,
            badge=attempt_badge(last),
            took=span_text(sum((until - since for since, until in spans), timedelta())),
            attempts=len(tries),
            kind="" if last.kind == StepKind.FUNCTION else str(last.get_kind_display()),
            anchor=f"attempt-{last.pk}" if self.told is None or last.pk in self.told else "",
            attempt_id=last.pk,
            child_id=last.child_workflow_run_id,
            bars=[self._attempt_bar(attempt) for attempt in tries],
            gaps=[
                Gap(x1=percent(self.axis.at(since)), x2=percent(self.axis.at(until)))
                for since, until in gaps(spans)
            ],
        )

    def rest_row(self, rest: Sequence[StepAttempt], steps: int) -> Row:
        """Draw all that has no row of its own as one bar."""
        since, until = _began_at(rest[0]), max(_ended_at(one, self.now) for one in rest)
        name = ngettext("%(count)d earlier step", "%(count)d earlier steps", steps)
        name %= {"count": steps}
        bar = self._bar((since, until), "queued", name)
        badge = attempt_badge(rest[-1])
        return Row(
            name=name, badge=badge, took=span_text(until - since), attempts=len(rest), bars=[bar]
        )

    def _attempt_bar(self, attempt: StepAttempt) -> Bar:
        badge = attempt_badge(attempt)
        kind = badge.kind
        if attempt.kind in WAITS and kind not in (RunStatus.FAILED, RunStatus.CANCELED):
            kind = "waiting"
        return self._bar(self._span(attempt), kind, badge.label)

    def _span(self, attempt: StepAttempt) -> Interval:
        return _began_at(attempt), _ended_at(attempt, self.now)

    def _bar(self, span: Interval, kind: str, what: str) -> Bar:
        left, right = self.axis.at(span[0]), self.axis.at(span[1])
        width = max(right - left, _THINNEST)
        return Bar(
            x=percent(min(left, 1 - width)),
            width=percent(width),
            kind=kind,
            title=f"{what}: {span_text(span[1] - span[0])}",
        )


def _by_step(known: Sequence[StepAttempt]) -> list[list[StepAttempt]]:
    """Return the tries by step, both in the order in which they began."""
    by_name = sorted(known, key=lambda attempt: attempt.step_name)  # stable: tries stay in order
    steps = [list(some) for _, some in groupby(by_name, key=lambda attempt: attempt.step_name)]
    return sorted(steps, key=lambda tries: _began_at(tries[0]))


def _latest(
    steps: Sequence[list[StepAttempt]], now: datetime
) -> tuple[list[list[StepAttempt]], list[list[StepAttempt]]]:
    """Part the steps that have no row of their own from those that ended last; both in order."""
    ends = sorted(range(len(steps)), key=lambda index: _ended_at(steps[index][-1], now))
    chosen = set(ends[-MOST_ROWS:])
    rest = [tries for index, tries in enumerate(steps) if index not in chosen]
    return rest, [tries for index, tries in enumerate(steps) if index in chosen]


def _began_at(attempt: StepAttempt) -> datetime:
    return attempt.started_at or attempt.created_at


def _ended_at(attempt: StepAttempt, now: datetime) -> datetime:
    """Return when a try ended; never before it began, whatever the clocks of two machines say."""
    ended_at = now if attempt.status == StepStatus.RUNNING else attempt.finished_at or now
    return max(ended_at, _began_at(attempt))


def _has_waits(
    known: Sequence[StepAttempt], start: datetime, end: datetime, busy: Sequence[Interval]
) -> bool:
    """Whether there is a wait to shorten: a step that waits, or a pause that people would notice.

    Between two steps there are always some milliseconds.
    """
    pauses = idle(start, end, sorted(busy))
    return any(one.kind in WAITS for one in known) or any(
        until - since >= _NOTICED for since, until in pauses
    )


def _is_mostly_waiting(start: datetime, end: datetime, busy: Sequence[Interval]) -> bool:
    """Whether the work is too small beside the waits to be seen on an even axis."""
    at_work = sum((until - since for since, until in busy), timedelta())
    return bool(busy) and at_work * 4 < end - start
