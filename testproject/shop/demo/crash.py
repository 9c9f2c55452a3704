"""Kill a worker at the worst moment: a card is charged, and nobody has written it down yet."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import UUID

from django.db.models import F, QuerySet
from django.db.models.functions import Now

from django_openworkflow.models import StepAttempt, WorkflowRun
from django_openworkflow.states import RunStatus, StepKind, StepStatus
from testproject.shop.demo.workers import Workers
from testproject.shop.gateway import is_slow
from testproject.shop.models import Payment
from testproject.shop.workflows import fulfil_order

# What the dead process had sent to the database may still be committing.
SETTLE_SECONDS: Final = 0.3
# A slow bank takes 3 seconds: one of them is left for the kill.
FRESH: Final = timedelta(seconds=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Crash:
    """What the killed worker left behind."""

    pid: int
    exit_code: int
    runs: set[UUID]
    in_flight: dict[UUID, str]  # attempt to step
    charged: set[UUID]  # runs whose charge had reached the gateway, but not the step's result


def kill_a_worker(workers: Workers) -> Crash:
    """Wait until a worker has money in its hands, and kill it."""
    names = workers.names()
    victim = workers.wait_for("a worker in the middle of a charge", lambda: _holding_money(names))
    exit_code = workers.kill(names[victim])
    time.sleep(SETTLE_SECONDS)
    held = WorkflowRun.objects.for_workflow(fulfil_order.name).running()
    attempts = list(in_flight().filter(workflow_run__worker_id__startswith=f"{victim}:"))
    return Crash(
        pid=names[victim],
        exit_code=exit_code,
        runs=set(held.filter(worker_id__startswith=f"{victim}:").values_list("pk", flat=True)),
        in_flight={attempt.pk: attempt.step_name for attempt in attempts},
        charged=_charged(attempts),
    )


def in_flight() -> QuerySet[StepAttempt]:
    """Return the attempts whose body a worker is executing: of the claim that holds the run now."""
    attempts: QuerySet[StepAttempt] = StepAttempt.objects.filter(
        kind=StepKind.FUNCTION,
        status=StepStatus.RUNNING,
        workflow_run__workflow_name=fulfil_order.name,
        workflow_run__status=RunStatus.RUNNING,
        workflow_run__worker_id=F("worker_id"),
    )
    return attempts


def worker_name(worker_id: str | None) -> str:
    """Return the worker of a claim."""
    return (worker_id or "").rpartition(":")[0]


def _holding_money(names: Mapping[str, int]) -> str | None:
    """Return the name of a worker that waits for a slow bank, and has only just begun to."""
    fresh = Payment.objects.filter(created_at__gte=Now() - FRESH).order_by("-created_at")
    attempts = {
        f"{one.workflow_run_id}:charge": one for one in in_flight().filter(step_name="charge")
    }
    for payment in fresh:
        attempt = attempts.get(payment.key)
        name = worker_name(attempt.worker_id) if attempt else ""
        if name in names and is_slow(payment.order_id):
            return name
    return None


def _charged(attempts: list[StepAttempt]) -> set[UUID]:
    """Return the runs whose charge is in flight although the gateway has the money."""
    keys = {
        f"{attempt.workflow_run_id}:charge": attempt.workflow_run_id
        for attempt in attempts
        if attempt.step_name == "charge"
    }
    paid = Payment.objects.filter(key__in=keys).values_list("key", flat=True)
    return {keys[key] for key in paid}
