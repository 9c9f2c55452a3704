"""How waits begin: sleeps, signal waits, child runs. Each returns when it ends at the latest."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from django_openworkflow import clock, conf
from django_openworkflow.durations import one_year_after
from django_openworkflow.models import WorkflowRun
from django_openworkflow.states import StepKind
from django_openworkflow.store import signalling
from django_openworkflow.store.operations import ChildStarted, SignalWaitStarted, SleepStarted
from django_openworkflow.store.rows import new_row
from django_openworkflow.store.step_writes import insert_attempt
from django_openworkflow.store.turns import iso, whole_milliseconds

if TYPE_CHECKING:
    from collections.abc import Callable

    from django_openworkflow.store.turns import TurnRows


def _sleep_started(rows: TurnRows, operation: SleepStarted) -> datetime:
    resume_at = whole_milliseconds(rows.now + operation.duration)
    context = {"kind": str(StepKind.SLEEP), "resumeAt": iso(resume_at)}
    insert_attempt(rows, operation, StepKind.SLEEP, context=context)
    return resume_at


def _signal_wait_started(rows: TurnRows, operation: SignalWaitStarted) -> datetime:
    timeout_at = _timeout_at(rows.now, operation.timeout)
    context = {
        "kind": str(StepKind.SIGNAL_WAIT),
        "signal": operation.signal,
        "timeoutAt": iso(timeout_at),
    }
    insert_attempt(rows, operation, StepKind.SIGNAL_WAIT, context=context)
    signalling.take_buffered(rows.using, operation)
    return timeout_at


def _child_started(rows: TurnRows, operation: ChildStarted) -> datetime:
    """Insert attempt, child and link together, under the parent's lock."""
    timeout_at = _timeout_at(rows.now, operation.timeout)
    if not operation.resumed:
        context = {"kind": str(StepKind.WORKFLOW), "timeoutAt": iso(timeout_at)}
        insert_attempt(rows, operation, StepKind.WORKFLOW, context=context)
    namespace = conf.namespace()
    key = f"__workflow:{namespace}:{operation.attempt_id}"
    child_id = (
        rows.runs.filter(
            namespace_id=namespace,
            workflow_name=operation.child.workflow_name,
            idempotency_key=key,
        )
        .values_list("pk", flat=True)
        .first()
    )
    if child_id is None:
        child = new_row(
            operation.child,
            id=operation.child_id,
            idempotency_key=key,
            parent_step_attempt_namespace_id=namespace,
            parent_step_attempt_id=operation.attempt_id,
        )
        WorkflowRun._base_manager.using(rows.using).bulk_create([child])
        child_id = operation.child_id
    unlinked = rows.attempts.filter(pk=operation.attempt_id, child_workflow_run__isnull=True)
    unlinked.update(
        child_workflow_run_namespace_id=namespace,
        child_workflow_run_id=child_id,
        updated_at=clock.moment(),
    )
    return timeout_at


def _timeout_at(now: datetime, timeout: datetime | timedelta | None) -> datetime:
    """Return when a wait ends: by default a calendar year from now, 29 February on 1 March.

    Source: the original's ``step-history.ts``.
    """
    if timeout is None:
        return whole_milliseconds(one_year_after(now))
    return whole_milliseconds(now + timeout if isinstance(timeout, timedelta) else timeout)


WRITERS: Final[dict[type, Callable[[TurnRows, Any], Any]]] = {
    SleepStarted: _sleep_started,
    SignalWaitStarted: _signal_wait_started,
    ChildStarted: _child_started,
}
