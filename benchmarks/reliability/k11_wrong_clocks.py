"""K11: workers whose wall clocks are an hour wrong; sleeps end by the database's clock.

Each worker process gets a shifted clock by a preloaded library, compiled here with ``cc``.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from benchmarks.reliability.arena import Arena, Findings, wait_until
from benchmarks.reliability.clocks import compile_clock
from benchmarks.reliability.fleet import Fleet
from benchmarks.reliability.tasks import napping
from django_openworkflow.models import StepAttempt, WorkflowRun

if TYPE_CHECKING:
    from uuid import UUID

_TOLERANCE: Final = timedelta(seconds=1)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """So many runs sleep for ``seconds`` under workers whose clocks are wrong by these seconds."""

    runs: int
    seconds: float
    skews: tuple[int, ...] = (3600, -3600)


SIZES: Final = {"small": Plan(runs=6, seconds=0.5), "full": Plan(runs=100, seconds=2)}


def measure(arena: Arena, plan: Plan) -> Findings:
    """Run them, and compare the sleeps with what was asked for."""
    library = compile_clock(arena.folder)
    with Fleet(arena.folder, concurrency=10, RELIABILITY_LEASE_SECONDS="30") as fleet:
        for skew in plan.skews:
            fleet.start(LD_PRELOAD=str(library), CLOCK_SKEW=str(skew))
        for _ in range(plan.runs):
            napping.start(seconds=plan.seconds)
        wait_until(lambda: not WorkflowRun.objects.active().exists(), seconds=60)
    late = _lateness()
    claims = list(WorkflowRun.objects.values_list("attempts", flat=True))
    tolerance = _TOLERANCE.total_seconds()
    return Findings(
        facts={
            "sleeps": len(late),
            "clocks_wrong_by_seconds": plan.skews,
            "latest_seconds": round(max(late), 3),
            "most_claims": max(claims),
        },
        wrong={
            "runs_not_completed": plan.runs - WorkflowRun.objects.completed().count(),
            "woken_early": sum(error < 0 for error in late),
            "claimed_more_than_twice": sum(times > 2 for times in claims),
        },
        late={"woken_late": sum(error > tolerance for error in late)},
    )


def _lateness() -> list[float]:
    """Return how long after the end of its sleep each run went on."""
    rows = StepAttempt.objects.filter(step_name="after", started_at__isnull=False)
    after: dict[UUID, Any] = dict(rows.values_list("workflow_run", "started_at"))
    return [(after[run] - ends_at).total_seconds() for run, ends_at in _naps()]


def _naps() -> list[tuple[UUID, datetime]]:
    """Return each run with the end of its sleep, as the database's clock had it."""
    rows = StepAttempt.objects.filter(step_name="nap")
    return [
        (run, datetime.fromisoformat(context["resumeAt"]))
        for run, context in rows.values_list("workflow_run", "context")
    ]
