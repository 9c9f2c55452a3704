"""K12: sleeps, deploys and crashes use up no retry: all three tries of a step are made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from django.db import DEFAULT_DB_ALIAS

from benchmarks.reliability.arena import Arena, Findings, wait_until
from benchmarks.reliability.effects import Effects
from benchmarks.reliability.fleet import Fleet
from benchmarks.reliability.tasks import THREE_TRIES, budget
from django_openworkflow import clock
from django_openworkflow.models import StepAttempt, WorkflowRun
from django_openworkflow.store import sweeps
from django_openworkflow.store.factory import store_for


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How often each trouble comes before the step that fails."""

    undeployed: int
    kills: int
    sleeps: int


SIZES: Final = {
    "small": Plan(undeployed=3, kills=2, sleeps=3),
    "full": Plan(undeployed=10, kills=10, sleeps=10),
}


def measure(arena: Arena, plan: Plan) -> Findings:
    """Let workers that do not know it find the run, then kill some, then let it sleep and fail."""
    gate = arena.folder / "gate"
    handle = budget.start(gate=str(gate), sleeps=plan.sleeps)
    rows = WorkflowRun.objects.filter(pk=handle.id)
    put_back = 0
    for _ in range(plan.undeployed):
        rows.update(available_at=clock.moment())
        put_back += len(sweeps.put_back_unknown(store_for(DEFAULT_DB_ALIAS), known=()))
    rows.update(available_at=clock.moment())
    effects = Effects(arena.folder / "effects")
    with Fleet(arena.folder, concurrency=1, RELIABILITY_LEASE_SECONDS="3") as fleet:
        for _ in range(plan.kills):
            doomed = fleet.start()

            def hangs(pid: int = doomed.pid) -> bool:
                effects.read()
                return bool(effects.bodies_of(pid))

            wait_until(hangs, seconds=30)
            doomed.kill()
            fleet.forget(doomed)
        gate.touch()
        fleet.start()
        wait_until(lambda: not rows.active().exists(), seconds=60)
    effects.read()
    run = rows.get()
    tries = effects.entries[str(handle.id), "refuse"]
    recorded = StepAttempt.objects.filter(step_name="refuse").count()
    wanted = THREE_TRIES.maximum_attempts or 0
    return Findings(
        facts={
            "put_back_as_unknown": put_back,
            "takeovers": run.takeovers,
            "sleeps": plan.sleeps,
            "claims": run.attempts,
            "tries": tries,
            "status": run.status,
        },
        wrong={
            "tries_missing_or_too_many": abs(tries - wanted),
            "attempts_recorded_wrongly": abs(recorded - wanted),
            "kills_that_hit_nobody": plan.kills - run.takeovers,
            "not_put_back": plan.undeployed - put_back,
        },
    )
