"""The lines of the goal table: who takes part, what is measured, and what is to be reached."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from benchmarks import measures
from benchmarks.contestants import (
    ABSURD_SDK,
    DBOS_TRANSACT,
    DJANGO_TASKS_DB,
    ORIGINAL,
    OURS,
    PROCRASTINATE_JOBS,
)
from benchmarks.goals import Goal, ratio, value

if TYPE_CHECKING:
    from benchmarks.measures import Measure

_RATE: Final = "per_second"
_PEERS: Final = ("openworkflow", "dbos", "absurd", "procrastinate", "django-tasks")
# Backlogs that no contestant gets through in a window, and that are quickly made.
_OURS: Final = 30_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One kind of work. Contestants are measured in this order, over and over."""

    name: str
    title: str
    contestants: Mapping[str, Measure]
    goals: tuple[Goal, ...]

    def needs(self, contestant: str) -> str | None:
        """Return the environment that a contestant is installed in, None for the project's own."""
        return next((name for name in _PEERS if contestant.split()[0] == name), None)


def _drain(concurrency: int, *, ceiling_size: int, goals: tuple[float, float]) -> Line:
    of_ceiling, of_original = goals
    return Line(
        name=f"drain-{concurrency}",
        title=f"runs of three steps per second, concurrency {concurrency}",
        contestants={
            "openworkflow": measures.drain(ORIGINAL, concurrency, backlog=100 + 40 * concurrency),
            "ours": measures.drain(OURS, concurrency, backlog=_OURS),
            "ours --pin-cpu": measures.drain(
                OURS, concurrency, backlog=_OURS, options=("--pin-cpu",)
            ),
            "ceiling L5": measures.ceiling("five", concurrency, ceiling_size),
        },
        goals=(
            Goal(
                text=f"≥ {of_ceiling} × the ceiling",
                number=ratio(_RATE, "ours", "ceiling L5"),
                least=of_ceiling,
                unit=" ×",
            ),
            Goal(
                text=f"≥ {of_original} × openworkflow",
                number=ratio(_RATE, "ours", "openworkflow"),
                least=of_original,
                unit=" ×",
            ),
        ),
    )


def _times(text: str, other: str, least: float, *, ours: str = "ours") -> Goal:
    return Goal(text=text, number=ratio(_RATE, ours, other), least=least, unit=" ×")


LINES: Final = (
    _drain(1, ceiling_size=1000, goals=(1.0, 15)),
    _drain(10, ceiling_size=2500, goals=(1.5, 8)),
    _drain(50, ceiling_size=4000, goals=(2, 8)),
    Line(
        name="drain-async",
        title="runs of three steps per second, 200 async runs in flight",
        contestants={
            "openworkflow": measures.drain(ORIGINAL, 50, backlog=2000),
            "ours": measures.drain(OURS, 200, backlog=_OURS, workflow="three-async"),
            "ceiling Lw": measures.ceiling("wave", 1, 20_000),
        },
        goals=(_times("≥ 12 × openworkflow", "openworkflow", 12),),
    ),
    Line(
        name="peers",
        title="runs of three steps per second, each peer at its best concurrency",
        contestants={
            "dbos": measures.drain(
                DBOS_TRANSACT, 50, backlog=500, options=("--poll-seconds", 0.02)
            ),
            "absurd": measures.drain(ABSURD_SDK, 50, backlog=1500),
            "procrastinate": measures.drain(PROCRASTINATE_JOBS, 10, backlog=3000),
            "django-tasks": measures.drain(DJANGO_TASKS_DB, 1, backlog=1000),
            "ours": measures.drain(OURS, 50, backlog=_OURS),
        },
        goals=(
            _times("≥ 25 × DBOS", "dbos", 25),
            _times("≥ 10 × absurd", "absurd", 10),
            _times("≥ 3 × procrastinate, which has no steps", "procrastinate", 3),
        ),
    ),
    Line(
        name="processes",
        title="runs of three steps per second, two worker processes against one",
        contestants={
            "one process": measures.drain(OURS, 50, backlog=_OURS),
            "two processes": measures.drain(OURS, 50, backlog=2 * _OURS, processes=2),
        },
        goals=(_times("≥ 1.5 × one process", "one process", 1.5, ours="two processes"),),
    ),
    Line(
        name="start",
        title="starts one at a time, per second",
        contestants={
            "openworkflow": measures.drive(ORIGINAL, "start", 800),
            "dbos": measures.drive(DBOS_TRANSACT, "start", 300),
            "absurd": measures.drive(ABSURD_SDK, "start", 800),
            "procrastinate": measures.drive(PROCRASTINATE_JOBS, "start", 500),
            "django-tasks": measures.drive(DJANGO_TASKS_DB, "start", 500),
            "ours": measures.drive(OURS, "start", 1500),
        },
        goals=(
            Goal(text="≥ the best peer", number=ratio(_RATE, "ours", _PEERS), least=1, unit=" ×"),
        ),
    ),
    Line(
        name="start-many",
        title="starts in bulk, per second",
        contestants={
            "procrastinate": measures.drive(PROCRASTINATE_JOBS, "start-many", 10_000),
            "ours": measures.drive(OURS, "start-many", 50_000),
        },
        goals=(
            Goal(text="≥ 20,000 per second", number=value(_RATE, "ours"), least=20_000),
            _times("≥ 3 × procrastinate", "procrastinate", 3),
        ),
    ),
    Line(
        name="latency",
        title="from start to first step, an idle worker",
        contestants={
            "openworkflow": measures.latency(ORIGINAL),
            "absurd": measures.latency(ABSURD_SDK),
            "procrastinate": measures.latency(PROCRASTINATE_JOBS),
            "ours": measures.latency(OURS),
        },
        goals=(
            Goal(text="p50 ≤ 5 ms", number=value("p50_ms", "ours"), most=5, unit=" ms"),
            Goal(text="p95 ≤ 15 ms", number=value("p95_ms", "ours"), most=15, unit=" ms"),
            Goal(
                text="p50 ≤ procrastinate's",
                number=ratio("p50_ms", "ours", "procrastinate"),
                most=1,
                unit=" ×",
            ),
        ),
    ),
    Line(
        name="cancel",
        title="cancel of one pending run",
        contestants={
            "openworkflow": measures.drive(ORIGINAL, "cancel-one", 200),
            "dbos": measures.drive(DBOS_TRANSACT, "cancel-one", 100),
            "absurd": measures.drive(ABSURD_SDK, "cancel-one", 200),
            "procrastinate": measures.drive(PROCRASTINATE_JOBS, "cancel-one", 200),
            "ours": measures.drive(OURS, "cancel-one", 300),
        },
        goals=(
            Goal(
                text="p50 ≤ the best peer's",
                number=ratio("p50_ms", "ours", _PEERS, is_better_low=True),
                most=1,
                unit=" ×",
            ),
        ),
    ),
    Line(
        name="cancel-many",
        title="cancel of 10,000 pending runs, per second",
        contestants={
            "openworkflow": measures.drive(ORIGINAL, "cancel-many", 1000),
            "dbos": measures.drive(DBOS_TRANSACT, "cancel-many", 10_000),
            "absurd": measures.drive(ABSURD_SDK, "cancel-many", 500),
            "procrastinate": measures.drive(PROCRASTINATE_JOBS, "cancel-many", 500),
            "ours": measures.drive(OURS, "cancel-many", 10_000),
        },
        goals=(
            Goal(text="≥ 50,000 per second", number=value(_RATE, "ours"), least=50_000),
            _times("≥ 2 × DBOS", "dbos", 2),
        ),
    ),
    Line(
        name="cancel-running",
        title="from cancel to the end of steps of 50 ms",
        contestants={
            "openworkflow": measures.cancel_running(ORIGINAL),
            "absurd": measures.cancel_running(ABSURD_SDK),
            "ours": measures.cancel_running(OURS),
            "ours async": measures.cancel_running(OURS, "loop-async"),
        },
        goals=(
            Goal(
                text="sync: ≤ the rest of the step + 10 ms",
                number=value("overrun_ms", "ours"),
                most=10,
                unit=" ms",
            ),
            Goal(
                text="async: at once (10 ms)",
                number=value("stop_ms", "ours async"),
                most=10,
                unit=" ms",
            ),
        ),
    ),
    Line(
        name="long-run",
        title="500 steps one after the other, and the way back over them",
        contestants={
            "openworkflow": measures.five_hundred(ORIGINAL),
            "absurd": measures.five_hundred(ABSURD_SDK),
            "ours": measures.five_hundred(OURS),
        },
        goals=(
            Goal(
                text="per step ≤ 0.5 × absurd",
                number=ratio("step_ms", "ours", "absurd"),
                most=0.5,
                unit=" ×",
            ),
            Goal(
                text="replay with its SELECT ≤ 15 ms",
                number=value("replay_ms", "ours"),
                most=15,
                unit=" ms",
            ),
        ),
    ),
    Line(
        name="big-table",
        title="a drain among a million finished, 100,000 parked and 100,000 due runs",
        contestants={
            "empty": measures.big_table(is_full=False, is_analyzed=True),
            "full": measures.big_table(is_full=True, is_analyzed=True),
            "full, before ANALYZE": measures.big_table(is_full=True, is_analyzed=False),
        },
        goals=(
            _times("≥ 0.95 × the empty table", "empty", 0.95, ours="full"),
            _times("the same before ANALYZE", "empty", 0.95, ours="full, before ANALYZE"),
            Goal(text="claim p99 < 5 ms", number=value("claim_p99_ms", "full"), most=5, unit=" ms"),
            Goal(
                text="the same before ANALYZE",
                number=value("claim_p99_ms", "full, before ANALYZE"),
                most=5,
                unit=" ms",
            ),
        ),
    ),
    Line(
        name="idle",
        title="an idle worker of concurrency 50",
        contestants={
            "procrastinate": measures.idle(PROCRASTINATE_JOBS),
            "ours": measures.idle(OURS),
        },
        goals=(
            Goal(
                text="≤ 1 transaction per second",
                number=value("commits_per_second", "ours"),
                most=1,
                unit=" per s",
            ),
            Goal(
                text="≤ 0.1 % of a core", number=value("cpu_percent", "ours"), most=0.1, unit=" %"
            ),
        ),
    ),
    Line(
        name="memory",
        title="the most memory at concurrency 50, and a bare Django process",
        contestants={
            "bare": measures.bare_process,
            "ours": measures.drain(OURS, 50, backlog=_OURS),
        },
        goals=(
            Goal(
                text="≤ 60 MB above the bare process",
                number=lambda medians: medians["ours"]["peak_mb"] - medians["bare"]["resident_mb"],
                most=60,
                unit=" MB",
            ),
        ),
    ),
    Line(
        name="sqlite",
        title="runs of three steps per second on SQLite, concurrency 10",
        contestants={
            "openworkflow": measures.drain_sqlite(ORIGINAL, 10, backlog=4000),
            "ours": measures.drain_sqlite(OURS, 10, backlog=_OURS),
        },
        goals=(
            Goal(
                text="≥ 1,000 per second, or ≥ 3 × openworkflow",
                number=lambda medians: max(
                    medians["ours"][_RATE] / 1000,
                    medians["ours"][_RATE] / (3 * medians["openworkflow"][_RATE]),
                ),
                least=1,
                unit=" × the goal",
            ),
        ),
    ),
)
