"""How a pass of a run ends in the rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django.db.models import Exists, F, OuterRef, Q

from django_openworkflow import clock
from django_openworkflow.models import SignalDelivery
from django_openworkflow.serialization import decode
from django_openworkflow.states import ACTIVE, TERMINAL, RunStatus, StepKind, StepStatus
from django_openworkflow.store import wait_writes
from django_openworkflow.store.operations import (
    RunCompleted,
    RunFailed,
    RunParked,
    RunReleased,
    RunRescheduled,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from django_openworkflow.store.operations import Lease, Operation
    from django_openworkflow.store.turns import Locked, TurnRows


def _completed(rows: TurnRows, operation: RunCompleted) -> None:
    output = decode(operation.output)
    _end(rows, operation.lease, RunStatus.COMPLETED, output=output, error=None)


def _failed(rows: TurnRows, operation: RunFailed) -> None:
    # The original resets started_at on failure. Source: its ``backend.ts``, failWorkflowRun.
    error = decode(operation.error)
    _end(
        rows,
        operation.lease,
        RunStatus.FAILED,
        error=error,
        started_at=None,
        failures=F("failures") + 1,
        released_by=operation.lease.worker_id,
    )


def _end(rows: TurnRows, lease: Lease, status: RunStatus, **columns: Any) -> None:
    rows.transitions.end_locked([lease.run_id], status, **columns)
    rows[lease].status = status


def _rescheduled(rows: TurnRows, operation: RunRescheduled) -> None:
    values: dict[str, Any] = {"failures": F("failures") + 1} if operation.is_failure else {}
    again_at = rows.now + operation.delay
    _give_up(
        rows,
        operation.lease,
        RunStatus.PENDING,
        available_at=min(again_at, operation.wake_at or again_at),
        error=decode(operation.error),
        started_at=None,
        **values,
    )


def _released(rows: TurnRows, operation: RunReleased) -> None:
    _give_up(rows, operation.lease, RunStatus.RUNNING, available_at=clock.moment())


def _parked(rows: TurnRows, operation: RunParked) -> None:
    ends = [wait_writes.WRITERS[type(wait)](rows, wait) for wait in operation.waits]
    if operation.wake_at is not None:
        ends.append(operation.wake_at)
    _give_up(rows, operation.lease, RunStatus.RUNNING, available_at=min(ends))
    wake_if_it_happened(rows, operation.lease.run_id)


def wake_if_it_happened(rows: TurnRows, run_id: UUID) -> None:
    """Wake a run that parked after its child ended or its signal came.

    A statement of its own, after the park: it sees what was committed while we waited for the row,
    and whoever comes later waits for our lock and finds the run parked.
    """
    running = rows.attempts.filter(workflow_run=OuterRef("pk"), status=StepStatus.RUNNING)
    delivered = Exists(SignalDelivery._base_manager.filter(step_attempt=OuterRef("pk")))
    happened = running.filter(
        Q(kind=StepKind.WORKFLOW, child_workflow_run__status__in=TERMINAL)
        | Q(delivered, kind=StepKind.SIGNAL_WAIT)
    )
    rows.runs.filter(Exists(happened), pk=run_id).update(available_at=clock.moment())


def _give_up(rows: TurnRows, lease: Lease, status: RunStatus, **columns: Any) -> None:
    rows.runs.filter(pk=lease.run_id).update(
        status=status,
        worker_id=None,
        released_by=lease.worker_id,
        updated_at=clock.moment(),
        **columns,
    )
    rows[lease].status, rows[lease].worker_id = status, None


# --- once more ------------------------------------------------------------------------------------


def is_repeated(operation: Operation, row: Locked) -> bool:
    """Whether this claim has given its run up so before, and the reply was lost.

    A completed run keeps its worker. All others name the claim that gave them up last, also when
    another one holds them by now.
    """
    claim = operation.lease.worker_id
    match operation:
        case RunCompleted():
            return row.status == RunStatus.COMPLETED and row.worker_id == claim
        case RunFailed():
            return row.status == RunStatus.FAILED and row.released_by == claim
        case RunRescheduled() | RunParked() | RunReleased():
            return row.status in ACTIVE and row.released_by == claim
    return False


WRITERS: Final[dict[type, Callable[[TurnRows, Any], Any]]] = {
    RunCompleted: _completed,
    RunFailed: _failed,
    RunRescheduled: _rescheduled,
    RunReleased: _released,
    RunParked: _parked,
}
