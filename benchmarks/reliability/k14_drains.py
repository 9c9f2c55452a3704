"""K14: workers get SIGTERM under load: they end in time, and hand their runs on without a trace."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass
from typing import Final

from django.db.models import Sum

from benchmarks.reliability.arena import Arena, Findings, wait_until
from benchmarks.reliability.effects import Effects
from benchmarks.reliability.fleet import Fleet
from benchmarks.reliability.judge import failed_attempts, lost
from benchmarks.reliability.tasks import many_steps
from django_openworkflow.models import WorkerProcess, WorkflowRun

_GRACE_SECONDS: Final = 10
_BODY_SECONDS: Final = 0.3


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How many workers are told to stop."""

    signals: int
    runs_per_signal: int = 8


SIZES: Final = {"small": Plan(signals=4), "full": Plan(signals=50)}


def measure(arena: Arena, plan: Plan) -> Findings:
    """Stop one of two workers again and again while both have runs."""
    effects = Effects(arena.folder / "effects")
    seconds: list[float] = []
    at_work = not_ended = 0
    with Fleet(arena.folder, concurrency=5, RELIABILITY_LEASE_SECONDS="30") as fleet:
        grace = ("--grace", str(_GRACE_SECONDS))
        fleet.start(1, *grace)
        for _ in range(plan.signals):
            fleet.start(1, *grace)
            wait_until(lambda: WorkerProcess.objects.count() == len(fleet.alive), seconds=30)
            batch = [{"count": 4, "seconds": _BODY_SECONDS}] * plan.runs_per_signal
            many_steps.start_many(batch)
            oldest = fleet.alive[0]

            def works(pid: int = oldest.pid) -> bool:
                effects.read()
                return bool(effects.bodies_of(pid))

            at_work += wait_until(works, seconds=30)
            began = time.monotonic()
            oldest.send(signal.SIGTERM)
            not_ended += oldest.wait(_GRACE_SECONDS + 5) is None
            seconds.append(time.monotonic() - began)
            fleet.forget(oldest)
        wait_until(lambda: not WorkflowRun.objects.active().exists(), seconds=120)
    effects.read()
    counted = WorkflowRun.objects.aggregate(
        failures=Sum("failures"), crashes=Sum("crashes"), takeovers=Sum("takeovers")
    )
    return Findings(
        facts={
            "signals": plan.signals,
            "met_at_work": at_work,
            "runs": WorkflowRun.objects.count(),
            "slowest_exit_seconds": round(max(seconds), 2),
        },
        wrong={
            "not_ended": not_ended,
            "runs_not_completed": lost(),
            "steps_failed": failed_attempts(),
            "bodies_called_again": sum(times - 1 for times in effects.entries.values()),
            "signals_that_met_nobody": plan.signals - at_work,
            **{f"counted_as_{name}": int(count) for name, count in counted.items()},
        },
        late={"not_ended_in_time": sum(span > _GRACE_SECONDS for span in seconds)},
    )
