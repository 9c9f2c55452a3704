"""K5: after a cancel has committed no step, child or signal of that run begins.

Real workers execute runs in which something begins at every moment, and each run is canceled at a
random one. A witness in the database sees what each cancel saw, and compares commit timestamps; the
bodies that were really called must all have their start on record.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

from benchmarks.reliability.arena import Arena, Findings, wait_until
from benchmarks.reliability.effects import Effects
from benchmarks.reliability.fleet import Fleet
from benchmarks.reliability.tasks import busy
from django_openworkflow.models import StepAttempt, WorkflowRun
from django_openworkflow.states import RunStatus, StepKind
from tests.races.witness import keeps_commit_timestamps, watching

_AT_A_TIME: Final = 20


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How many runs are canceled."""

    cancels: int
    workers: int = 2


SIZES: Final = {"small": Plan(cancels=30), "full": Plan(cancels=1_000)}


def measure(arena: Arena, plan: Plan) -> Findings:
    """Cancel while they work; let what is in flight end; judge."""
    with watching() as witness:
        _cancel_at_work(arena, plan)
        broken = {law: len(rows) for law, rows in witness.broken().items()}
        ends = witness.ends
    effects = Effects(arena.folder / "effects")
    effects.read()
    return Findings(
        facts={
            "canceled": WorkflowRun.objects.canceled().count(),
            "ends_seen": ends,
            "bodies_called": sum(effects.entries.values()),
            "steps_of_canceled_runs": _steps_of_canceled(),
            "commit_timestamps_compared": keeps_commit_timestamps(),
        },
        wrong={
            **broken,
            "bodies_without_a_start": _bodies_without_a_start(effects),
            "cancels_missing": max(0, plan.cancels - WorkflowRun.objects.canceled().count()),
        },
    )


def _cancel_at_work(arena: Arena, plan: Plan) -> None:
    with Fleet(arena.folder, concurrency=15) as fleet:
        fleet.start(plan.workers)
        for _ in range(-(-plan.cancels // _AT_A_TIME)):
            batch = [busy.start(address="nobody") for _ in range(_AT_A_TIME)]
            ids = [handle.id for handle in batch]
            wait_until(WorkflowRun.objects.filter(pk__in=ids, attempts__gt=0).exists, seconds=30)
            for handle in batch:
                time.sleep(arena.random.uniform(0, 0.06))
                handle.cancel(reason="at a random moment")
        wait_until(lambda: not WorkflowRun.objects.active().exists(), seconds=60)


def _steps_of_canceled() -> int:
    return StepAttempt.objects.filter(workflow_run__status=RunStatus.CANCELED).count()


def _bodies_without_a_start(effects: Effects) -> int:
    rows = StepAttempt.objects.filter(kind=StepKind.FUNCTION)
    begun = {(str(run), step) for run, step in rows.values_list("workflow_run", "step_name")}
    return len(effects.entries.keys() - begun)
