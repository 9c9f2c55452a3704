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
    from collections.abc import Awaitable, Sequence
    from datetime import datetime, timedelta
    from uuid import UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The right to write a run. ``worker_id`` is new for every claim: it is the fence."""

    run_id: UUID
    worker_id: str

    def __hash__(self) -> int:
        return hash(self.run_id.int)  # leases are looked up all the time: the quickest there is


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
    cleanup_of_id: UUID | None
    cleanup_attempt_id: UUID | None
    original_created_at: datetime | None  # of the run that a clean-up run cleans up after
    original_started_at: datetime | None
    is_first: bool  # nobody has claimed it since it was started
    is_suspect: bool  # it has lost so many workers that the next one would be the last

    def log_facts(self, *, step: str | None = None) -> dict[str, str | None]:
        """Return the ``extra`` of every log record about this run: never what it was given."""
        return {"run_id": str(self.lease.run_id), "workflow": self.workflow_name, "step": step}


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildOutcome:
    """How the child run of a workflow step stands, or ended."""

    status: str
    output: Any
    error: Any
    finished_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """A signal that a waiting step received; ``data`` None is a delivery all the same."""

    data: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A saved step attempt, as replay reads it."""

    id: UUID
    step_name: str
    kind: str
    status: str
    context: Any = None
    output: Any = None
    error: Any = None
    child_run_id: UUID | None = None
    created_at: datetime
    finished_at: datetime | None = None
    has_undo: bool = False
    is_late: bool = False  # ended after its run was canceled
    is_set_aside: bool = False  # belongs to the run's life before a retry
    child: ChildOutcome | None = None  # of a running workflow step
    delivered: Delivered | None = None  # to a running signal wait


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRun:
    """A run to be inserted; ``input`` is encoded JSON, moments are absolute or relative to now."""

    workflow_name: str
    version: str | None
    input: str | None
    queue: str = "default"
    priority: int = 0
    available_at: datetime | timedelta | None = None
    deadline_at: datetime | timedelta | None = None
    has_cancel_hook: bool = False
    context: dict[str, Any] | None = None  # of the trace that it belongs to


class Verdict(enum.Enum):
    """What became of an operation."""

    ACCEPTED = "accepted"
    CANCELED = "canceled"  # the run was canceled; a step's outcome is kept all the same
    LOST = "lost"  # the lease is gone: write nothing more
    BUSY = "busy"  # somebody else holds the row: not applied, to be tried again


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """The verdict, the database's clock when it was given, and what an operation returns."""

    verdict: Verdict
    at: datetime
    value: Any = None


# --- steps ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class StepStarted:
    """A step's body is about to run. ``resumed`` takes over the row of an interrupted attempt."""

    lease: Lease
    attempt_id: UUID
    step_name: str
    kind: str
    resumed: bool = False
    has_undo: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StepCompleted:
    """A step ended well. An attempt that is completed already keeps its first output.

    ``started``: its start, which is written again if a crash of the server has lost it.
    """

    lease: Lease
    attempt_id: UUID
    output: str | None = None
    started: StepStarted | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFailed:
    """A step's body raised, or what it waited for failed. ``started``: see ``StepCompleted``."""

    lease: Lease
    attempt_id: UUID
    error: str
    started: StepStarted | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalSent:
    """A step sends a signal: delivered and recorded as completed in one transaction.

    The receipt's value is the list of ids of the runs that received it.
    """

    lease: Lease
    attempt_id: UUID
    step_name: str
    signal: str
    data: str | None
    resumed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitTimedOut:
    """A signal wait ran out of time. The receipt's value is a ``Delivered`` that came first."""

    lease: Lease
    attempt_id: UUID


# --- waits: they begin with the park, or alone where branches run in parallel -------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class SleepStarted:
    """A sleep begins; its end is computed from the database's clock when this is applied."""

    lease: Lease
    attempt_id: UUID
    step_name: str
    duration: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalWaitStarted:
    """A step begins to wait for a signal; ``timeout`` None is a calendar year."""

    lease: Lease
    attempt_id: UUID
    step_name: str
    signal: str
    timeout: datetime | timedelta | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildStarted:
    """A step starts a child run and begins to wait for it: attempt, child and link in one piece.

    ``resumed`` completes an attempt that another client left without its child.
    """

    lease: Lease
    attempt_id: UUID
    step_name: str
    child_id: UUID
    child: NewRun
    timeout: datetime | timedelta | None
    resumed: bool = False


# --- runs -----------------------------------------------------------------------------------------


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
    """The run goes back to pending until its next try; ``is_failure`` counts against its budget.

    ``wake_at``: the earliest end of a wait in a parallel branch, if that comes first.
    """

    lease: Lease
    error: str
    delay: timedelta
    is_failure: bool
    wake_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunParked:
    """The run gives up its worker until its earliest wait ends; ``waits`` begin with it."""

    lease: Lease
    wake_at: datetime | None = None
    waits: tuple[SleepStarted | SignalWaitStarted | ChildStarted, ...] = field(default=())


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReleased:
    """A draining worker hands the run on: claimable at once, and not counted as a crash."""

    lease: Lease


WaitOperation = SleepStarted | SignalWaitStarted | ChildStarted
StepOperation = StepStarted | StepCompleted | StepFailed | SignalSent | WaitTimedOut
RunOperation = RunCompleted | RunFailed | RunRescheduled | RunParked | RunReleased
Operation = StepOperation | WaitOperation | RunOperation


class Posted:
    """An operation that was handed in without waiting. ``receipt`` is None until it is written."""

    __slots__ = ("operation", "receipt")

    def __init__(self, operation: Operation, receipt: Receipt | None = None) -> None:
        self.operation = operation
        self.receipt = receipt

    @property
    def is_accepted(self) -> bool:
        """Whether it is known to be written."""
        return self.receipt is not None and self.receipt.verdict is Verdict.ACCEPTED


class Ledger(Protocol):
    """Where an executor hands in its operations. The engine knows nothing else of the database.

    Never answers ``BUSY``. Raises ``StorageInterrupted`` when the database could not be reached for
    so long that the lease must be given up.
    """

    is_shared: bool  # whether threads and tasks may use it at once

    def submit(self, *operations: Operation, after: Sequence[Posted] = ()) -> Receipt:
        """Apply operations of one lease together, in order, and wait for the verdict.

        ``after`` was posted before under the same lease. It is written by then, or with them: a
        verdict on it that is no acceptance is the answer.
        """
        ...

    def asubmit(self, *operations: Operation, after: Sequence[Posted] = ()) -> Awaitable[Receipt]:
        """Do the same from an event loop, without blocking it."""
        ...

    def post(self, operation: Operation) -> Posted:
        """Hand in an operation that the next turn writes, or a moment without one. Never blocks.

        A ledger that is not shared writes it at once.
        """
        ...

    def apost(self, operation: Operation) -> Awaitable[Posted]:
        """Do the same from an event loop."""
        ...

    def is_completed(self, attempt_id: UUID) -> bool:
        """Ask the database, on a connection of its own, whether an attempt has completed."""
        ...

    def was_canceled(self, run_id: UUID) -> bool:
        """Ask the database, on a connection of its own, whether a cancel has committed."""
        ...

    def commit_with(self, operation: StepCompleted) -> Receipt:
        """Apply within the transaction that the calling thread has open, as its last statement."""
        ...


class StorageInterrupted(BaseException):  # and so no error of the workflow
    """The engine's own storage failed; the run is left to its lease, and nothing blamed on it."""
