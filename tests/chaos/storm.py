"""The storm: real worker processes, killed in the middle of steps and started again."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from django.db import connection

import testproject
from django_openworkflow.models import WorkflowRun
from django_openworkflow.states import RunStatus
from tests.chaos import effects as effects_module
from tests.chaos.effects import Effects
from tests.chaos.judge import Hits, Terminal, judge
from tests.chaos.workflows import KINDS

MANAGE: Final = Path(testproject.__path__[0]) / "manage.py"
_LOOK_SECONDS: Final = 0.02


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much of a storm it is."""

    runs: int
    kills: int
    cancels: int
    seed: int
    concurrency: int
    workers: int
    quiet_seconds: float  # how long the rest may take when the last kill is done


class Storm:
    """Starts runs batch by batch; each batch is there to be hit by a kill."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self._plan, self._folder = plan, folder
        self._random = random.Random(plan.seed)  # noqa: S311 - not a secret
        os.environ[effects_module.ENVIRONMENT] = str(folder / "effects")
        self._effects = Effects(folder / "effects")
        self._hits, self._terminal = Hits(), Terminal()
        self._workers: list[subprocess.Popen[bytes]] = []
        self._left = [KINDS[number % len(KINDS)] for number in range(plan.runs)]
        self._random.shuffle(self._left)
        self._cancels = plan.cancels

    def rage(self) -> dict[str, Any]:
        """Do it all; return what was done, and what was found wrong."""
        began = time.monotonic()
        try:
            for _ in range(self._plan.workers):
                self._start_worker()
            while self._hits.kills_in_a_body < self._plan.kills and self._left:
                self._start_batch()
                if self._kill_one():
                    self._cancel_some()
                    self._start_worker()
            self._start_runs(len(self._left))
            self._wait_for_quiet()
        finally:
            self._stop_workers()
        wrong = judge(self._effects, self._hits, self._terminal)
        hit_enough = self._hits.kills_in_a_body >= self._plan.kills
        return {
            "database": connection.vendor,
            "seed": self._plan.seed,
            "runs": WorkflowRun.objects.count(),
            "canceled": WorkflowRun.objects.canceled().count(),
            "kills": self._hits.kills,
            "kills_in_a_body": self._hits.kills_in_a_body,
            "bodies_killed": self._hits.bodies,
            "runs_hit": len(self._hits.runs),
            "takeovers_without_a_kill": self._takeovers_without_a_kill(),
            "entries": sum(self._effects.entries.values()),
            "seconds": round(time.monotonic() - began, 1),
            "wrong": wrong,
            "ok": hit_enough and not any(wrong.values()),
        }

    # --- runs -----------------------------------------------------------------------------------

    def _start_batch(self) -> None:
        """Start enough that the next kill finds somebody at work, and keep some for the rest."""
        kills_left = self._plan.kills - self._hits.kills_in_a_body
        self._start_runs(max(1, len(self._left) // (kills_left + 1)))

    def _start_runs(self, size: int) -> None:
        for _ in range(size):
            kind = self._left.pop()
            kind.start(seconds=round(self._random.uniform(0.05, 0.25), 3))

    def _cancel_some(self) -> None:
        share = -(-self._plan.cancels // max(1, self._plan.kills))
        active = list(WorkflowRun.objects.active().values_list("pk", flat=True))
        chosen = self._random.sample(active, k=min(share, self._cancels, len(active)))
        for pk in chosen:
            canceled = WorkflowRun.objects.filter(pk=pk).cancel_active(
                reason="chaos", cascade=self._random.random() < 0.5
            )
            self._cancels -= len(canceled.canceled)

    # --- workers --------------------------------------------------------------------------------

    def _start_worker(self) -> None:
        with (self._folder / "workers.log").open("ab") as log:
            worker = subprocess.Popen(  # noqa: S603 - a program of this project
                [
                    sys.executable,
                    str(MANAGE),
                    "runworker",
                    "--concurrency",
                    str(self._plan.concurrency),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._workers.append(worker)

    def _kill_one(self) -> bool:
        """Kill a worker that is in a step's body, a random while after it was seen there."""
        worker = self._worker_at_work()
        if worker is None:
            return False
        threading.Event().wait(self._random.uniform(0, 0.05))
        os.kill(worker.pid, signal.SIGKILL)
        worker.wait()
        self._workers.remove(worker)
        self._take_note_of(worker.pid)
        return True

    def _worker_at_work(self) -> subprocess.Popen[bytes] | None:
        gives_up_at = time.monotonic() + 30
        while time.monotonic() < gives_up_at and WorkflowRun.objects.active().exists():
            self._effects.read()
            busy = [worker for worker in self._workers if self._effects.bodies_of(worker.pid)]
            if busy:
                return self._random.choice(busy)
            threading.Event().wait(_LOOK_SECONDS)
        return None

    def _take_note_of(self, pid: int) -> None:
        """Count the kill only if it hit a body; remember the runs whose worker is dead."""
        self._effects.read()
        bodies = self._effects.bodies_of(pid)
        owner = f"{socket.gethostname()}-{pid}:"
        owned = WorkflowRun.objects.filter(status=RunStatus.RUNNING, worker_id__startswith=owner)
        self._hits.kills += 1
        self._hits.kills_in_a_body += bool(bodies)
        self._hits.bodies += len(bodies)
        self._hits.runs.update(
            {str(pk) for pk in owned.values_list("pk", flat=True)} | {body.run for body in bodies}
        )
        self._effects.forget(pid)
        self._terminal.look()

    def _stop_workers(self) -> None:
        for worker in self._workers:
            worker.terminate()
        for worker in self._workers:
            try:
                worker.wait(timeout=10)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()

    # --- the end --------------------------------------------------------------------------------

    def _wait_for_quiet(self) -> None:
        gives_up_at = time.monotonic() + self._plan.quiet_seconds
        while WorkflowRun.objects.active().exists() and time.monotonic() < gives_up_at:
            self._terminal.look()
            threading.Event().wait(10 * _LOOK_SECONDS)

    def _takeovers_without_a_kill(self) -> int:
        """Leases that ran out although the worker lived: a machine too busy for its heartbeats."""
        taken = WorkflowRun.objects.filter(takeovers__gt=0).values_list("pk", "takeovers")
        return sum(max(0, times - self._hits.runs[str(pk)]) for pk, times in taken)
