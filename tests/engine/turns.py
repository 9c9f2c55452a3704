"""One turn of a worker's store: the operations there are, and runs that a worker holds."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from django_openworkflow.identifiers import new_id
from django_openworkflow.models import StepAttempt, WorkflowRun
from django_openworkflow.store.factory import store_for
from django_openworkflow.store.operations import (
    ChildStarted,
    Lease,
    NewRun,
    Operation,
    Receipt,
    RunCompleted,
    RunFailed,
    RunParked,
    RunReleased,
    RunRescheduled,
    SignalSent,
    SignalWaitStarted,
    SleepStarted,
    StepCompleted,
    StepFailed,
    StepStarted,
    Verdict,
    WaitTimedOut,
)
from tests.factories import StepAttemptFactory, WorkflowRunFactory

HOUR = timedelta(hours=1)
ERROR = '{"name":"ValueError","message":"No stock"}'

OPERATIONS: dict[str, Callable[[Lease, UUID], Operation]] = {
    "start": lambda lease, _: StepStarted(
        lease=lease, attempt_id=new_id(), step_name="new", kind="function"
    ),
    "resume": lambda lease, attempt: StepStarted(
        lease=lease, attempt_id=attempt, step_name="body", kind="function", resumed=True
    ),
    "signal-sent": lambda lease, _: SignalSent(
        lease=lease, attempt_id=new_id(), step_name="send", signal="approval", data="1"
    ),
    "sleep": lambda lease, _: SleepStarted(
        lease=lease, attempt_id=new_id(), step_name="nap", duration=HOUR
    ),
    "wait": lambda lease, _: SignalWaitStarted(
        lease=lease, attempt_id=new_id(), step_name="wait", signal="approval", timeout=None
    ),
    "wait-timed-out": lambda lease, attempt: WaitTimedOut(lease=lease, attempt_id=attempt),
    "child": lambda lease, _: ChildStarted(
        lease=lease,
        attempt_id=new_id(),
        step_name="child",
        child_id=new_id(),
        child=NewRun(workflow_name="process-order", version=None, input=None),
        timeout=None,
    ),
    "step-completed": lambda lease, attempt: StepCompleted(
        lease=lease, attempt_id=attempt, output="[1]"
    ),
    "step-failed": lambda lease, attempt: StepFailed(lease=lease, attempt_id=attempt, error=ERROR),
    "completed": lambda lease, _: RunCompleted(lease=lease, parent_run_id=None, output="[1]"),
    "failed": lambda lease, _: RunFailed(lease=lease, parent_run_id=None, error=ERROR),
    "rescheduled": lambda lease, _: RunRescheduled(
        lease=lease, error=ERROR, delay=HOUR, is_failure=True
    ),
    "parked": lambda lease, _: RunParked(
        lease=lease,
        waits=(SleepStarted(lease=lease, attempt_id=new_id(), step_name="nap", duration=HOUR),),
    ),
    "released": lambda lease, _: RunReleased(lease=lease),
}
every_operation = pytest.mark.parametrize(
    "build", [pytest.param(build, id=name) for name, build in OPERATIONS.items()]
)


def write(*operations: Operation, wait: bool = True) -> list[Receipt]:
    """Write one turn."""
    return store_for("default").apply(operations, wait=wait)


def verdict(*operations: Operation, wait: bool = True) -> Verdict:
    """Write one turn and return its last verdict."""
    return write(*operations, wait=wait)[-1].verdict


def lease_of(run: WorkflowRun) -> Lease:
    """Return the lease that a run's row speaks of."""
    return Lease(run_id=run.pk, worker_id=run.worker_id or "nobody")


def held(**columns: Any) -> tuple[WorkflowRun, StepAttempt, Lease]:
    """Return a run that a worker holds, with a step whose body runs."""
    run = WorkflowRunFactory.create(**{"running": True, **columns})
    attempt = StepAttemptFactory.create(workflow_run=run, step_name="body")
    return run, attempt, lease_of(run)


def rows(*, but: str = "") -> list[list[dict[str, Any]]]:
    """Return all that is stored, but for one column."""
    return [
        [
            {name: value for name, value in row.items() if name != but}
            for row in model._base_manager.order_by("pk").values()
        ]
        for model in (WorkflowRun, StepAttempt)
    ]
