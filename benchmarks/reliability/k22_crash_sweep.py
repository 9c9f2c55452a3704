"""K22: one run that uses every feature, hit at every message its worker sends to the database.

The messages are the failpoints: what is between two of them is seen by nobody. At each, the worker
gets SIGKILL, or its connection is cut, or the message is late by more than the lease. Then others
carry on, and the run must end as it does without any fault. Each third message is hit at full size;
the seed says which, so that three seeds hit them all.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from django.contrib.auth.models import Group

from benchmarks.reliability.arena import Arena, Findings
from benchmarks.reliability.judge import completed_twice
from benchmarks.reliability.proxy import Fate, Proxy, Weather
from benchmarks.reliability.tasks import everything
from django_openworkflow.models import StepAttempt, WorkflowRun
from django_openworkflow.states import RunStatus, StepStatus

if TYPE_CHECKING:
    from django_openworkflow import RunHandle

_LEASE_SECONDS: Final = 0.5
_GIVES_UP_SECONDS: Final = 20
_OUTPUT: Final = ["one", "book", "flaky", 1, ["left", "right"], [], None]
FAULTS: Final = ("kill", "cut", "slow")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Every so many-th message."""

    stride: int


SIZES: Final = {"small": Plan(stride=50), "full": Plan(stride=3)}


def measure(arena: Arena, plan: Plan) -> Findings:
    """Count the messages of a calm run, then hit one after the other."""
    proxy = Proxy(arena.postgres.port, seed=arena.seed)
    proxy.weather = Weather(longest_delay_seconds=3 * _LEASE_SECONDS)
    sweep = Sweep(arena, proxy, arena.postgres.url(arena.database, port=proxy.port))
    try:
        messages = sweep.calm()
        for place in range(1 + arena.seed % plan.stride, messages + 1, plan.stride):
            for fault in FAULTS:
                sweep.hit(place, fault)
    finally:
        sweep.close()
        proxy.close()
    return Findings(
        facts={"messages": messages, "hits": dict(sweep.hits), "workers": sweep.workers},
        wrong={
            "runs_that_did_not_complete": sweep.wrong["lost"],
            "wrong_outputs": sweep.wrong["output"],
            "failures_recorded_too_often": sweep.wrong["failures"],
            "steps_left_running": StepAttempt.objects.filter(status=StepStatus.RUNNING).count(),
            "steps_completed_twice": completed_twice(),
            "transactions_not_exactly_once": abs(
                Group.objects.count() - everything_completed().count()
            ),
            **{f"no_{fault}_has_hit": int(not sweep.hits[fault]) for fault in FAULTS},
        },
    )


def everything_completed() -> Any:
    """Return the runs that came to their end."""
    return WorkflowRun.objects.filter(workflow_name=everything.name, status=RunStatus.COMPLETED)


class Sweep:
    """Runs one worker at a time, and hurts it at a given message."""

    def __init__(self, arena: Arena, proxy: Proxy, url: str) -> None:
        self._folder = str(arena.folder)
        self._proxy = proxy
        self._nursery = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.reliability.nursery"],
            env={
                **os.environ,
                "DATABASE_URL": url,
                "RELIABILITY_LEASE_SECONDS": str(_LEASE_SECONDS),
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=(arena.folder / "workers.log").open("ab"),
            text=True,
        )
        self._count = 0
        self.workers = 0
        self.hits: Counter[str] = Counter()
        self.wrong: Counter[str] = Counter()

    def close(self) -> None:
        """End the nursery."""
        self._nursery.kill()
        self._nursery.wait()

    def calm(self) -> int:
        """Let a run complete without a fault, and return how many messages that took."""
        self._proxy.on_chunk = self._counting
        self._finish(everything.start(folder=self._folder))
        return self._count

    def hit(self, place: int, fault: str) -> None:
        """Hurt the worker of a new run at its n-th message, and let others carry on."""
        handle = everything.start(folder=self._folder)
        self._count = 0
        pid = self._go()

        def strike() -> Fate:
            self._count += 1
            if self._count != place:
                return Fate.PASS
            self.hits[fault] += 1
            if fault == "kill":
                os.kill(pid, signal.SIGKILL)
            return {"kill": Fate.CUT, "cut": Fate.CUT, "slow": Fate.WAIT}[fault]

        self._proxy.on_chunk = strike
        self._read()
        self._proxy.on_chunk = lambda: Fate.PASS
        self._finish(handle)

    # --- workers --------------------------------------------------------------------------------

    def _counting(self) -> Fate:
        self._count += 1
        return Fate.PASS

    def _finish(self, handle: RunHandle[Any]) -> None:
        """Let workers work until the run has ended, and judge it."""
        gives_up_at = time.monotonic() + _GIVES_UP_SECONDS
        while not handle.run.is_terminal and time.monotonic() < gives_up_at:
            self._go()
            self._read()
        run = handle.run
        self.wrong["lost"] += run.status != RunStatus.COMPLETED
        self.wrong["output"] += run.output != _OUTPUT
        failed = run.step_attempts.filter(status=StepStatus.FAILED).count()
        self.wrong["failures"] += failed > 1  # of the step that fails once

    def _go(self) -> int:
        if self._nursery.stdin is None:
            raise RuntimeError
        self._nursery.stdin.write("go\n")
        self._nursery.stdin.flush()
        self.workers += 1
        return int(self._read())

    def _read(self) -> str:
        if self._nursery.stdout is None:
            raise RuntimeError
        return self._nursery.stdout.readline().strip()
