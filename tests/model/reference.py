"""What runs are, in memory and without a database: the reference for the real rows.

Times are seconds since the machine began, by the engine's clock; spans are so long that the time a
test really takes does not matter.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from django_openworkflow.states import RunStatus

if TYPE_CHECKING:
    from uuid import UUID

    from django_openworkflow.store.operations import Lease

LEASE: Final = 10_000.0
NAP: Final = 100_000.0
FAR: Final = 10_000_000.0
BACKOFF: Final = 50_000.0
MOST_CRASHES: Final = 3  # few, so that histories get there
ENDED: Final = (RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELED)


@dataclass(kw_only=True)
class Wait:
    """A running step attempt that waits: for a time, a signal or a child."""

    attempt_id: UUID
    kind: str
    until: float
    signal: str = ""
    received: bool = False
    child: Run | None = None

    def is_over(self, now: float) -> bool:
        """Whether what it waits for has happened."""
        child_ended = self.child is not None and self.child.status in ENDED
        return self.until <= now or self.received or child_ended


@dataclass(kw_only=True)
class Run:
    """One run as it should be."""

    id: UUID
    status: str = RunStatus.PENDING
    available_at: float | None = 0.0
    lease: Lease | None = None  # of the worker that holds it
    zombies: list[Lease] = field(default_factory=list)  # of those that have lost it
    gave_up: Lease | None = None  # the last one that let go of it by itself
    parent: Run | None = None
    deadline_at: float | None = None
    ended_at: float | None = None
    done: set[str] = field(default_factory=set)  # steps that have completed
    started: dict[str, UUID] = field(default_factory=dict)  # steps in flight
    begun_by: dict[UUID, Lease] = field(default_factory=dict)  # attempts by who began them
    waits: list[Wait] = field(default_factory=list)
    output: object = None
    failures: int = 0
    crashes: int = 0
    takeovers: int = 0
    claims: int = 0
    steps: int = 0  # names given so far
    retried: int = 0

    @property
    def is_held(self) -> bool:
        """Whether a worker holds it, as far as the rows say."""
        return self.lease is not None

    @property
    def is_active(self) -> bool:
        """Whether it has not ended."""
        return self.status not in ENDED

    @property
    def is_parked(self) -> bool:
        """Whether it waits without a worker."""
        return self.status == RunStatus.RUNNING and self.lease is None

    def is_due(self, now: float) -> bool:
        """Whether it may be claimed."""
        return self.is_active and self.available_at is not None and self.available_at <= now

    def is_poisoned(self) -> bool:
        """Whether the next claim would be one too many."""
        return self.is_held and self.crashes >= MOST_CRASHES - 1

    def is_suspect(self) -> bool:
        """Whether the claim of it would be its last chance."""
        return self.crashes + self.is_held >= MOST_CRASHES - 1

    def is_overdue(self, now: float) -> bool:
        """Whether its deadline has passed."""
        return self.is_active and self.deadline_at is not None and self.deadline_at <= now

    def give_up(self, status: str, available_at: float | None) -> None:
        """Let go of the worker: whatever it writes from now on is a zombie's."""
        if self.lease is not None:
            self.zombies.append(self.lease)
        self.lease, self.status, self.available_at = None, status, available_at

    def end(self, status: str, now: float) -> None:
        """Take the one road to the end: waits are closed, the parent is woken."""
        self.give_up(status, None)
        self.ended_at = now
        self.waits = []
        parent = self.parent
        waits = parent is not None and any(wait.child is self for wait in parent.waits)
        if parent is not None and waits:
            parent.wake(now)

    def wake(self, now: float) -> None:
        """Become due, if it is parked."""
        if self.is_parked and self.available_at is not None:
            self.available_at = min(self.available_at, now)

    def family(self) -> list[Run]:
        """Return all runs above this one."""
        return [] if self.parent is None else [self.parent, *self.parent.family()]
