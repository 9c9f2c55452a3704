"""K1: workers are killed in the middle of steps; nothing is lost, doubled or changed after its end.

Real worker processes execute runs of six kinds: plain steps, sleeps, families, transaction steps,
async and undoable steps. Again and again one that is inside of a step's body gets SIGKILL, and a
new one is started. What step bodies have done is judged from a file that no database knows of.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Final

from django.db import connection

from benchmarks.reliability.arena import Arena, Findings
from benchmarks.reliability.effects import Effects
from benchmarks.reliability.fleet import Fleet, WorkerProcess
from benchmarks.reliability.judge import Hits, Terminal, judge
from benchmarks.reliability.workflows import KINDS
from django_openworkflow.models import WorkflowRun
from django_openworkflow.states import RunStatus

_LOOK_SECONDS: Final = 0.02


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much of a storm it is."""

    runs: int
    kills: int  # that hit somebody between a step's start and its result
    cancels: int
    workers: int
    concurrency: int
    longest_body_seconds: float = 0.25
    quiet_seconds: float = 180  # how long the rest may take when the last kill is done


SIZES: Final = {
    "small": Plan(runs=40, kills=3, cancels=4, workers=2, concurrency=5),
    "full": Plan(runs=10_000, kills=100, cancels=200, workers=4, concurrency=12),
}


def measure(arena: Arena, plan: Plan) -> Findings:
    """Let it storm, and judge what is left."""
    with Fleet(arena.folder, concurrency=plan.concurrency) as fleet:
        return Storm(arena, plan, fleet).rage()


class Storm:
    """Starts runs batch by batch; each batch is there to be hit by a kill."""

    def __init__(self, arena: Arena, plan: Plan, fleet: Fleet) -> None:
        self._plan, self._fleet = plan, fleet
        self._random = arena.random
        self._effects = Effects(arena.folder / "effects")
        self._hits, self._terminal = Hits(), Terminal()
        self._left = [KINDS[number % len(KINDS)] for number in range(plan.runs)]
        self._random.shuffle(self._left)
        self._cancels = plan.cancels

    def rage(self) -> Findings:
        """Do it all; return what was done, and what was found wrong."""
        self._fleet.start(self._plan.workers)
        while self._hits.kills_in_a_body < self._plan.kills and self._left:
            self._start_batch()
            if self._kill_one():
                self._cancel_some()
                self._fleet.start()
        self._start_runs(len(self._left))
        self._wait_for_quiet()
        missed = max(0, self._plan.kills - self._hits.kills_in_a_body)
        wrong = judge(self._effects, self._hits, self._terminal)
        return Findings(facts=self._facts(), wrong={**wrong, "kills_that_hit_nobody": missed})

    def _facts(self) -> dict[str, Any]:
        return {
            "database": connection.vendor,
            "runs": WorkflowRun.objects.count(),
            "canceled": WorkflowRun.objects.canceled().count(),
            "kills": self._hits.kills,
            "kills_in_a_body": self._hits.kills_in_a_body,
            "bodies_killed": self._hits.bodies,
            "runs_hit": len(self._hits.runs),
            "takeovers_without_a_kill": self._takeovers_without_a_kill(),
            "entries": sum(self._effects.entries.values()),
        }

    # --- runs -----------------------------------------------------------------------------------

    def _start_batch(self) -> None:
        """Start enough that the next kill finds somebody at work, and keep some for the rest."""
        kills_left = self._plan.kills - self._hits.kills_in_a_body
        self._start_runs(max(1, len(self._left) // (kills_left + 1)))

    def _start_runs(self, size: int) -> None:
        longest = self._plan.longest_body_seconds
        for _ in range(size):
            kind = self._left.pop()
            kind.start(seconds=round(self._random.uniform(longest / 5, longest), 3))

    def _cancel_some(self) -> None:
        share = -(-self._plan.cancels // max(1, self._plan.kills))
        active = list(WorkflowRun.objects.active().values_list("pk", flat=True))
        chosen = self._random.sample(active, k=min(share, self._cancels, len(active)))
        for pk in chosen:
            canceled = WorkflowRun.objects.filter(pk=pk).cancel_active(
                reason="chaos", cascade=self._random.choice((True, False))
            )
            self._cancels -= len(canceled.canceled)

    # --- workers --------------------------------------------------------------------------------

    def _kill_one(self) -> bool:
        """Kill a worker that is in a step's body, a random while after it was seen there."""
        worker = self._worker_at_work()
        if worker is None:
            return False
        time.sleep(self._random.uniform(0, 0.05))
        worker.kill()
        self._fleet.forget(worker)
        self._take_note_of(worker)
        return True

    def _worker_at_work(self) -> WorkerProcess | None:
        gives_up_at = time.monotonic() + 30
        while time.monotonic() < gives_up_at and WorkflowRun.objects.active().exists():
            self._effects.read()
            busy = [worker for worker in self._fleet.alive if self._effects.bodies_of(worker.pid)]
            if busy:
                return self._random.choice(busy)
            time.sleep(_LOOK_SECONDS)
        return None

    def _take_note_of(self, worker: WorkerProcess) -> None:
        """Count the kill only if it hit a body; remember the runs whose worker is dead."""
        self._effects.read()
        bodies = self._effects.bodies_of(worker.pid)
        running = WorkflowRun.objects.filter(status=RunStatus.RUNNING)
        owned = running.filter(worker_id__startswith=worker.prefix)
        self._hits.kills += 1
        self._hits.kills_in_a_body += bool(bodies)
        self._hits.bodies += len(bodies)
        self._hits.runs.update(
            {str(pk) for pk in owned.values_list("pk", flat=True)} | {body.run for body in bodies}
        )
        self._effects.forget(worker.pid)
        self._terminal.glance()

    # --- the end --------------------------------------------------------------------------------

    def _wait_for_quiet(self) -> None:
        gives_up_at = time.monotonic() + self._plan.quiet_seconds
        while WorkflowRun.objects.active().exists() and time.monotonic() < gives_up_at:
            self._terminal.glance()
            time.sleep(10 * _LOOK_SECONDS)

    def _takeovers_without_a_kill(self) -> int:
        """Leases that ran out although the worker lived: a machine too busy for its heartbeats."""
        taken = WorkflowRun.objects.filter(takeovers__gt=0).values_list("pk", "takeovers")
        return sum(max(0, times - self._hits.runs[str(pk)]) for pk, times in taken)
