"""The timeline is a pure function of rows and the time: no database is asked."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.utils import translation
from hypothesis import given
from hypothesis import strategies as st

from django_openworkflow.admin import timeline
from django_openworkflow.admin.axis import MOST_TICKS, Axis
from django_openworkflow.models import StepAttempt, WorkflowRun
from django_openworkflow.states import RunStatus, StepKind, StepStatus

START = datetime(2026, 11, 22, 7, 41, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def run(**columns: Any) -> WorkflowRun:
    values: dict[str, Any] = {
        "status": RunStatus.RUNNING,
        "worker_id": "w:1",
        "attempts": 1,
        "started_at": at(1),
    }
    return WorkflowRun(workflow_name="ship", created_at=START, **{**values, **columns})


def attempt(name: str, since: float, until: float | None, **columns: Any) -> StepAttempt:
    values: dict[str, Any] = {
        "status": StepStatus.RUNNING if until is None else StepStatus.COMPLETED,
        "kind": StepKind.FUNCTION,
        "started_at": at(since),
        "finished_at": None if until is None else at(until),
    }
    return StepAttempt(step_name=name, created_at=at(since), **{**values, **columns})


def number(text: str) -> float:
    return float(text.removesuffix("%"))


def build(*attempts: StepAttempt, now: float = 100, compress: bool = False, **columns: Any) -> Any:
    return timeline.build(run(**columns), attempts, at(now), compress=compress)


def test_a_run_that_nobody_has_begun_is_queued() -> None:
    drawn = build(status=RunStatus.PENDING, started_at=None, worker_id=None)
    (row,) = drawn.rows
    assert [(bar.kind, bar.x, bar.width) for bar in row.bars] == [("queued", "0.00%", "100.00%")]
    assert row.is_run
    assert drawn.now == "100.00%"
    assert drawn.total == "1 m 40 s"


def test_each_step_has_one_row_and_each_try_a_bar() -> None:
    failed = {"status": StepStatus.FAILED}
    drawn = build(
        attempt("charge", 10, 20, **failed),
        attempt("charge", 30, 40, **failed),
        attempt("charge", 60, 62),
        attempt("reserve", 2, 9),
    )
    _run, reserve, charge = drawn.rows
    assert (reserve.name, reserve.attempts) == ("reserve", 1)
    assert (charge.name, charge.attempts, charge.took) == ("charge", 3, "22 s")
    assert [bar.kind for bar in charge.bars] == ["failed", "failed", "completed"]
    assert [(gap.x1, gap.x2) for gap in charge.gaps] == [("20.00%", "30.00%"), ("40.00%", "60.00%")]
    assert charge.badge.kind == "completed"
    assert charge.words == "failed: 10 s, failed: 10 s, completed: 2 s"


@pytest.mark.parametrize("kind", [StepKind.SLEEP, StepKind.WORKFLOW, StepKind.SIGNAL_WAIT])
def test_waits_are_waits_until_they_fail(kind: StepKind) -> None:
    drawn = build(
        attempt("wait", 10, 20, kind=kind),
        attempt("lost", 20, 30, kind=kind, status=StepStatus.FAILED),
        attempt("open", 30, None, kind=kind),
    )
    assert [row.bars[0].kind for row in drawn.rows[1:]] == ["waiting", "failed", "waiting"]
    assert all(row.kind for row in drawn.rows[1:])


def test_what_is_running_reaches_to_now() -> None:
    drawn = build(attempt("pack", 50, None))
    (bar,) = drawn.rows[1].bars
    assert (bar.x, bar.width, bar.kind) == ("50.00%", "50.00%", "running")


def test_an_ended_run_has_no_now_and_ends_with_its_last_step() -> None:
    columns: dict[str, Any] = {"status": RunStatus.CANCELED, "finished_at": at(40)}
    drawn = build(attempt("late", 30, 50), now=9000, **columns)
    assert drawn.now is None
    assert drawn.total == "50 s"


def test_bars_that_are_too_short_can_still_be_seen() -> None:
    drawn = build(attempt("tax", 99.9999, 100), now=100)
    (bar,) = drawn.rows[1].bars
    assert number(bar.width) >= 0.39
    assert number(bar.x) + number(bar.width) <= 100.01


def test_of_many_steps_the_latest_have_rows() -> None:
    attempts = [attempt(f"step-{n}", n / 10, n / 10 + 0.05) for n in range(250)]
    drawn = build(*attempts)
    assert len(drawn.rows) == timeline.MOST_ROWS + 2
    rest, first, *_others, last = drawn.rows[1:]
    assert (rest.name, rest.attempts, rest.attempt_id) == ("50 earlier steps", 50, None)
    assert (first.name, last.name) == ("step-50", "step-249")


def test_an_early_step_that_still_runs_keeps_its_row() -> None:
    attempts = [attempt(f"step-{n}", n / 10, n / 10 + 0.05) for n in range(1, 250)]
    drawn = build(attempt("patient", 0, None), *attempts)
    assert [row.name for row in drawn.rows[1:4]] == ["50 earlier steps", "patient", "step-51"]


def test_a_row_leads_to_what_is_told_of_its_last_try() -> None:
    known = [attempt("old", 1, 2), attempt("new", 3, 4)]
    drawn = timeline.build(run(), known, at(100), told={known[1].pk})
    _run, old, new = drawn.rows
    assert (old.anchor, old.attempt_id) == ("", known[0].pk)
    assert (new.anchor, new.attempt_id) == (f"attempt-{known[1].pk}", known[1].pk)


def test_a_run_began_with_its_first_try_known_or_not() -> None:
    columns: dict[str, Any] = {"status": RunStatus.FAILED, "started_at": None}
    known = [attempt("late", 80, 90)]
    drawn = timeline.build(run(finished_at=at(100), **columns), known, at(200), began_at=at(10))
    assert [(bar.kind, bar.width) for bar in drawn.rows[0].bars] == [
        ("queued", "10.00%"),
        ("failed", "90.00%"),
    ]


def test_clocks_that_disagree_do_not_turn_time_around() -> None:
    drawn = build(attempt("odd", 10, 5), attempt("future", 200, None), attempt("past", -5, 3))
    for row in drawn.rows:
        assert all(number(bar.width) > 0 for bar in row.bars)
        assert all(0 <= number(bar.x) <= 100 for bar in row.bars)


def test_positions_have_a_point_in_every_language() -> None:
    with translation.override("de"):
        drawn = build(attempt("pack", 12.345, 23.456))
    (bar,) = drawn.rows[1].bars
    assert (bar.x, bar.width) == ("12.35%", "11.11%")
    assert drawn.rows[1].took == "11,1 s"


def test_short_waits_leave_room_for_the_work() -> None:
    week = 7 * 86_400.0
    attempts = [
        attempt("write", 0, 2),
        attempt("sleep", 2, week, kind=StepKind.SLEEP),
        attempt("send", week, week + 3),
    ]
    even = build(*attempts, now=week + 3)
    short = build(*attempts, now=week + 3, compress=True)
    assert even.has_long_waits
    assert number(even.rows[1].bars[0].width) < 1
    assert number(short.rows[1].bars[0].width) > 30
    assert number(short.rows[3].bars[0].width) > 40
    assert 0 < number(short.rows[2].bars[0].width) < 12


def test_only_waits_can_be_shortened() -> None:
    work = [attempt("tax", 0.1, 0.13), attempt("send", 0.6, 0.61)]
    ended: dict[str, Any] = {"status": RunStatus.COMPLETED, "finished_at": at(0.7)}
    assert not build(*work, started_at=at(0.05), **ended).has_long_waits
    nap = attempt("nap", 0.2, 0.5, kind=StepKind.SLEEP)
    assert build(*work, nap, started_at=at(0.05), **ended).has_long_waits
    paused = [attempt("charge", 1, 2, status=StepStatus.FAILED), attempt("charge", 60, 61)]
    assert build(*paused, started_at=at(1)).has_long_waits


# --- the axis -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "labels"),
    [
        (0.05, ["0", "10 ms", "20 ms", "30 ms", "40 ms"]),
        (31, ["0", "5 s", "10 s", "15 s", "20 s", "25 s", "30 s"]),
        (150, ["0", "30 s", "1 m", "1 m 30 s", "2 m"]),
        (90_000, ["0", "6 h", "12 h", "18 h", "1 d"]),
    ],
)
def test_ticks_stand_at_round_times(seconds: float, labels: list[str]) -> None:
    ticks = Axis.even(START, at(seconds)).ticks()
    assert [tick.label for tick in ticks] == labels


@given(st.floats(min_value=0.001, max_value=3e9))
def test_there_are_never_too_many_ticks(seconds: float) -> None:
    ticks = Axis.even(START, at(seconds)).ticks()
    assert 1 <= len(ticks) <= MOST_TICKS
    places = [number(tick.x) for tick in ticks]
    assert places == sorted(places)


_SPANS = st.lists(
    st.tuples(st.floats(0, 1e6), st.floats(0, 1e4)).map(lambda pair: (pair[0], sum(pair))),
    max_size=20,
)


@given(_SPANS, st.lists(st.floats(-1e3, 2e6), min_size=2))
def test_a_compressed_axis_keeps_the_order_of_time(
    spans: list[tuple[float, float]], moments: list[float]
) -> None:
    busy = [(at(since), at(until)) for since, until in spans]
    axis = Axis.compressed(START, at(1_100_000), busy)
    places = [axis.at(at(moment)) for moment in sorted(moments)]
    assert all(0 <= place <= 1 for place in places)
    assert all(left <= right + 1e-9 for left, right in itertools.pairwise(places))
    assert axis.at(START) == pytest.approx(0)
    assert axis.at(at(1_100_000)) == pytest.approx(1)
    assert len(axis.ticks()) <= MOST_TICKS
