"""K3: PostgreSQL is restarted as by a crash, again and again; what was acknowledged is there."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

from django.db import DatabaseError, InterfaceError, connection

from benchmarks.reliability.arena import Arena, Findings, wait_until
from benchmarks.reliability.effects import Effects
from benchmarks.reliability.fleet import Fleet
from benchmarks.reliability.judge import (
    acked_but_gone,
    completed_twice,
    failed_attempts,
    lost,
)
from benchmarks.reliability.tasks import many_steps
from django_openworkflow.models import StepAttempt, WorkflowRun


@dataclass(frozen=True, kw_only=True)
class Plan:
    """So many runs of three steps, and restarts between them."""

    runs: int
    restarts: int
    longest_pause_seconds: float
    body_seconds: float = 0.1
    workers: int = 2
    quiet_seconds: float = 180


SIZES: Final = {
    "small": Plan(runs=60, restarts=2, longest_pause_seconds=1, body_seconds=0.4),
    "full": Plan(runs=2_000, restarts=20, longest_pause_seconds=3),
}


def measure(arena: Arena, plan: Plan) -> Findings:
    """Restart while they work, then wait for the rest."""
    many_steps.start_many([{"count": 3, "seconds": plan.body_seconds}] * plan.runs)
    busy = 0
    with Fleet(arena.folder, concurrency=10) as fleet:
        fleet.start(plan.workers)
        wait_until(StepAttempt.objects.exists, seconds=30)
        for _ in range(plan.restarts):
            time.sleep(arena.random.uniform(0.1, plan.longest_pause_seconds))
            busy += WorkflowRun.objects.running().exists()
            connection.close()
            arena.postgres.restart()
        wait_until(_is_quiet, seconds=plan.quiet_seconds)
    effects = Effects(arena.folder / "effects")
    return Findings(
        facts={"runs": plan.runs, "restarts": plan.restarts, "restarts_at_work": busy},
        wrong={
            "runs_not_completed": lost(),
            "steps_failed": failed_attempts(),
            "steps_completed_twice": completed_twice(),
            "acked_results_gone": acked_but_gone(effects),
            "no_result_was_acked": int(not effects.acked),
            "no_restart_met_work": int(busy == 0),
        },
    )


def _is_quiet() -> bool:
    try:
        return not WorkflowRun.objects.active().exists()
    except (DatabaseError, InterfaceError):
        connection.close()
        return False
