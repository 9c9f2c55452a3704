"""How many runs of three trivial steps one worker process executes in a second.

``python -m benchmarks.drain [--concurrency 1,10,50] [--runs 1000] [--rounds 3] [--use-async]``
starts that many runs at once and lets a worker drain them, in a test database of its own, on the
server or beside the file that ``DATABASE_URL`` names. Prints one JSON line for each round.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from typing import Any

import django


def main() -> int:
    """Parse, prepare a test database, measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--concurrency", default="1,10,50")
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--use-async", action="store_true")
    options = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "testproject.settings")
    django.setup()
    from django.db import connection

    before = connection.settings_dict["NAME"]
    connection.creation.create_test_db(verbosity=0, autoclobber=True)
    try:
        for _ in range(options.rounds):
            for concurrency in map(int, options.concurrency.split(",")):
                result = measure(options.runs, concurrency, use_async=options.use_async)
                sys.stdout.write(json.dumps({"database": connection.vendor, **result}) + "\n")
    finally:
        connection.creation.destroy_test_db(before, verbosity=0)
    return 0


def measure(runs: int, concurrency: int, *, use_async: bool) -> dict[str, Any]:
    """Drain so many runs; return the rate, and what PostgreSQL has committed meanwhile."""
    from django_openworkflow.models import WorkflowRun
    from django_openworkflow.registry import registry
    from django_openworkflow.worker.worker import Worker, WorkerOptions

    with registry.isolated():
        define(use_async=use_async).start_many([{}] * runs)
        worker = Worker(WorkerOptions(using="default", concurrency=concurrency))
        before = commits()
        began = time.perf_counter()
        cpu = time.process_time()
        worker.run(until_idle=True)
        took = time.perf_counter() - began
        cpu = time.process_time() - cpu
        left = WorkflowRun.objects.active().count()
    return {
        "async": use_async,
        "concurrency": concurrency,
        "runs_per_second": round(runs / took, 1),
        "cpu_ms_per_run": round(1000 * cpu / runs, 3),
        "commits_per_run": round((commits() - before) / runs, 2),
        "left": left,
    }


def define(*, use_async: bool) -> Any:
    """Define the workflow: three steps that do nothing."""
    from django_openworkflow import AsyncStep, Step, workflow

    if use_async:

        async def nothing(number: int) -> int:
            return number

        @workflow("three")
        async def three(step: AsyncStep) -> int:
            return sum([await step.run(name, nothing, 1) for name in ("a", "b", "c")])

        return three

    @workflow("three")
    def three_sync(step: Step) -> int:
        return sum(step.run(name, int, 1) for name in ("a", "b", "c"))

    return three_sync


def commits() -> int:
    """Return how many transactions have been committed in this database."""
    from django.db import connection

    if connection.vendor != "postgresql":
        return 0
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_clear_snapshot()")
        cursor.execute(
            "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"
        )
        return int(cursor.fetchone()[0])


if __name__ == "__main__":
    sys.exit(main())
