"""Write a turn: the operations of many runs in one transaction, each behind its fence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from django_openworkflow.models import WorkflowRun
from django_openworkflow.states import TERMINAL, RunStatus
from django_openworkflow.store import run_writes, signalling, step_writes, wait_writes
from django_openworkflow.store.operations import (
    Receipt,
    RunCompleted,
    RunFailed,
    SignalSent,
    StepCompleted,
    StepFailed,
    Verdict,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any
    from uuid import UUID

    from django_openworkflow.store.operations import Lease, Operation
    from django_openworkflow.store.turns import TurnRows

_WRITERS: Final[dict[type, Callable[[TurnRows, Any], Any]]] = {
    **step_writes.WRITERS,
    **wait_writes.WRITERS,
    **run_writes.WRITERS,
}


class Turn:
    """One transaction's worth of operations.

    Locks the runs, the parents of runs that end and the receivers of signals, all in ascending id.
    With ``wait=False`` it never waits for a row lock: operations on rows that somebody else holds
    are answered ``BUSY``.
    """

    def __init__(self, rows: TurnRows, operations: Sequence[Operation], *, wait: bool) -> None:
        self._rows = rows
        self._using = rows.using
        self._operations = operations
        self._wait = wait
        self._receivers: dict[int, set[UUID]] = {}

    def write(self) -> list[Receipt]:
        """Apply all operations in the open transaction; return a receipt for each, in order."""
        self._rows.lock(self._wanted(), wait=self._wait)
        receipts = [self._apply(operation) for operation in self._operations]
        self._finish()
        return receipts

    def _wanted(self) -> set[UUID]:
        """Return the ids of all runs that the operations write to."""
        wanted = {operation.lease.run_id for operation in self._operations}
        for index, operation in enumerate(self._operations):
            if isinstance(operation, RunCompleted | RunFailed) and operation.parent_run_id:
                wanted.add(operation.parent_run_id)
            elif isinstance(operation, SignalSent):
                receivers = signalling.waiting_run_ids(self._using, operation.signal)
                self._receivers[index] = receivers
                wanted |= receivers
        return wanted

    def _apply(self, operation: Operation) -> Receipt:
        verdict = self._judge(operation)
        value = None
        if verdict is Verdict.ACCEPTED:
            value = self._accept(operation)
        elif verdict is Verdict.LOST and self._is_repeated(operation):
            verdict = Verdict.ACCEPTED
        elif isinstance(operation, StepCompleted | StepFailed) and self._has_ended(operation.lease):
            self._finish()
            step_writes.keep_late_outcome(self._rows, operation)
        return Receipt(verdict=verdict, at=self._rows.now, value=value)

    def _accept(self, operation: Operation) -> Any:
        """Write an operation whose lease holds, and return the value of its receipt."""
        return _WRITERS[type(operation)](self._rows, operation)

    def _finish(self) -> None:
        """Write what ``_accept`` has put off."""

    def _is_repeated(self, operation: Operation) -> bool:
        """Whether this very operation was committed before, its reply having been lost."""
        row = self._rows.get(operation.lease.run_id)
        if row is None:
            return False
        return run_writes.is_repeated(operation, row) or step_writes.is_recorded(
            self._rows, operation
        )

    def _has_ended(self, lease: Lease) -> bool:
        """Whether the run was ended, by a cancel or a deadline, while its step was in flight."""
        row = self._rows.get(lease.run_id)
        return row is not None and row.status in TERMINAL

    # --- the fence ------------------------------------------------------------------------------

    def _judge(self, operation: Operation) -> Verdict:
        lease = operation.lease
        row = self._rows.get(lease.run_id)
        if row is None:
            return self._look_again(lease)
        if row.held_by(lease):
            others = self._others(operation)
            return Verdict.ACCEPTED if others <= self._rows.ids() else Verdict.BUSY
        if row.status == RunStatus.CANCELED:
            return Verdict.CANCELED
        return Verdict.LOST

    def _others(self, operation: Operation) -> set[UUID]:
        """Return the other runs that the operation writes to: all must be locked, or it waits."""
        if isinstance(operation, RunCompleted | RunFailed) and operation.parent_run_id:
            return {operation.parent_run_id}
        if isinstance(operation, SignalSent):
            return self._receivers[self._operations.index(operation)]
        return set()

    def _look_again(self, lease: Lease) -> Verdict:
        """Read a row that could not be locked: still ours means held by somebody else for now."""
        rows = WorkflowRun._base_manager.using(self._using).filter(pk=lease.run_id)
        row = rows.values_list("status", "worker_id").first()
        if row is None or self._wait:
            return Verdict.LOST
        # Whoever holds a row that is no longer ours may only be about to let it go: a canceled
        # run's late outcome is written under its lock, so that is tried again too.
        if row == (RunStatus.RUNNING, lease.worker_id) or row[0] == RunStatus.CANCELED:
            return Verdict.BUSY
        return Verdict.LOST
