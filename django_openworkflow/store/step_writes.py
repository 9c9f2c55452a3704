"""How steps begin and end in the rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django.db.models import F

from django_openworkflow import cleanups, clock, conf
from django_openworkflow.models import SignalDelivery, StepAttempt
from django_openworkflow.serialization import decode
from django_openworkflow.states import STEP_SUCCESSFUL, StepKind, StepStatus
from django_openworkflow.store import signalling
from django_openworkflow.store.operations import (
    Delivered,
    SignalSent,
    StepCompleted,
    StepFailed,
    StepStarted,
    WaitTimedOut,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from django_openworkflow.store.operations import Lease, Operation
    from django_openworkflow.store.turns import TurnRows


def insert_attempt(rows: TurnRows, operation: Any, kind: str, **columns: Any) -> None:
    """Insert a running attempt. A conflict is ignored: the id is its own, so this is repeatable."""
    attempt = StepAttempt(
        id=operation.attempt_id,
        namespace_id=conf.namespace(),
        workflow_run_id=operation.lease.run_id,
        step_name=operation.step_name,
        kind=kind,
        worker_id=operation.lease.worker_id,
        **columns,
    )
    rows.attempts.bulk_create([attempt], ignore_conflicts=True)


def _started(rows: TurnRows, operation: StepStarted) -> None:
    if not operation.resumed:
        insert_attempt(rows, operation, operation.kind, has_undo=operation.has_undo)
        return
    # Not counted twice when this very claim has taken it over already.
    running = rows.attempts.filter(pk=operation.attempt_id, status=StepStatus.RUNNING)
    running.exclude(worker_id=operation.lease.worker_id).update(
        worker_id=operation.lease.worker_id,
        has_undo=operation.has_undo,
        interruptions=F("interruptions") + 1,
        started_at=clock.moment(),
        updated_at=clock.moment(),
    )


def _completed(rows: TurnRows, operation: StepCompleted) -> None:
    _finish(rows, operation, status=StepStatus.COMPLETED, output=decode(operation.output))
    _note_progress(rows, operation.lease)


def _failed(rows: TurnRows, operation: StepFailed) -> None:
    _finish(rows, operation, status=StepStatus.FAILED, error=decode(operation.error))
    _note_progress(rows, operation.lease)


def _finish(rows: TurnRows, operation: Any, **columns: Any) -> int:
    """End a running attempt; one that has ended already keeps its first outcome."""
    moment = clock.moment()
    started = getattr(operation, "started", None)
    if started is not None and not rows.attempts.filter(pk=operation.attempt_id).exists():
        _started(rows, started)  # a crash of the server has lost it
    return rows.attempts.filter(
        pk=operation.attempt_id,
        workflow_run=operation.lease.run_id,
        status=StepStatus.RUNNING,
    ).update(finished_at=moment, updated_at=moment, **columns)


def _note_progress(rows: TurnRows, lease: Lease) -> None:
    if rows[lease].crashes:
        rows.runs.filter(pk=lease.run_id).update(crashes=0)
        rows[lease].crashes = 0


def keep_late_outcome(rows: TurnRows, operation: StepCompleted | StepFailed) -> None:
    """Record how the step in flight ended although its run was canceled or timed out meanwhile.

    Only the claim that started the attempt may, and only while nobody else completed the step. What
    can be undone of a canceled run is then undone by a clean-up run of its own.
    """
    attempts = rows.attempts.filter(workflow_run=operation.lease.run_id)
    attempt = attempts.filter(pk=operation.attempt_id, worker_id=operation.lease.worker_id).first()
    if attempt is None:
        return
    same_step = attempts.filter(step_name=attempt.step_name, superseded_at__isnull=True)
    if same_step.filter(status__in=STEP_SUCCESSFUL).exists():
        return
    if isinstance(operation, StepFailed):
        error = decode(operation.error)
        _finish(rows, operation, status=StepStatus.FAILED, error=error, is_late=True)
        return
    output = decode(operation.output)
    if _finish(rows, operation, status=StepStatus.COMPLETED, output=output, is_late=True):
        cleanups.start_late(rows.transitions, attempt)


def is_recorded(rows: TurnRows, operation: Operation) -> bool:
    """Whether this claim has recorded this very outcome of a step before.

    A wait that the end of its run has closed is none: it is set aside, and nobody's outcome.
    """
    if not isinstance(operation, StepCompleted | StepFailed):
        return False
    ended = STEP_SUCCESSFUL if isinstance(operation, StepCompleted) else (StepStatus.FAILED,)
    mine = rows.attempts.filter(pk=operation.attempt_id, worker_id=operation.lease.worker_id)
    kept = mine.filter(workflow_run=operation.lease.run_id, superseded_at__isnull=True)
    return kept.filter(status__in=ended).exists()


def _signal_sent(rows: TurnRows, operation: SignalSent) -> list[str]:
    if not operation.resumed:
        insert_attempt(rows, operation, StepKind.SIGNAL_SEND)
    key = f"__signal:{operation.lease.run_id}:{operation.step_name}"
    # Another client delivers and completes in two transactions: it may have come half way.
    received = signalling.received_before(rows.using, operation.signal, key)
    if received is None and _has_sent(rows, operation):
        return []  # it reached nobody, and the reply was lost: who waits now was not meant
    if received is None:
        data = decode(operation.data)
        locked = set(rows.ids())
        received = signalling.deliver_locked(
            rows.using, operation.signal, data, key=key, locked=locked
        )
    ids = [str(run_id) for run_id in received]
    _finish(rows, operation, status=StepStatus.COMPLETED, output={"workflowRunIds": ids})
    return ids


def _has_sent(rows: TurnRows, operation: SignalSent) -> bool:
    ended = rows.attempts.filter(pk=operation.attempt_id, status__in=STEP_SUCCESSFUL)
    return ended.exists()


def _wait_timed_out(rows: TurnRows, operation: WaitTimedOut) -> Delivered | None:
    """End a wait without a signal, unless one was delivered before we got here.

    Senders lock the attempt, so it is locked first and looked at in a second statement.
    """
    list(rows.attempts.filter(pk=operation.attempt_id).select_for_update().values_list("pk"))
    deliveries = SignalDelivery._base_manager.using(rows.using)
    delivery = deliveries.filter(step_attempt=operation.attempt_id).first()
    if delivery is not None:
        return Delivered(data=delivery.data)
    _finish(rows, operation, status=StepStatus.COMPLETED, output=None)
    return None


WRITERS: Final[dict[type, Callable[[TurnRows, Any], Any]]] = {
    StepStarted: _started,
    StepCompleted: _completed,
    StepFailed: _failed,
    SignalSent: _signal_sent,
    WaitTimedOut: _wait_timed_out,
}
