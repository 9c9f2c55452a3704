"""Write a turn: the operations of many runs in one transaction, each behind its fence."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from django.db import connections
from django.db.models import Exists, F, OuterRef, Q

from django_openworkflow import clock, conf
from django_openworkflow.models import SignalDelivery, StepAttempt, WorkflowRun
from django_openworkflow.serialization import decode
from django_openworkflow.states import TERMINAL, RunStatus, StepKind, StepStatus
from django_openworkflow.store.operations import (
    Lease,
    Operation,
    Receipt,
    RunCompleted,
    RunFailed,
    RunParked,
    RunReleased,
    RunRescheduled,
    SleepStarted,
    StepCompleted,
    StepFailed,
    StepStarted,
    Verdict,
)
from django_openworkflow.transactions import write_transaction

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from uuid import UUID


@dataclass(slots=True)
class _Locked:
    """A run's row under lock, and what this turn has done to it so far."""

    status: str
    worker_id: str | None
    crashes: int

    def held_by(self, lease: Lease) -> bool:
        return self.status == RunStatus.RUNNING and self.worker_id == lease.worker_id


def iso(moment: datetime) -> str:
    """Format as the original does inside JSON: UTC, three fractional digits, ``Z``."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def end_of_sleep(start: datetime, duration: timedelta) -> datetime:
    """Return when a sleep is over, in whole milliseconds, never early."""
    end = start + duration
    return end + (-end.microsecond % 1000) * timedelta(microseconds=1)


class Turn:
    """One transaction's worth of operations.

    Locks the runs, and the parents of runs that end, in ascending id. With ``wait=False`` it never
    waits for a row lock: operations on rows that somebody else holds are answered ``BUSY``.
    """

    def __init__(self, using: str, operations: Sequence[Operation], *, wait: bool) -> None:
        self._using = using
        self._operations = operations
        self._wait = wait
        self._rows: dict[UUID, _Locked] = {}
        self._runs = WorkflowRun._base_manager.using(using)
        self._attempts = StepAttempt._base_manager.using(using)
        self._now = datetime.min.replace(tzinfo=UTC)

    def write(self) -> list[Receipt]:
        """Apply all operations; return a receipt for each, in order."""
        with write_transaction(self._using):
            self._lock()
            return [
                Receipt(verdict=self._apply(operation), at=self._now)
                for operation in self._operations
            ]

    def _lock(self) -> None:
        ids = {operation.lease.run_id for operation in self._operations}
        ids |= {
            operation.parent_run_id
            for operation in self._operations
            if isinstance(operation, RunCompleted | RunFailed) and operation.parent_run_id
        }
        features = connections[self._using].features
        rows = (
            self._runs.filter(pk__in=sorted(ids))
            .order_by("pk")
            .select_for_update(
                no_key=features.has_select_for_no_key_update,
                skip_locked=not self._wait and features.has_select_for_update_skip_locked,
            )
            .values_list("pk", "status", "worker_id", "crashes")
        )
        self._rows = {
            pk: _Locked(status, worker_id, crashes) for pk, status, worker_id, crashes in rows
        }
        self._now = clock.read(self._using)  # after the locks: waiting for them took time

    # --- the fence ------------------------------------------------------------------------------

    def _apply(self, operation: Operation) -> Verdict:
        verdict = self._judge(operation)
        if verdict is Verdict.ACCEPTED:
            self._HANDLERS[type(operation)](self, operation)
        elif verdict is Verdict.CANCELED and isinstance(operation, StepCompleted | StepFailed):
            self._keep_late_outcome(operation)
        return verdict

    def _judge(self, operation: Operation) -> Verdict:
        lease = operation.lease
        row = self._rows.get(lease.run_id)
        if row is None:
            return self._look_again(lease)
        if row.held_by(lease):
            parent_id = getattr(operation, "parent_run_id", None)
            return Verdict.ACCEPTED if not parent_id or parent_id in self._rows else Verdict.BUSY
        if row.status == RunStatus.CANCELED:
            return Verdict.CANCELED
        if self._is_repeated_completion(operation, row):
            return Verdict.ACCEPTED
        return Verdict.LOST

    def _look_again(self, lease: Lease) -> Verdict:
        """Read a row that could not be locked: still ours means held by somebody else for now."""
        row = self._runs.filter(pk=lease.run_id).values_list("status", "worker_id").first()
        if row is None or self._wait:
            return Verdict.LOST
        if row == (RunStatus.RUNNING, lease.worker_id):
            return Verdict.BUSY
        # A canceled run's row may be held by a reader of the outcome; it stays canceled.
        return Verdict.CANCELED if row[0] == RunStatus.CANCELED else Verdict.LOST

    @staticmethod
    def _is_repeated_completion(operation: Operation, row: _Locked) -> bool:
        """Whether this very completion was committed before, its reply having been lost."""
        return (
            isinstance(operation, RunCompleted)
            and row.status == RunStatus.COMPLETED
            and row.worker_id == operation.lease.worker_id
        )

    # --- steps ----------------------------------------------------------------------------------

    def _step_started(self, operation: StepStarted) -> None:
        if operation.resumed:
            self._attempts.filter(pk=operation.attempt_id, status=StepStatus.RUNNING).update(
                worker_id=operation.lease.worker_id,
                interruptions=F("interruptions") + 1,
                started_at=clock.moment(),
                updated_at=clock.moment(),
            )
            return
        self._insert_attempt(operation, operation.kind, None)

    def _sleep_started(self, operation: SleepStarted) -> datetime:
        resume_at = end_of_sleep(self._now, operation.duration)
        context = {"kind": str(StepKind.SLEEP), "resumeAt": iso(resume_at)}
        self._insert_attempt(operation, StepKind.SLEEP, context)
        return resume_at

    def _insert_attempt(
        self, operation: StepStarted | SleepStarted, kind: str, context: dict[str, Any] | None
    ) -> None:
        # Ignoring a conflict makes the insert repeatable: the id is the attempt's own.
        self._attempts.bulk_create(
            [
                StepAttempt(
                    id=operation.attempt_id,
                    namespace_id=conf.namespace(),
                    workflow_run_id=operation.lease.run_id,
                    step_name=operation.step_name,
                    kind=kind,
                    context=context,
                    worker_id=operation.lease.worker_id,
                )
            ],
            ignore_conflicts=True,
        )

    def _step_completed(self, operation: StepCompleted) -> None:
        self._finish_attempt(operation, operation.lease, {})
        self._note_progress(operation.lease)

    def _step_failed(self, operation: StepFailed) -> None:
        self._finish_attempt(operation, operation.lease, {})
        self._note_progress(operation.lease)

    def _keep_late_outcome(self, operation: StepCompleted | StepFailed) -> None:
        """Record how the step in flight ended although its run was canceled meanwhile.

        Only the claim that started the attempt may, and only while nobody else completed the step.
        """
        attempt = self._attempts.filter(pk=operation.attempt_id).first()
        if attempt is None or attempt.step_name in self._completed_names(attempt.workflow_run_id):
            return
        self._finish_attempt(operation, operation.lease, {"worker_id": operation.lease.worker_id})

    def _completed_names(self, run_id: UUID) -> set[str]:
        rows = self._attempts.filter(workflow_run=run_id, status=StepStatus.COMPLETED)
        return set(rows.values_list("step_name", flat=True))

    def _finish_attempt(
        self, operation: StepCompleted | StepFailed, lease: Lease, only: dict[str, Any]
    ) -> None:
        if isinstance(operation, StepCompleted):
            values = {"status": StepStatus.COMPLETED, "output": decode(operation.output)}
        else:
            values = {"status": StepStatus.FAILED, "error": decode(operation.error)}
        self._attempts.filter(
            pk=operation.attempt_id, workflow_run=lease.run_id, status=StepStatus.RUNNING, **only
        ).update(finished_at=clock.moment(), updated_at=clock.moment(), **values)

    def _note_progress(self, lease: Lease) -> None:
        row = self._rows[lease.run_id]
        if row.crashes:
            self._runs.filter(pk=lease.run_id).update(crashes=0)
            row.crashes = 0

    # --- runs -----------------------------------------------------------------------------------

    def _run_completed(self, operation: RunCompleted) -> None:
        row = self._rows[operation.lease.run_id]
        if row.status == RunStatus.COMPLETED:
            return
        self._end(operation, RunStatus.COMPLETED, output=decode(operation.output), error=None)

    def _run_failed(self, operation: RunFailed) -> None:
        # The original resets started_at on failure. Source: ``backend.ts``, failWorkflowRun.
        error = decode(operation.error)
        self._end(
            operation, RunStatus.FAILED, error=error, started_at=None, failures=F("failures") + 1
        )

    def _end(self, operation: RunCompleted | RunFailed, status: RunStatus, **columns: Any) -> None:
        WorkflowRun.objects.db_manager(self._using).all().end_locked(
            [operation.lease.run_id], status, **columns
        )
        self._rows[operation.lease.run_id].status = status

    def _run_rescheduled(self, operation: RunRescheduled) -> None:
        values: dict[str, Any] = {"failures": F("failures") + 1} if operation.is_failure else {}
        self._give_up(
            operation.lease,
            RunStatus.PENDING,
            available_at=clock.moment(plus=operation.delay),
            error=decode(operation.error),
            started_at=None,
            **values,
        )

    def _run_released(self, operation: RunReleased) -> None:
        self._give_up(operation.lease, RunStatus.RUNNING, available_at=clock.moment())

    def _run_parked(self, operation: RunParked) -> None:
        ends = [self._sleep_started(sleep) for sleep in operation.sleeps]
        wake_at = min([*ends, *([operation.wake_at] if operation.wake_at else [])])
        self._give_up(operation.lease, RunStatus.RUNNING, available_at=wake_at)
        self._look_whether_it_happened(operation.lease.run_id)

    def _look_whether_it_happened(self, run_id: UUID) -> None:
        """Wake a run that parked after its child ended or its signal came.

        A statement of its own, after the park: it sees what was committed while we waited for the
        row, and whoever comes later waits for our lock and finds the run parked.
        """
        happened = self._attempts.filter(
            workflow_run=OuterRef("pk"), status=StepStatus.RUNNING
        ).filter(
            Q(kind=StepKind.WORKFLOW, child_workflow_run__status__in=TERMINAL)
            | Q(
                Exists(SignalDelivery._base_manager.filter(step_attempt=OuterRef("pk"))),
                kind=StepKind.SIGNAL_WAIT,
            )
        )
        self._runs.filter(Exists(happened), pk=run_id).update(available_at=clock.moment())

    def _give_up(self, lease: Lease, status: RunStatus, **columns: Any) -> None:
        self._runs.filter(pk=lease.run_id).update(
            status=status, worker_id=None, updated_at=clock.moment(), **columns
        )
        row = self._rows[lease.run_id]
        row.status, row.worker_id = status, None

    _HANDLERS: Final[dict[type, Callable[[Any, Any], Any]]] = {
        StepStarted: _step_started,
        SleepStarted: _sleep_started,
        StepCompleted: _step_completed,
        StepFailed: _step_failed,
        RunCompleted: _run_completed,
        RunFailed: _run_failed,
        RunRescheduled: _run_rescheduled,
        RunReleased: _run_released,
        RunParked: _run_parked,
    }
