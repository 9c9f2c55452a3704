"""K2: all connections of the workers are cut, again and again; no run and no step fails of it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from django.db import connection

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
from django_openworkflow.models import WorkflowRun

if TYPE_CHECKING:
    import psycopg


@dataclass(frozen=True, kw_only=True)
class Plan:
    """So many runs with so many steps; a cut every ``every_seconds`` while it lasts."""

    runs: int
    steps: int
    every_seconds: float
    lasts_seconds: float
    workers: int = 2
    quiet_seconds: float = 120


SIZES: Final = {
    "small": Plan(runs=30, steps=8, every_seconds=0.3, lasts_seconds=3),
    "full": Plan(runs=200, steps=20, every_seconds=0.5, lasts_seconds=20),
}


def measure(arena: Arena, plan: Plan) -> Findings:
    """Cut while they work, then wait for the rest."""
    body_seconds = 10 * plan.lasts_seconds / (plan.runs * plan.steps)
    many_steps.start_many([{"count": plan.steps, "seconds": body_seconds}] * plan.runs)
    cut = 0
    with Fleet(arena.folder, concurrency=10) as fleet:
        fleet.start(plan.workers)
        begun = WorkflowRun.objects.filter(attempts__gt=0)
        wait_until(begun.exists, seconds=30)
        ends_at = time.monotonic() + plan.lasts_seconds
        while time.monotonic() < ends_at:
            cut += arena.postgres.cut_connections(arena.database, except_pids=(own_pid(),))
            time.sleep(plan.every_seconds)
        active = WorkflowRun.objects.active()
        wait_until(lambda: not active.exists(), seconds=plan.quiet_seconds)
    effects = Effects(arena.folder / "effects")
    effects.read()
    return Findings(
        facts={
            "runs": plan.runs,
            "steps": plan.runs * plan.steps,
            "connections_cut": cut,
            "bodies_called_again": sum(times - 1 for times in effects.entries.values()),
        },
        wrong={
            "runs_not_completed": lost(),
            "steps_failed": failed_attempts(),
            "steps_completed_twice": completed_twice(),
            "acked_results_gone": acked_but_gone(effects),
            "no_connection_was_cut": int(cut == 0),
        },
    )


def own_pid() -> int:
    """Return the process id of this script's own connection."""
    connection.ensure_connection()
    driver: psycopg.Connection = connection.connection
    return driver.info.backend_pid
