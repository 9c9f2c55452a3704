"""K18: a body that holds the interpreter's lock for longer than a lease starves the heartbeat.

Threads cannot prevent that. While other workers have free slots they take the run over, call the
body again and starve themselves. What must hold: the run completes at most once, and what cannot
complete within its lease at all is given up as a poison pill instead of being tried for ever.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final
from uuid import uuid4

from benchmarks.reliability.arena import Arena, Findings, wait_until
from benchmarks.reliability.effects import Effects
from benchmarks.reliability.fleet import Fleet
from benchmarks.reliability.judge import completed_twice
from benchmarks.reliability.tasks import hog, hogging
from django_openworkflow.models import StepAttempt, WorkflowRun


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The expression takes twice as long with each letter; the lease is a third of it."""

    at_least_seconds: float
    lease_seconds: float
    runs: int
    most_crashes: int


SIZES: Final = {
    "small": Plan(at_least_seconds=1.5, lease_seconds=0.5, runs=1, most_crashes=2),
    "full": Plan(at_least_seconds=15, lease_seconds=5, runs=2, most_crashes=5),
}


def measure(arena: Arena, plan: Plan) -> Findings:
    """Find out how many letters it takes on this machine, then let two workers have it."""
    letters = _letters(plan.at_least_seconds)
    (arena.folder / "effects").unlink(missing_ok=True)
    environment = {
        "RELIABILITY_LEASE_SECONDS": str(plan.lease_seconds),
        "RELIABILITY_MAX_CRASHES": str(plan.most_crashes),
    }
    with Fleet(arena.folder, concurrency=1, **environment) as fleet:
        fleet.start(2)
        hogging.start_many([{"letters": letters}] * plan.runs)
        wait_until(
            lambda: not WorkflowRun.objects.active().exists(), seconds=40 * plan.at_least_seconds
        )
    effects = Effects(arena.folder / "effects")
    effects.read()
    calls = effects.entries.total()
    failed = WorkflowRun.objects.failed()
    others = failed.exclude(error__name="PoisonPill")
    return Findings(
        facts={
            "letters": letters,
            "runs": plan.runs,
            "calls": calls,
            "completed": WorkflowRun.objects.completed().count(),
            "given_up": failed.count(),
        },
        wrong={
            "runs_that_did_not_end": WorkflowRun.objects.active().count(),
            "runs_that_failed_otherwise": others.count(),
            "steps_completed_twice": completed_twice(),
            "calls_too_many": max(0, calls - plan.runs * plan.most_crashes),
            "attempts_too_many": StepAttempt.objects.count() - plan.runs,
        },
    )


def _letters(at_least_seconds: float) -> int:
    """Return how many letters make it last that long, from the time that fewer take."""
    letters, seconds = 18, 0.0
    while seconds < 0.2:
        letters += 1
        began = time.perf_counter()
        hog(uuid4(), letters)
        seconds = time.perf_counter() - began
    while seconds < at_least_seconds:
        letters, seconds = letters + 1, seconds * 2
    return letters
