"""K16: several worker processes on one SQLite file; nobody meets "database is locked"."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from benchmarks.reliability.arena import Arena, Findings, wait_until
from benchmarks.reliability.fleet import Fleet
from benchmarks.reliability.judge import completed_twice, failed_attempts, lost
from benchmarks.reliability.tasks import many_steps
from django_openworkflow.models import WorkflowRun


@dataclass(frozen=True, kw_only=True)
class Plan:
    """So many runs for each of so many processes, started while they work."""

    processes: int
    runs_per_process: int


SIZES: Final = {
    "small": Plan(processes=3, runs_per_process=15),
    "full": Plan(processes=4, runs_per_process=500),
}


def measure(arena: Arena, plan: Plan) -> Findings:
    """Start runs one by one beside the workers."""
    runs = plan.processes * plan.runs_per_process
    with Fleet(arena.folder, concurrency=5) as fleet:
        fleet.start(plan.processes)
        for _ in range(runs):
            many_steps.start(count=2, seconds=0)
        active = WorkflowRun.objects.active()
        wait_until(lambda: not active.exists(), seconds=30 + runs * 0.2)
    return Findings(
        facts={"processes": plan.processes, "runs": runs},
        wrong={
            "runs_not_completed": lost(),
            "steps_failed": failed_attempts(),
            "steps_completed_twice": completed_twice(),
            "database_is_locked": (arena.folder / "workers.log").read_text().count("is locked"),
        },
    )
