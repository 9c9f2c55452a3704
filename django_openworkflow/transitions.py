"""How runs change state under lock, whoever asks: people, workers, sweeps.

Lock order: runs in ascending id, then step attempts, then signal deliveries.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, TypeVar

from django.db import connections, models, transaction
from django.db.models import Case, F, Q, When
from django.db.models.functions import Coalesce

from django_openworkflow import clock
from django_openworkflow.cleanups import UNDO_PREFIX
from django_openworkflow.states import (
    STEP_SUCCESSFUL,
    WAITS,
    RunStatus,
    StepKind,
    StepStatus,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from uuid import UUID

    from django.dispatch import Signal

    from django_openworkflow.models import StepAttempt, WorkflowRun  # noqa: F401 - quoted below

# Ids per statement: below every database's limit of parameters.
_CHUNK: Final = 1000

PARKED: Final = Q(status=RunStatus.SLEEPING) | Q(status=RunStatus.RUNNING, worker_id__isnull=True)

_Row = TypeVar("_Row", bound=models.Model)


class NamespacedQuerySet(models.QuerySet[_Row]):
    """Rows of one namespace; the manager filters, these are its common tools."""

    def unfiltered(self) -> models.QuerySet[_Row]:
        """Return all rows of the table on the same database, whatever this queryset filters."""
        return self.model._base_manager.using(self.db)


class TransitionQuerySet(NamespacedQuerySet["WorkflowRun"]):
    """The locking and ending of runs; not for application code."""

    def lock_runs(
        self, ids: Iterable[UUID], *, skip_locked: bool = False
    ) -> Iterator[tuple[UUID, str]]:
        """Lock runs in ascending id until the transaction ends; yield (id, status) as locked.

        With ``skip_locked`` a row that somebody else holds is left out instead of waited for.
        SQLite has no row locks: there the write transaction itself excludes everybody else.
        """
        features = connections[self.db].features
        for chunk in chunks(sorted(ids)):
            yield from (
                self.unfiltered()
                .filter(pk__in=chunk)
                .order_by("pk")
                .select_for_update(
                    no_key=features.has_select_for_no_key_update, skip_locked=skip_locked
                )
                .values_list("pk", "status")
            )

    def lock_growing(self, look: Callable[[], set[UUID]]) -> dict[UUID, str]:
        """Lock what ``look`` finds until it finds nothing more; return the statuses as locked.

        A run that appears while the others are being locked may have an id below one already held.
        Nobody waits for it holding those: it is locked at once, or all locks are given back (a
        savepoint's rollback releases them) and taken again in order. There is no last try, as that
        would have to break the order: a round fails only because somebody else got further.
        """
        while True:
            with suppress(_TakeAllAgain), transaction.atomic(using=self.db):
                wanted = look()
                statuses = dict(self.lock_runs(wanted))
                while late := look() - wanted:
                    is_in_order = not wanted or min(late) > max(wanted)
                    found = dict(self.lock_runs(late, skip_locked=not is_in_order))
                    if len(found) < len(late):
                        raise _TakeAllAgain
                    statuses |= found
                    wanted |= late
                return statuses

    def descendant_ids(self, ids: Iterable[UUID]) -> set[UUID]:
        """Return the ids of all runs below these, level by level, whatever their status."""
        known = set(ids)
        found: set[UUID] = set()
        level = known
        while level:
            children: set[UUID] = set()
            for chunk in chunks(sorted(level)):
                children.update(
                    self.unfiltered()
                    .filter(parent_step_attempt__workflow_run__in=chunk)
                    .values_list("pk", flat=True)
                )
            level = children - known
            known |= level
            found |= level
        return found

    # --- the one road to the end ----------------------------------------------------------------

    def end_locked(self, ids: Iterable[UUID], status: RunStatus, **columns: Any) -> None:
        """Give active runs their terminal status, close their waits and wake their parents.

        Every way to a terminal state ends here. The caller has a transaction open, holds the locks
        of these runs and of their parents, and knows that the runs are active, or were given this
        very status by another client, which does nothing else.
        """
        error = unfinished_error(status)
        # A completed run keeps its worker, as in the original; every other end releases it.
        values = columns if status == RunStatus.COMPLETED else {"worker_id": None, **columns}
        for chunk in chunks(sorted(ids)):
            moment = clock.moment()
            self._open_waits(chunk).update(
                status=StepStatus.FAILED,
                error=error,
                finished_at=moment,
                updated_at=moment,
                superseded_at=moment,  # no failure of the step's: a retry waits anew
            )
            self.unfiltered().filter(pk__in=chunk).update(
                status=status,
                available_at=None,
                # What another client has canceled keeps its time when it is finished off.
                finished_at=Coalesce(F("finished_at"), moment),
                updated_at=moment,
                **values,
            )
            self.wake_parents_locked(chunk)

    def _open_waits(self, ids: list[UUID]) -> models.QuerySet[StepAttempt]:
        """Return the waits to close, but for those that have a signal coming from another client.

        It locks waits first and runs last: whoever waited for it here would wait for ever. A wait
        that is left open so has been answered, and receives no other signal.
        """
        waits = self.attempts().filter(
            workflow_run__in=ids, status=StepStatus.RUNNING, kind__in=WAITS
        )
        if connections[self.db].vendor != "postgresql":  # that client knows no other database
            return waits
        free = waits.select_for_update(no_key=True, skip_locked=True)
        return self.attempts().filter(pk__in=free.values("pk"))

    def wake_parents_locked(self, child_ids: Iterable[UUID]) -> None:
        """Make parked parents that wait for these children claimable now.

        The caller holds the locks of the parents, so that none of them is parking at this moment.
        Source: the original's ``wakeParentWorkflowRun``.
        """
        children = list(child_ids)
        moment = clock.moment()
        waiting = self.attempts().filter(
            kind=StepKind.WORKFLOW, status=StepStatus.RUNNING, child_workflow_run__in=children
        )
        self.unfiltered().filter(PARKED, pk__in=waiting.values("workflow_run")).filter(
            available_at__gt=moment
        ).update(available_at=moment, updated_at=moment)

    def reopen_locked(self, run_id: UUID, cleanup_ids: set[UUID]) -> None:
        """Make an ended run pending again; the caller holds its lock and those of its clean-ups."""
        moment = clock.moment()
        own = self.attempts().filter(workflow_run=run_id, superseded_at__isnull=True)
        undone = Q(pk__in=self._undone(own, cleanup_ids))
        own.filter(Q(status=StepStatus.FAILED) | undone).update(
            superseded_at=moment, updated_at=moment
        )
        # What is kept counts as completed in time when the run is canceled once more.
        own.filter(is_late=True).update(is_late=False)
        past = Q(deadline_at__lte=moment)
        self.unfiltered().filter(pk=run_id).update(
            status=RunStatus.PENDING,
            worker_id=None,
            available_at=moment,
            started_at=None,
            finished_at=None,
            deadline_at=Case(When(past, then=None), default=F("deadline_at")),
            updated_at=moment,
            output=None,
            error=None,
            failures=0,
            crashes=0,
            deferrals=0,
            cancel_reason="",
            cancel_actor="",
            cancel_source="",
        )

    def _undone(self, own: models.QuerySet[StepAttempt], cleanup_ids: set[UUID]) -> list[UUID]:
        """Return the completed attempts that a clean-up has undone since they completed."""
        undos = self.attempts().filter(workflow_run__in=cleanup_ids, status__in=STEP_SUCCESSFUL)
        undone_at = {
            name.removeprefix(UNDO_PREFIX): begun_at
            for name, begun_at in undos.order_by("created_at").values_list(
                "step_name", "started_at"
            )
        }
        completed = own.filter(status__in=STEP_SUCCESSFUL, step_name__in=undone_at)
        return [
            pk
            for pk, name, ended_at in completed.values_list("pk", "step_name", "finished_at")
            if ended_at and (begun_at := undone_at[name]) and ended_at <= begun_at
        ]

    def announce(self, signal: Signal, ids: Iterable[UUID], **facts: object) -> None:
        """Send a Django signal for each of these runs, fresh from the database, if anybody listens.

        To be called after commit. A receiver that raises is logged by Django and changes nothing.
        """
        if signal.has_listeners(self.model):
            for chunk in chunks(sorted(ids)):
                for run in self.unfiltered().filter(pk__in=chunk).order_by("pk"):
                    signal.send_robust(sender=self.model, run=run, **facts)

    def attempts(self) -> models.QuerySet[StepAttempt]:
        """Return all step attempts on the same database."""
        related: Any = self.model._meta.get_field("step_attempts").related_model
        attempts: models.QuerySet[StepAttempt] = related._base_manager.using(self.db)
        return attempts


class _TakeAllAgain(Exception):
    """A run that appeared late is held by somebody else: give all locks back."""


def unfinished_error(status: RunStatus) -> dict[str, str]:
    """Return what is kept on a wait that the end of its run has closed."""
    return {"message": f"The workflow run ended as {status} before this step did"}


def chunks(ids: list[UUID]) -> Iterator[list[UUID]]:
    """Cut a list of ids into pieces that fit one statement."""
    for start in range(0, len(ids), _CHUNK):
        yield ids[start : start + _CHUNK]
