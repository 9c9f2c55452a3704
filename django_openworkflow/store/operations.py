"""What executors ask the ledger to write: small frozen values, and the answers to them.

Every operation carries the lease it is written under. Payloads are encoded JSON text (None = SQL
NULL): they were checked before the operation was made, so one bad value cannot fail a shared turn.
Operations are idempotent by attempt id and lease: a turn whose commit is in doubt is issued again.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from datetime import datetime, timedelta
    from uuid import UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The right to write a run. ``worker_id`` is new for every claim: it is the fence."""

    run_id: UUID
    worker_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedRun:
    """A run as a worker received it; ``claimed_at`` is the database's clock at the claim."""

    lease: Lease
    workflow_name: str
    version: str | None
    input: Any
    context: Any
    attempts: int
    failures: int
    created_at: datetime
    started_at: datetime
    claimed_at: datetime
    deadline_at: datetime | None
    parent_run_id: UUID | None
    is_first: bool  # nobody has claimed it since it was started or put back


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A saved step attempt, as replay reads it."""

    id: UUID
    step_name: str
    kind: str
    status: str
    context: Any
    output: Any
    error: Any
    child_run_id: UUID | None
    created_at: datetime


class Verdict(enum.Enum):
    """What became of an operation."""

    ACCEPTED = "accepted"
    CANCELED = "canceled"  # the run was canceled; a step's outcome is kept all the same
    LOST = "lost"  # the lease is gone: write nothing more
    BUSY = "busy"  # somebody else holds the row: not applied, to be tried again


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """The verdict, and the database's clock when it was given."""

    verdict: Verdict
    at: datetime


# --- operations -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class StepStarted:
    """A step's body is about to run. ``resumed`` takes over the row of an interrupted attempt."""

    lease: Lease
    attempt_id: UUID
    step_name: str
    kind: str
    resumed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SleepStarted:
    """A sleep begins; its end is computed from the database's clock when this is applied."""

    lease: Lease
    attempt_id: UUID
    step_name: str
    duration: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class StepCompleted:
    """A step ended well. An attempt that is completed already keeps its first output."""

    lease: Lease
    attempt_id: UUID
    output: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFailed:
    """A step's body raised."""

    lease: Lease
    attempt_id: UUID
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCompleted:
    """The workflow returned. Locks the parent too and wakes it."""

    lease: Lease
    parent_run_id: UUID | None
    output: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFailed:
    """The run failed for good. Locks the parent too and wakes it."""

    lease: Lease
    parent_run_id: UUID | None
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRescheduled:
    """The run goes back to pending until its next try; ``is_failure`` counts against its budget."""

    lease: Lease
    error: str
    delay: timedelta
    is_failure: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RunParked:
    """The run gives up its worker until its earliest wait ends; ``sleeps`` begin with it."""

    lease: Lease
    wake_at: datetime | None
    sleeps: tuple[SleepStarted, ...] = field(default=())


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReleased:
    """A draining worker hands the run on: claimable at once, and not counted as a crash."""

    lease: Lease


StepOperation = StepStarted | SleepStarted | StepCompleted | StepFailed
RunOperation = RunCompleted | RunFailed | RunRescheduled | RunParked | RunReleased
Operation = StepOperation | RunOperation


class Ledger(Protocol):
    """Where an executor hands in its operations. The engine knows nothing else of the database."""

    def submit(self, *operations: Operation) -> Receipt:
        """Apply operations of one lease together, in order, and wait for the verdict.

        Never answers ``BUSY``. Raises ``StorageInterrupted`` when the database could not be
        reached for so long that the lease must be given up.
        """
        ...


class StorageInterrupted(BaseException):
    """The engine's own storage failed; the run is left to its lease, and nothing is blamed on it.

    Derives from ``BaseException``: it is no error of the workflow.
    """
