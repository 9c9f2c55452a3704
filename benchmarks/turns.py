"""What a turn of the ledger costs in the store, without an engine around it.

``python -m benchmarks.turns [--sizes 1,10,50] [--runs 500] [--rounds 3]`` takes runs of three steps
through ``Store.take_turn`` as a worker does with so many of them in flight, with the fast and with
the portable store in turn, in a test database of its own. Prints one JSON line for each size: the
medians of the rounds, and by how much the fast store is faster.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from typing import TYPE_CHECKING, Any

import django

if TYPE_CHECKING:
    from django_openworkflow.store.base import Store
    from django_openworkflow.store.operations import ClaimedRun, Lease, Operation

_STEPS = 3


def main() -> int:
    """Parse, prepare a test database, measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--sizes", default="1,10,50")
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "testproject.settings")
    django.setup()
    from django.db import connection

    before = connection.settings_dict["NAME"]
    connection.creation.create_test_db(verbosity=0, autoclobber=True)
    try:
        for size in map(int, options.sizes.split(",")):
            result = compare(size, options.runs, options.rounds)
            sys.stdout.write(json.dumps({"database": connection.vendor, **result}) + "\n")
    finally:
        connection.creation.destroy_test_db(before, verbosity=0)
    return 0


def compare(size: int, runs: int, rounds: int) -> dict[str, Any]:
    """Measure both stores, interleaved."""
    from django_openworkflow.store.base import Store
    from django_openworkflow.store.factory import store_for

    stores = {"fast": store_for("default"), "portable": Store("default")}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in stores}
    for _ in range(rounds):
        for name, store in stores.items():
            found[name].append(measure(store, size, runs))
    result: dict[str, Any] = {"in_flight": size}
    for name, measured in found.items():
        rates, costs = zip(*measured, strict=True)
        result[f"{name}_runs_per_second"] = round(statistics.median(rates))
        result[f"{name}_client_cpu_us_per_operation"] = round(statistics.median(costs), 1)
    ratio = result["fast_runs_per_second"] / max(result["portable_runs_per_second"], 1)
    return {**result, "ratio": round(ratio, 1)}


def measure(store: Store, size: int, runs: int) -> tuple[float, float]:
    """Return runs per second, and the microseconds of this thread's CPU for each operation."""
    from django_openworkflow.models import WorkflowRun
    from django_openworkflow.store.base import ClaimRequest

    WorkflowRun.objects.all().delete()
    rows = (WorkflowRun(workflow_name="measured") for _ in range(runs))
    WorkflowRun.objects.bulk_create(rows, batch_size=500)
    flight = Flight()
    wall, cpu = time.perf_counter(), time.thread_time()
    while flight.ended < runs:
        claim = ClaimRequest(
            worker_name="bench",
            limit=size - len(flight.steps),
            lease_seconds=60,
            workflows=[("measured", None)],
        )
        result = store.take_turn(flight.operations, claim=claim if claim.limit else None)
        flight.go_on(result.claimed)
    cpu, wall = time.thread_time() - cpu, time.perf_counter() - wall
    return runs / wall, cpu / (runs * (2 * _STEPS + 1)) * 1_000_000


class Flight:
    """The runs in flight, and what they write next: each turn a step of each of them ends."""

    def __init__(self) -> None:
        self.ended = 0
        self.steps: dict[Lease, tuple[int, Any]] = {}
        self.operations: list[Operation] = []

    def go_on(self, claimed: list[ClaimedRun]) -> None:
        """Write how the steps end, and that the next ones begin."""
        from django_openworkflow.store.operations import RunCompleted, StepCompleted

        self.ended += sum(isinstance(each, RunCompleted) for each in self.operations)
        self.operations = []
        for lease, (number, attempt_id) in list(self.steps.items()):
            self.operations.append(
                StepCompleted(lease=lease, attempt_id=attempt_id, output='{"v":1}')
            )
            if number < _STEPS:
                self._begin(lease, number + 1)
                continue
            del self.steps[lease]
            end = RunCompleted(lease=lease, parent_run_id=None, output='{"v":1}')
            self.operations.append(end)
        for run in claimed:
            self._begin(run.lease, 1)

    def _begin(self, lease: Lease, number: int) -> None:
        from django_openworkflow.identifiers import new_id
        from django_openworkflow.store.operations import StepStarted

        attempt_id = new_id()
        self.steps[lease] = (number, attempt_id)
        self.operations.append(
            StepStarted(
                lease=lease, attempt_id=attempt_id, step_name=f"step-{number}", kind="function"
            )
        )


if __name__ == "__main__":
    sys.exit(main())
