"""K8: runs of killed workers are taken over within lease + poll + 1 s, whatever else there is.

Workers die over steps that would hang for ever; measured is the time from the kill until another
worker has claimed the run. Meanwhile there is a crowd of runs for later, and new ones keep coming.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from benchmarks.reliability.arena import Arena, Findings, wait_until
from benchmarks.reliability.fleet import Fleet, WorkerProcess
from benchmarks.reliability.tasks import hanging_once, many_steps
from django_openworkflow import conf
from django_openworkflow.models import WorkflowRun

if TYPE_CHECKING:
    from uuid import UUID

_RUNS_PER_KILL: Final = 5
_BATCH: Final = 1000
_PAUSE_SECONDS: Final = 0.05  # between new runs: about as many as one worker executes


@dataclass(frozen=True, kw_only=True)
class Plan:
    """So many runs lose their worker, beside ``crowd`` others that are due tomorrow."""

    takeovers: int
    crowd: int
    slack_seconds: float = 0  # for a machine that does other things as well


SIZES: Final = {
    "small": Plan(takeovers=5, crowd=500, slack_seconds=10),
    "full": Plan(takeovers=100, crowd=10_000),
}


def measure(arena: Arena, plan: Plan) -> Findings:
    """Kill one worker after the other and wait for its heirs."""
    later = many_steps.using(available_at="1d")
    for _ in range(0, plan.crowd, _BATCH):
        later.start_many([{"count": 1, "seconds": 0}] * min(_BATCH, plan.crowd))
    seconds: list[float] = []
    with Fleet(arena.folder, concurrency=_RUNS_PER_KILL) as fleet:
        while len(seconds) < plan.takeovers:
            seconds += _take_over(arena, fleet)
    settings = conf.get_settings()
    bound = settings.LEASE_SECONDS + settings.POLL_SECONDS[1] + 1 + plan.slack_seconds
    return Findings(
        facts={
            "takeovers": len(seconds),
            "slowest_seconds": round(max(seconds), 2),
            "bound_seconds": bound,
            "crowd": plan.crowd,
        },
        late={"later_than_the_bound": sum(span > bound for span in seconds)},
    )


def _take_over(arena: Arena, fleet: Fleet) -> list[float]:
    """Let one worker die over its runs while another one waits; return how long each took."""
    handles = hanging_once.start_many([{"folder": str(arena.folder)}] * _RUNS_PER_KILL)
    ids = [handle.id for handle in handles]
    doomed = fleet.start()
    if not wait_until(lambda: len(_held(ids, doomed)) == _RUNS_PER_KILL, seconds=30):
        message = "a worker did not fill its slots"
        raise RuntimeError(message)
    heir = fleet.start()
    wait_until(lambda: _works(heir), seconds=30)
    killed_at = time.monotonic()
    doomed.kill()
    fleet.forget(doomed)
    seconds: dict[UUID, float] = {}

    def taken() -> bool:
        time.sleep(_PAUSE_SECONDS)
        many_steps.start(count=1, seconds=0)
        for run_id in _taken_from(ids, doomed):
            seconds.setdefault(run_id, time.monotonic() - killed_at)
        return len(seconds) == _RUNS_PER_KILL

    wait_until(taken, seconds=60)
    wait_until(lambda: not WorkflowRun.objects.active().filter(pk__in=ids).exists(), seconds=30)
    heir.kill()
    fleet.forget(heir)
    return list(seconds.values()) + [float("inf")] * (_RUNS_PER_KILL - len(seconds))


def _works(worker: WorkerProcess) -> bool:
    many_steps.start(count=1, seconds=0)
    return WorkflowRun.objects.filter(worker_id__startswith=worker.prefix).exists()


def _held(ids: list[UUID], worker: WorkerProcess) -> list[UUID]:
    held = WorkflowRun.objects.filter(pk__in=ids, worker_id__startswith=worker.prefix)
    return list(held.values_list("pk", flat=True))


def _taken_from(ids: list[UUID], worker: WorkerProcess) -> list[UUID]:
    others = WorkflowRun.objects.filter(pk__in=ids, worker_id__isnull=False)
    return list(others.exclude(worker_id__startswith=worker.prefix).values_list("pk", flat=True))
