"""What a canceled run leaves to undo becomes a run of its own, started with the cancel's commit.

So ``canceled`` stays final and immediate, and cleaning up is as durable as any other run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from django.db.models import Exists, OuterRef, Q

from django_openworkflow.identifiers import new_id
from django_openworkflow.instrumentation import inherited
from django_openworkflow.states import STEP_SUCCESSFUL, RunStatus

if TYPE_CHECKING:
    from collections.abc import Iterable
    from uuid import UUID

    from django_openworkflow.models import StepAttempt, WorkflowRun
    from django_openworkflow.transitions import TransitionQuerySet

_SUFFIX: Final = ":cleanup"
UNDO_PREFIX: Final = "undo:"


def cleanup_name(workflow_name: str) -> str:
    """Return the name under which a workflow's clean-up runs are claimed and listed."""
    return f"{workflow_name}{_SUFFIX}"


def workflow_name_of(name: str) -> str:
    """Return the name of the workflow whose clean-up runs have this name."""
    return name.removesuffix(_SUFFIX)


def start_cleanups(runs: TransitionQuerySet, ids: Iterable[UUID]) -> None:
    """Insert clean-up runs for those of the runs, canceled in this transaction, that need one.

    Needed by a workflow with ``on_cancel``, and by completed steps that registered an undo. The
    step in flight is not waited for: when it completes, its undo gets a run of its own.
    """
    undoable = runs.attempts().filter(
        workflow_run=OuterRef("pk"), has_undo=True, superseded_at__isnull=True
    )
    needed = Q(has_cancel_hook=True) | Q(Exists(undoable.filter(status__in=STEP_SUCCESSFUL)))
    canceled = runs.unfiltered().filter(needed, pk__in=ids, cleanup_of__isnull=True)
    runs.unfiltered().bulk_create([_cleanup_run(run) for run in canceled])


def start_late(runs: TransitionQuerySet, attempt: StepAttempt) -> None:
    """Insert a clean-up run for one step that completed after its run was canceled."""
    run = runs.unfiltered().get(pk=attempt.workflow_run_id)
    is_cleanup = run.cleanup_of_id is not None
    if attempt.has_undo and run.status == RunStatus.CANCELED and not is_cleanup:
        runs.unfiltered().bulk_create([_cleanup_run(run, cleanup_attempt_id=attempt.pk)])


def _cleanup_run(run: WorkflowRun, cleanup_attempt_id: UUID | None = None) -> WorkflowRun:
    return type(run)(
        id=new_id(),
        namespace_id=run.namespace_id,
        workflow_name=cleanup_name(run.workflow_name),
        version=run.version,
        context=inherited(run.context),
        input=run.input,
        queue=run.queue,
        priority=run.priority,
        cleanup_of=run,
        cleanup_attempt_id=cleanup_attempt_id,
    )
