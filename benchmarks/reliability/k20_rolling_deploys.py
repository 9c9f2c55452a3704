"""K20: workers are replaced by those of another release, one by one, forth, back and forth again.

Runs of both releases are in flight and sleep all the while; those of the new version are started
before any worker knows it. Nothing may fail or be lost, no body may be called twice, and nobody may
execute what is not in its code.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from django.db.models import Max, Sum

from benchmarks.reliability import deploys
from benchmarks.reliability.arena import Arena, Findings, wait_until
from benchmarks.reliability.effects import Effects
from benchmarks.reliability.fleet import Fleet, WorkerProcess
from benchmarks.reliability.judge import failed_attempts, lost
from django_openworkflow import models
from django_openworkflow.models import StepAttempt, WorkflowRun

if TYPE_CHECKING:
    from uuid import UUID

_GRACE_SECONDS: Final = 10
_BODY_SECONDS: Final = 0.02
_ORDERS: Final = (["take", "pack"], ["take", "pack", "ship"])
_INVOICES: Final = {None: ["collect", "send"], "2": ["gather", "send"]}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """So many runs of each of three kinds before each worker that is replaced."""

    runs_per_step: int
    workers: int
    releases: tuple[str, ...] = ("2", "1", "2")


SIZES: Final = {
    "small": Plan(runs_per_step=5, workers=2, releases=("2",)),
    "full": Plan(runs_per_step=34, workers=3),
}


def measure(arena: Arena, plan: Plan) -> Findings:
    """Replace the oldest worker again and again, while runs are started."""
    effects, replaced, not_ended = Effects(arena.folder / "effects"), 0, 0
    misfits: set[UUID] = set()
    unfit = WorkflowRun.objects.filter(error__name="NonDeterministicWorkflow")

    def over() -> bool:
        misfits.update(unfit.values_list("pk", flat=True))
        return not WorkflowRun.objects.active().exists()

    with Fleet(arena.folder, concurrency=5, RELIABILITY_LEASE_SECONDS="30") as fleet:
        for _ in range(plan.workers):
            _start(fleet, "1")
        _start_runs(plan)
        ended = WorkflowRun.objects.completed().filter(workflow_name="rel-order")
        wait_until(ended.exists, seconds=30)  # some end before the deploy
        for release in plan.releases:
            for _ in range(plan.workers):
                oldest, newest = fleet.alive[0], _start(fleet, release)
                _start_runs(plan)
                _wait_for_work(newest)
                over()
                oldest.send(signal.SIGTERM)
                not_ended += oldest.wait(_GRACE_SECONDS + 5) is None
                fleet.forget(oldest)
                replaced += 1
        wait_until(over, seconds=180)
    effects.read()
    facts = {"workers_replaced": replaced, "runs_that_did_not_fit": len(misfits)}
    return _findings(effects, facts, not_ended)


def _start(fleet: Fleet, release: str) -> WorkerProcess:
    """Start a worker of a release, and wait until it is ready."""
    worker = fleet.start(1, "--grace", str(_GRACE_SECONDS), **{deploys.ENVIRONMENT: release})
    rows = models.WorkerProcess.objects.filter(pid=worker.pid)
    wait_until(rows.exists, seconds=30)
    return worker


def _start_runs(plan: Plan) -> None:
    for each in (deploys.order, deploys.invoice, deploys.invoice_2):
        each.start_many([{"seconds": _BODY_SECONDS}] * plan.runs_per_step)


def _wait_for_work(worker: WorkerProcess) -> None:
    """Wait until a worker has executed something, or does."""
    touched = StepAttempt.objects.filter(worker_id__startswith=worker.prefix)
    wait_until(touched.exists, seconds=30)


def _findings(effects: Effects, facts: dict[str, int], not_ended: int) -> Findings:
    rows = WorkflowRun.objects.values_list("workflow_name", "version", "output")
    orders = [output for name, _, output in rows if name == "rel-order"]
    invoices = [(version, output) for name, version, output in rows if name == "rel-invoice"]
    counted = WorkflowRun.objects.aggregate(
        failures=Sum("failures"), crashes=Sum("crashes"), takeovers=Sum("takeovers")
    )
    bodies: dict[tuple[str, str], int] = {}
    for (run, step), times in effects.entries.items():
        name = step.partition("@")[0]
        bodies[run, name] = bodies.get((run, name), 0) + times
    foreign = {"gather@1", "ship@1"}
    return Findings(
        facts={
            "runs": len(rows),
            **facts,
            "orders_with_the_new_step": orders.count(_ORDERS[1]),
            "runs_of_the_new_version": sum(version == "2" for version, _ in invoices),
            "most_claims": WorkflowRun.objects.aggregate(most=Max("attempts"))["most"],
        },
        wrong={
            "runs_not_completed": lost(),
            "steps_failed": failed_attempts(),
            "wrong_outputs": sum(output not in _ORDERS for output in orders)
            + sum(output != _INVOICES[version] for version, output in invoices),
            "bodies_called_again": sum(times - 1 for times in bodies.values()),
            "executed_without_its_code": sum(step in foreign for _, step in effects.entries),
            "workers_that_did_not_end": not_ended,
            "no_order_has_met_the_new_step": int(_ORDERS[1] not in orders),
            "no_order_has_missed_it": int(_ORDERS[0] not in orders),
            **{f"counted_as_{name}": int(count) for name, count in counted.items()},
        },
    )
