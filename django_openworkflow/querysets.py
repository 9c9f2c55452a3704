"""What people do to runs: filter them in English, and cancel them.

Lock order, here and in the store: runs in ascending id, then step attempts, then signal deliveries.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from django.db import models, transaction

from django_openworkflow import (
    cancelling,
    cleanups,
    clock,
    instrumentation,
    notices,
    signals,
)
from django_openworkflow.cancelling import CancelNote, CancelOutcome
from django_openworkflow.exceptions import (
    RunNotCancelable,
    RunNotFound,
    RunNotRetryable,
)
from django_openworkflow.identifiers import as_uuid
from django_openworkflow.states import (
    ACTIVE,
    RETRYABLE,
    SUCCESSFUL,
    TERMINAL,
    CancelSource,
    RunStatus,
)
from django_openworkflow.transactions import hooks_allowed, in_write_transaction
from django_openworkflow.transitions import (
    PARKED,
    TransitionQuerySet,
    chunks,
    unfinished_error,
)
from django_openworkflow.untouched import cancel_untouched

if TYPE_CHECKING:
    from datetime import datetime, timedelta
    from uuid import UUID

    from django_openworkflow.models import (
        WorkflowRun,
    )

__all__ = ["CancelOutcome", "WorkflowRunQuerySet"]


class WorkflowRunQuerySet(TransitionQuerySet):
    """Runs. ``cancel`` and ``cancel_active`` are the only writes meant for application code."""

    # --- vocabulary -----------------------------------------------------------------------------

    def active(self) -> WorkflowRunQuerySet:
        """Runs that have not ended: pending, running, or parked."""
        return self.filter(status__in=ACTIVE)

    def terminal(self) -> WorkflowRunQuerySet:
        """Runs that have ended: completed, failed or canceled."""
        return self.filter(status__in=TERMINAL)

    def pending(self) -> WorkflowRunQuerySet:
        """Runs that wait for a worker, for the first time or after a failure."""
        return self.filter(status=RunStatus.PENDING)

    def running(self) -> WorkflowRunQuerySet:
        """Runs that a worker holds."""
        return self.filter(status=RunStatus.RUNNING, worker_id__isnull=False)

    def parked(self) -> WorkflowRunQuerySet:
        """Runs that wait for a time, a signal or a child, and hold no worker."""
        return self.filter(PARKED)

    def completed(self) -> WorkflowRunQuerySet:
        """Runs that ended well."""
        return self.filter(status__in=SUCCESSFUL)

    def failed(self) -> WorkflowRunQuerySet:
        """Runs that ended with an error."""
        return self.filter(status=RunStatus.FAILED)

    def canceled(self) -> WorkflowRunQuerySet:
        """Runs that were canceled."""
        return self.filter(status=RunStatus.CANCELED)

    def for_workflow(self, name: str) -> WorkflowRunQuerySet:
        """Runs of one workflow, in all its versions."""
        return self.filter(workflow_name=name)

    def due(self, now: datetime | None = None) -> WorkflowRunQuerySet:
        """Active runs that may be claimed now: started, awake, retried, or left by a dead one."""
        return self.active().filter(available_at__lte=clock.moment(now))

    def older_than(self, age: timedelta, now: datetime | None = None) -> WorkflowRunQuerySet:
        """Runs created at least ``age`` ago, by the database's clock."""
        return self.filter(created_at__lte=clock.moment(now, plus=-age))

    def fetch(self, run_or_id: WorkflowRun | UUID | str) -> WorkflowRun:
        """Return the run as it is now; raises ``RunNotFound``."""
        run_id = _key(run_or_id)
        run = self.filter(pk=run_id).first()
        if run is None:
            raise RunNotFound(run_id)
        return run

    # --- cancel ---------------------------------------------------------------------------------

    def cancel(
        self,
        run_or_id: WorkflowRun | UUID | str,
        reason: str = "",
        actor: object = None,
        cascade: bool = False,  # noqa: FBT001, FBT002 - the public contract
        *,
        source: str = CancelSource.API,
    ) -> WorkflowRun:
        """Cancel one run, and with ``cascade`` its descendants; return it as it is afterwards.

        A run that is canceled already is returned unchanged. Raises ``RunNotFound``, and
        ``RunNotCancelable`` for a run that has ended otherwise. Joins the caller's transaction:
        a rollback undoes it. Waits for the row lock of a worker that is just writing.
        Source: the original's ``workflow-run.ts``.
        """
        run_id = _key(run_or_id)
        note = CancelNote(reason=reason, actor=actor, source=source)
        with instrumentation.canceling(self.db) as watched, hooks_allowed(self.db):
            if run := cancel_untouched(self, run_id, note.columns()):
                outcome = CancelOutcome(canceled=[run_id])
                self._announce_canceled(outcome, note)
            else:
                outcome = self.filter(pk=run_id)._cancel_active(note, cascade=cascade)
            watched.note(outcome)
        if run is not None:
            return run
        if status := outcome.skipped.get(run_id):
            raise RunNotCancelable(run_id, status)
        if outcome == CancelOutcome():
            raise RunNotFound(run_id)
        return self.unfiltered().get(pk=run_id)

    cancel.alters_data = True  # type: ignore[attr-defined]

    async def acancel(self, *args: Any, **kwargs: Any) -> WorkflowRun:
        """See ``cancel``."""
        return await sync_to_async(self.cancel)(*args, **kwargs)

    acancel.alters_data = True  # type: ignore[attr-defined]

    def cancel_active(
        self,
        reason: str = "",
        actor: object = None,
        cascade: bool = False,  # noqa: FBT001, FBT002 - the public contract
        *,
        source: str = CancelSource.API,
    ) -> CancelOutcome:
        """Cancel the pending, running and parked runs of this queryset in one transaction.

        Runs that have ended are left alone and reported. The database decides under lock, in
        ascending id: the outcome says what is true, not what was true when the queryset was read.
        ``cascade`` cancels all descendants too, including those being started at this moment.
        The Django signal ``run_canceled`` is sent once per run after commit. Joins the caller's
        transaction. Raises ``InvalidInput`` for a reason or actor that cannot be stored.
        """
        note = CancelNote(reason=reason, actor=actor, source=source)
        with instrumentation.canceling(self.db) as watched:
            outcome = self._cancel_active(note, cascade=cascade)
            watched.note(outcome)
        return outcome

    cancel_active.alters_data = True  # type: ignore[attr-defined]
    cancel_active.queryset_only = True  # type: ignore[attr-defined]

    async def acancel_active(self, *args: Any, **kwargs: Any) -> CancelOutcome:
        """See ``cancel_active``."""
        return await sync_to_async(self.cancel_active)(*args, **kwargs)

    acancel_active.alters_data = True  # type: ignore[attr-defined]
    acancel_active.queryset_only = True  # type: ignore[attr-defined]

    def _cancel_active(self, note: CancelNote, *, cascade: bool) -> CancelOutcome:
        return in_write_transaction(self.db, lambda: self._cancel_under_lock(note, cascade=cascade))

    def _cancel_under_lock(self, note: CancelNote, *, cascade: bool) -> CancelOutcome:
        chosen, statuses = self._lock_chosen(cascade=cascade)
        outcome = _sort_out(chosen, statuses)
        self.cancel_locked(outcome.canceled, note.columns())
        if cascade:
            roots = {*outcome.canceled, *outcome.already_canceled}
            below = self.descendant_ids(roots) - chosen
            outcome.children_canceled.extend(
                sorted(pk for pk in below if statuses.get(pk) in ACTIVE)
            )
            columns = note.columns(CancelSource.CASCADE)
            self.cancel_locked(outcome.children_canceled, columns)
        if any(statuses[pk] == RunStatus.RUNNING for pk in outcome.all_canceled()):
            notices.notify_canceled(self.db)
        self._announce_canceled(outcome, note)
        return outcome

    def cancel_locked(self, ids: list[UUID], columns: dict[str, str]) -> None:
        """End locked runs as canceled and start their clean-ups; see ``end_locked``."""
        if cancelling.is_set_based(self.db):
            error = unfinished_error(RunStatus.CANCELED)
            ids = cancelling.end_canceled(self.db, ids, columns, error)
        else:
            self.end_locked(ids, RunStatus.CANCELED, **columns)
        for chunk in chunks(ids):
            cleanups.start_cleanups(self, chunk)

    def _lock_chosen(self, *, cascade: bool) -> tuple[set[UUID], dict[UUID, str]]:
        """Lock the runs of this queryset and theirs; return its ids, and all statuses."""
        if cancelling.is_set_based(self.db) and not cascade:
            locked = cancelling.lock_chosen(self)
            return set(locked.chosen), locked.parents | locked.chosen
        chosen: set[UUID] = set(self.values_list("pk", flat=True))
        return chosen, self._lock_families(chosen, cascade=cascade)

    def _lock_families(self, chosen: set[UUID], *, cascade: bool) -> dict[UUID, str]:
        """Lock the chosen runs, their parents and, for a cascade, all descendants, in id order.

        A locked parent starts no child, so a family that is locked whole has stopped growing.
        """
        if not cascade:
            return dict(self.lock_runs(self._with_parents(chosen)))
        return self.lock_growing(lambda: self._with_parents(chosen | self.descendant_ids(chosen)))

    def _with_parents(self, ids: set[UUID]) -> set[UUID]:
        return ids | self._gather(
            ids, lambda rows: rows.values_list("parent_step_attempt__workflow_run_id", flat=True)
        )

    # --- retry ----------------------------------------------------------------------------------

    def retry(self, run_or_id: WorkflowRun | UUID | str) -> WorkflowRun:
        """Put a failed or canceled run back to pending, keeping its completed steps; return it.

        Failures are set aside, so that every retry budget is fresh; a deadline that has passed is
        lifted. Steps that a clean-up has undone run again. Raises ``RunNotFound``, and
        ``RunNotRetryable`` for a run with any other status, or whose clean-up has not ended yet,
        and for the clean-up of a run that goes on.
        Sends ``run_retried`` after commit. Joins the caller's transaction.
        """
        run = self.fetch(run_or_id)
        in_write_transaction(self.db, lambda: self._retry(run.pk, run.cleanup_of_id))
        return self.fetch(run.pk)

    retry.alters_data = True  # type: ignore[attr-defined]

    async def aretry(self, run_or_id: WorkflowRun | UUID | str) -> WorkflowRun:
        """See ``retry``."""
        return await sync_to_async(self.retry)(run_or_id)

    aretry.alters_data = True  # type: ignore[attr-defined]

    def _retry(self, run_id: UUID, original_id: UUID | None) -> None:
        fixed = {run_id} if original_id is None else {run_id, original_id}
        # A step that ends late starts its clean-up under the run's lock, so none appears later.
        locked = self.lock_growing(lambda: fixed | self._cleanup_ids(run_id))
        status = locked.get(run_id)
        if status is None:
            raise RunNotFound(run_id)
        cleanups = {pk: locked[pk] for pk in locked.keys() - fixed}
        # A clean-up makes sense only for as long as the run it cleans up after is canceled.
        is_wanted = original_id is None or locked.get(original_id) == RunStatus.CANCELED
        is_cleaned_up = set(cleanups.values()).isdisjoint(ACTIVE)
        if status not in RETRYABLE or not is_cleaned_up or not is_wanted:
            raise RunNotRetryable(run_id, status)
        self.reopen_locked(run_id, set(cleanups))
        send = partial(self.announce, signals.run_retried, (run_id,))
        transaction.on_commit(send, using=self.db, robust=True)
        notices.notify_due(self.db)

    def _cleanup_ids(self, run_id: UUID) -> set[UUID]:
        return set(self.unfiltered().filter(cleanup_of=run_id).values_list("pk", flat=True))

    # --- helpers --------------------------------------------------------------------------------

    def _announce_canceled(self, outcome: CancelOutcome, note: CancelNote) -> None:
        if instrumentation.is_watched():
            ended = outcome.all_canceled()
            tell = partial(instrumentation.ended, ended, RunStatus.CANCELED, using=self.db)
            transaction.on_commit(tell, using=self.db, robust=True)
        for ids, source in (
            (outcome.canceled, note.source),
            (outcome.children_canceled, CancelSource.CASCADE),
        ):
            if ids:
                send = partial(
                    self.announce,
                    signals.run_canceled,
                    tuple(ids),
                    reason=str(note.reason),
                    actor=note.actor,
                    source=str(source),
                )
                transaction.on_commit(send, using=self.db, robust=True)

    def _gather(self, ids: set[UUID], column: Any) -> set[UUID]:
        found: set[UUID] = set()
        for chunk in chunks(sorted(ids)):
            found.update(column(self.unfiltered().filter(pk__in=chunk)))
        return found - {None}


def _key(run_or_id: WorkflowRun | UUID | str) -> UUID:
    key = run_or_id.pk if isinstance(run_or_id, models.Model) else as_uuid(run_or_id)
    if key is None:
        raise RunNotFound(str(run_or_id))
    return key


def _sort_out(chosen: set[UUID], statuses: dict[UUID, str]) -> CancelOutcome:
    """Decide what a cancel does to each run, from its status under lock."""
    outcome = CancelOutcome()
    for pk in sorted(chosen & statuses.keys()):
        if statuses[pk] in ACTIVE:
            outcome.canceled.append(pk)
        elif statuses[pk] == RunStatus.CANCELED:
            outcome.already_canceled.append(pk)
        else:
            outcome.skipped[pk] = statuses[pk]
    return outcome
