"""K21: workers are stopped beyond their leases and go on later; what they bring is refused.

SIGSTOP is what a paused virtual machine, a swapping host or a debugger does. Another worker takes
the run over and completes it; then SIGCONT lets the first one finish its body and report.
"""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass
from typing import Final

from benchmarks.reliability.arena import Arena, Findings, wait_until
from benchmarks.reliability.effects import Effects
from benchmarks.reliability.fleet import Fleet, WorkerProcess
from benchmarks.reliability.judge import Terminal, completed_twice, failed_attempts, lost
from benchmarks.reliability.tasks import many_steps
from django_openworkflow.models import WorkflowRun

_RUNS: Final = 4


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How often a worker is stopped over its runs."""

    rounds: int


SIZES: Final = {"small": Plan(rounds=1), "full": Plan(rounds=20)}


def measure(arena: Arena, plan: Plan) -> Findings:
    """Stop one, let the other take over, let the first go on."""
    effects, terminal = Effects(arena.folder / "effects"), Terminal()
    stopped_at_work = 0
    with Fleet(arena.folder, concurrency=_RUNS, RELIABILITY_LEASE_SECONDS="1") as fleet:
        fleet.start(2)
        for _ in range(plan.rounds):
            many_steps.start_many([{"count": 6, "seconds": 0.5}] * _RUNS)
            zombie = _one_at_work(fleet, effects)
            if zombie is not None:
                zombie.send(signal.SIGSTOP)
                stopped_at_work += 1
                active = WorkflowRun.objects.active()
                wait_until(lambda rows=active: not rows.exists(), seconds=60)  # type: ignore[misc]
                terminal.look()
                zombie.send(signal.SIGCONT)
                time.sleep(1)  # it ends its bodies, and reports
    effects.read()
    terminal.look()
    takeovers = sum(WorkflowRun.objects.values_list("takeovers", flat=True))
    extra = sum(times - 1 for times in effects.entries.values())
    return Findings(
        facts={
            "runs": WorkflowRun.objects.count(),
            "stopped_at_work": stopped_at_work,
            "takeovers": takeovers,
            "bodies_called_again": extra,
        },
        wrong={
            "runs_not_completed": lost(),
            "steps_failed": failed_attempts(),
            "steps_completed_twice": completed_twice(),
            "changed_terminal_rows": len(terminal.changed),
            "calls_that_no_take_over_explains": max(0, extra - takeovers),
            "stops_that_met_nobody": plan.rounds - stopped_at_work,
            "nothing_was_taken_over": int(takeovers == 0),
        },
    )


def _one_at_work(fleet: Fleet, effects: Effects) -> WorkerProcess | None:
    """Return a worker that is inside of a body."""
    found: list[WorkerProcess] = []

    def look() -> bool:
        effects.read()
        found.extend(worker for worker in fleet.alive if effects.bodies_of(worker.pid))
        return bool(found)

    return found[0] if wait_until(look, seconds=30) else None
