"""What a turn writes, gathered kind by kind, so that one statement writes all of a kind.

The statements are executed in the order of the fields of ``Batch``. An operation that would come
out otherwise than in its own order is refused: what has been gathered is written first then.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from django_openworkflow.states import RunStatus, StepKind, StepStatus
from django_openworkflow.store.operations import (
    RunCompleted,
    RunFailed,
    RunParked,
    RunReleased,
    RunRescheduled,
    SleepStarted,
    StepCompleted,
    StepFailed,
    StepStarted,
)
from django_openworkflow.store.turns import iso, whole_milliseconds

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from django_openworkflow.store.operations import Operation
    from django_openworkflow.store.turns import Locked


@dataclass(slots=True)
class NewAttempt:
    """A step attempt to be inserted, ended already if it ended within the same turn."""

    id: UUID
    run_id: UUID
    step_name: str
    kind: str
    worker_id: str
    has_undo: bool = False
    context: str | None = None
    status: str = StepStatus.RUNNING.value
    output: str | None = None
    error: str | None = None


@dataclass(slots=True)
class Batch:
    """Rows to be written, by attempt id or by run id. JSON is text; None is NULL."""

    started: dict[UUID, NewAttempt] = field(default_factory=dict)
    resumed: dict[UUID, tuple[str, bool]] = field(default_factory=dict)  # worker_id, has_undo
    # run id, status, output, error
    ended: dict[UUID, tuple[UUID, str, str | None, str | None]] = field(default_factory=dict)
    progressed: set[UUID] = field(default_factory=set)
    rescheduled: dict[UUID, RunRescheduled] = field(default_factory=dict)
    released: list[UUID] = field(default_factory=list)
    parked: dict[UUID, datetime] = field(default_factory=dict)
    completed: dict[UUID, str | None] = field(default_factory=dict)  # output
    failed: dict[UUID, str] = field(default_factory=dict)  # error

    def add(self, operation: Operation, row: Locked, now: datetime | None) -> bool:
        """Gather an accepted operation, and keep ``row``, its run under lock, in step with it.

        Returns False, having gathered nothing, for a kind that is written by itself, for one that
        needs to know ``now`` when nobody does yet, and for one that must not change places with
        what was gathered before.
        """
        gather = _GATHERERS.get(type(operation))
        return gather is not None and gather(self, operation, row, now)

    # --- steps ----------------------------------------------------------------------------------

    def _start(self, operation: StepStarted, _row: Locked, _now: datetime | None) -> bool:
        attempt_id = operation.attempt_id
        if operation.resumed:
            return self._resume(operation)
        if attempt_id in self.ended:
            return False
        if attempt_id not in self.started:
            self.started[attempt_id] = NewAttempt(
                attempt_id,
                operation.lease.run_id,
                operation.step_name,
                operation.kind,
                operation.lease.worker_id,
                operation.has_undo,
            )
        return True

    def _resume(self, operation: StepStarted) -> bool:
        attempt_id = operation.attempt_id
        if any(attempt_id in known for known in (self.started, self.resumed, self.ended)):
            return False
        self.resumed[attempt_id] = (operation.lease.worker_id, operation.has_undo)
        return True

    def _complete_step(self, operation: StepCompleted, row: Locked, _now: datetime | None) -> bool:
        return self._end_step(operation, row, StepStatus.COMPLETED.value, operation.output, None)

    def _fail_step(self, operation: StepFailed, row: Locked, _now: datetime | None) -> bool:
        return self._end_step(operation, row, StepStatus.FAILED.value, None, operation.error)

    def _end_step(
        self,
        operation: StepCompleted | StepFailed,
        row: Locked,
        status: str,
        output: str | None,
        error: str | None,
    ) -> bool:
        """Gather an end; the first of an attempt counts."""
        attempt_id, run_id = operation.attempt_id, operation.lease.run_id
        begun = self.started.get(attempt_id)
        if begun is not None:
            if begun.run_id != run_id:
                return False
            if begun.status == StepStatus.RUNNING:
                begun.status, begun.output, begun.error = status, output, error
        elif operation.started is not None and self._start(operation.started, row, None):
            # The start was committed without waiting for the disk: the server may have lost it.
            begun = self.started[attempt_id]
            begun.status, begun.output, begun.error = status, output, error
        elif self.ended.setdefault(attempt_id, (run_id, status, output, error))[0] != run_id:
            return False
        if row.crashes:
            self.progressed.add(run_id)
            row.crashes = 0
        return True

    def _sleep(self, operation: SleepStarted, _row: Locked, now: datetime | None) -> bool:
        if now is None or operation.attempt_id in self.ended:
            return False
        if operation.attempt_id not in self.started:
            resume_at = resume_at_of(operation, now)
            self.started[operation.attempt_id] = NewAttempt(
                operation.attempt_id,
                operation.lease.run_id,
                operation.step_name,
                StepKind.SLEEP.value,
                operation.lease.worker_id,
                context=f'{{"kind":"{StepKind.SLEEP.value}","resumeAt":"{iso(resume_at)}"}}',
            )
        return True

    # --- runs -----------------------------------------------------------------------------------

    def _complete(self, operation: RunCompleted, row: Locked, _now: datetime | None) -> bool:
        self.completed[operation.lease.run_id] = operation.output
        row.status = RunStatus.COMPLETED
        return True

    def _fail(self, operation: RunFailed, row: Locked, _now: datetime | None) -> bool:
        self.failed[operation.lease.run_id] = operation.error
        row.status = RunStatus.FAILED
        return True

    def _reschedule(self, operation: RunRescheduled, row: Locked, _now: datetime | None) -> bool:
        self.rescheduled[operation.lease.run_id] = operation
        row.status, row.worker_id = RunStatus.PENDING, None
        return True

    def _release(self, operation: RunReleased, row: Locked, _now: datetime | None) -> bool:
        self.released.append(operation.lease.run_id)
        row.worker_id = None
        return True

    def _park(self, operation: RunParked, row: Locked, now: datetime | None) -> bool:
        """Gather a park whose waits, if it has any, are sleeps."""
        ends = [] if operation.wake_at is None else [operation.wake_at]
        for wait in operation.waits:
            if not isinstance(wait, SleepStarted) or now is None or wait.attempt_id in self.ended:
                return False
            ends.append(resume_at_of(wait, now))
        if not ends:
            return False
        for wait in operation.waits:
            self.add(wait, row, now)
        self.parked[operation.lease.run_id] = min(ends)
        row.worker_id = None
        return True


def resume_at_of(operation: SleepStarted, now: datetime) -> datetime:
    """Return when a sleep that begins now ends."""
    return whole_milliseconds(now + operation.duration)


_GATHERERS: Final[dict[type, Callable[[Batch, Any, Locked, datetime | None], bool]]] = {
    StepStarted: Batch._start,
    StepCompleted: Batch._complete_step,
    StepFailed: Batch._fail_step,
    SleepStarted: Batch._sleep,
    RunCompleted: Batch._complete,
    RunFailed: Batch._fail,
    RunRescheduled: Batch._reschedule,
    RunReleased: Batch._release,
    RunParked: Batch._park,
}
