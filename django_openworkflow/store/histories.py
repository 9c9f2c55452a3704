"""Read the saved steps of runs, with what their waits have been waiting for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django_openworkflow.models import SignalDelivery, StepAttempt, WorkflowRun
from django_openworkflow.states import STEP_SUCCESSFUL, StepKind, StepStatus
from django_openworkflow.store.operations import Attempt, ChildOutcome, Delivered

if TYPE_CHECKING:
    from collections.abc import Collection
    from uuid import UUID


def load(using: str, run_ids: Collection[UUID]) -> dict[UUID, list[Attempt]]:
    """Return the step attempts of these runs in replay order, oldest first.

    One statement, and one more each where steps are waiting for children or for signals.
    """
    found: dict[UUID, list[Attempt]] = {pk: [] for pk in run_ids}
    rows = list(
        StepAttempt.objects.db_manager(using)
        .filter(workflow_run__in=run_ids)
        .order_by("created_at", "pk")
    )
    waits = [row for row in rows if row.status == StepStatus.RUNNING]
    children = _children(
        using, {row.child_workflow_run_id for row in waits if row.child_workflow_run_id}
    )
    delivered = _delivered(using, {row.pk for row in waits if row.kind == StepKind.SIGNAL_WAIT})
    for row in rows:
        found[row.workflow_run_id].append(_attempt(row, children, delivered))
    return found


def is_completed(using: str, attempt_id: UUID) -> bool:
    """Whether an attempt has completed, by what is committed now."""
    rows = StepAttempt.objects.db_manager(using).filter(pk=attempt_id)
    return rows.filter(status__in=STEP_SUCCESSFUL).exists()


def was_canceled(using: str, run_id: UUID) -> bool:
    """Whether a run is canceled, by what is committed now."""
    runs = WorkflowRun.objects.db_manager(using).all()
    return runs.canceled().filter(pk=run_id).exists()


def _children(using: str, ids: set[UUID]) -> dict[UUID | None, ChildOutcome]:
    if not ids:
        return {}
    rows = WorkflowRun.objects.db_manager(using).filter(pk__in=ids)
    return {
        pk: ChildOutcome(status=status, output=output, error=error, finished_at=finished_at)
        for pk, status, output, error, finished_at in rows.values_list(
            "pk", "status", "output", "error", "finished_at"
        )
    }


def _delivered(using: str, ids: set[UUID]) -> dict[UUID, Delivered]:
    if not ids:
        return {}
    rows = SignalDelivery.objects.db_manager(using).filter(step_attempt__in=ids)
    return {pk: Delivered(data=data) for pk, data in rows.values_list("step_attempt", "data")}


def _attempt(
    row: StepAttempt,
    children: dict[UUID | None, ChildOutcome],
    delivered: dict[UUID, Delivered],
) -> Attempt:
    return Attempt(
        id=row.pk,
        step_name=row.step_name,
        kind=row.kind,
        status=row.status,
        context=row.context,
        output=row.output,
        error=row.error,
        child_run_id=row.child_workflow_run_id,
        created_at=row.created_at,
        finished_at=row.finished_at,
        has_undo=row.has_undo,
        is_late=row.is_late,
        is_set_aside=row.superseded_at is not None,
        child=children.get(row.child_workflow_run_id),
        delivered=delivered.get(row.pk),
    )
