"""K17: a worker that has executed thousands of runs is no larger, and holds no more connections."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from django.db import connection

from benchmarks.reliability.arena import Arena, Findings, wait_until
from benchmarks.reliability.fleet import Fleet
from benchmarks.reliability.judge import lost
from benchmarks.reliability.tasks import many_steps
from django_openworkflow.models import WorkflowRun

_CONCURRENCY: Final = 8
_GROWTH: Final = 1.10
_LOOK_SECONDS: Final = 0.2
_SAMPLE: Final = """
SELECT count(*), count(*) FILTER (
    WHERE state = 'idle in transaction' AND state_change < clock_timestamp() - %s * interval '1 s')
FROM pg_stat_activity
WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
"""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """``warm_up`` runs before the first look at the size, then so many more.

    A transaction may be silent for ``silent_seconds``; a small machine's stall is no leak.
    """

    warm_up: int
    runs: int
    silent_seconds: int = 1


SIZES: Final = {
    "small": Plan(warm_up=100, runs=150, silent_seconds=5),
    "full": Plan(warm_up=1_000, runs=5_000),
}


def measure(arena: Arena, plan: Plan) -> Findings:
    """Sample the server and the process while one worker executes them all."""
    with Fleet(arena.folder, concurrency=_CONCURRENCY) as fleet:
        worker = fleet.start()
        connections, idle = _execute(plan.warm_up, plan)
        small = _kilobytes(worker.pid)
        later = _execute(plan.runs, plan)
        large = _kilobytes(worker.pid)
    connections, idle = max(connections, later[0]), idle + later[1]
    wait_until(lambda: _sample(plan)[0] == 0, seconds=20)  # the server ends them a little later
    left = _sample(plan)[0]
    return Findings(
        facts={
            "runs": plan.warm_up + plan.runs,
            "kilobytes_after_warm_up": small,
            "kilobytes_at_the_end": large,
            "most_connections": connections,
            "threads": _CONCURRENCY,
        },
        wrong={
            "runs_not_completed": lost(),
            "grown_by_more_than_a_tenth": int(large > small * _GROWTH),
            "connections_too_many": max(0, connections - _CONCURRENCY - 2),
            "idle_in_transaction": idle,
            "connections_left_after_the_end": left,
        },
    )


def _execute(runs: int, plan: Plan) -> tuple[int, int]:
    """Run so many; return the most connections, and how often one idled in a transaction."""
    many_steps.start_many([{"count": 3, "seconds": 0}] * runs)
    connections = idle = 0
    gives_up_at = time.monotonic() + 60 + runs * 0.2
    while WorkflowRun.objects.active().exists() and time.monotonic() < gives_up_at:
        open_ones, idle_ones = _sample(plan)
        connections, idle = max(connections, open_ones), idle + idle_ones
        time.sleep(_LOOK_SECONDS)
    return connections, idle


def _sample(plan: Plan) -> tuple[int, int]:
    with connection.cursor() as cursor:
        cursor.execute(_SAMPLE, [plan.silent_seconds])
        row = cursor.fetchone()
    return (row[0], row[1])


def _kilobytes(pid: int) -> int:
    """Return the memory that a process occupies."""
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1])
