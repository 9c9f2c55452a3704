"""K13: a run that kills its workers is given up after five of them; all others complete.

Also those that are beside it each time, in a step which none of these workers lives to end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from benchmarks.reliability.arena import Arena, Findings, wait_until
from benchmarks.reliability.effects import Effects
from benchmarks.reliability.fleet import Fleet
from benchmarks.reliability.tasks import many_steps, poison
from django_openworkflow.models import WorkflowRun

_MOST_CRASHES: Final = 5
_SLOTS: Final = 5


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One poison pill among so many others; the first of them fill its worker beside it."""

    others: int


SIZES: Final = {"small": Plan(others=20), "full": Plan(others=100)}


def measure(arena: Arena, plan: Plan) -> Findings:
    """Start a new worker for each that dies, as a supervisor does."""
    pill = poison.start()
    companions = _SLOTS - 1
    many_steps.start_many([{"count": 1, "seconds": 0.6}] * companions)
    many_steps.start_many([{"count": 3, "seconds": 0.05}] * (plan.others - companions))
    crashed = 0
    environment = {
        "RELIABILITY_LEASE_SECONDS": "3",
        "RELIABILITY_MAX_CRASHES": str(_MOST_CRASHES),
    }
    with Fleet(arena.folder, concurrency=_SLOTS, **environment) as fleet:
        fleet.start()

        def over() -> bool:
            nonlocal crashed
            for worker in [worker for worker in fleet.alive if not worker.is_alive]:
                crashed += 1
                fleet.forget(worker)
                fleet.start()
            return not WorkflowRun.objects.active().exists()

        wait_until(over, seconds=120)
    effects = Effects(arena.folder / "effects")
    effects.read()
    tries = effects.entries[str(pill.id), "crash"]
    error = pill.run.error or {}
    return Findings(
        facts={"others": plan.others, "workers_lost": crashed, "tries": tries, "error": error},
        wrong={
            "tries_too_many": max(0, tries - _MOST_CRASHES),
            "tries_too_few": max(0, _MOST_CRASHES - tries),
            "not_failed_as_poison": int(error.get("name") != "PoisonPill"),
            "others_not_completed": plan.others - WorkflowRun.objects.completed().count(),
        },
    )
