"""The rows that a turn has locked, and what it has done to them so far."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, TypeAlias

from django.db import connections

from django_openworkflow import clock
from django_openworkflow.models import StepAttempt, WorkflowRun
from django_openworkflow.states import RunStatus

if TYPE_CHECKING:
    from collections.abc import Iterable, KeysView
    from uuid import UUID

    from django.db.models import QuerySet

    from django_openworkflow.querysets import WorkflowRunQuerySet
    from django_openworkflow.store.operations import Lease


# Of a row that was locked: id, status, worker_id, crashes, released_by.
LockedColumns: TypeAlias = "tuple[UUID, str, str | None, int, str | None]"


@dataclass(slots=True)
class Locked:
    """A run's row under lock, kept in step with what the turn writes."""

    status: str
    worker_id: str | None
    crashes: int
    released_by: str | None = None

    def held_by(self, lease: Lease) -> bool:
        """Whether the lease is still the owner's."""
        return self.status == RunStatus.RUNNING and self.worker_id == lease.worker_id


class TurnRows:
    """What the writers of operations work on. ``now`` is the database's clock after the locks."""

    def __init__(self, using: str) -> None:
        self.using = using
        self.now = datetime.min.replace(tzinfo=UTC)
        self._locked: dict[UUID, Locked] = {}

    @property
    def runs(self) -> QuerySet[WorkflowRun]:
        """All runs of the database."""
        return WorkflowRun._base_manager.using(self.using)

    @property
    def attempts(self) -> QuerySet[StepAttempt]:
        """All step attempts of the database."""
        return StepAttempt._base_manager.using(self.using)

    @property
    def transitions(self) -> WorkflowRunQuerySet:
        """The verbs that end runs and wake their parents."""
        runs: WorkflowRunQuerySet = WorkflowRun.objects.db_manager(self.using).all()
        return runs

    def lock(self, ids: set[UUID], *, wait: bool) -> None:
        """Lock runs in ascending id; without ``wait`` leave out those that somebody else holds."""
        rows = self._lock(ids, wait=wait)
        self._locked = {
            pk: Locked(status, owner, crashes, released_by)
            for pk, status, owner, crashes, released_by in rows
        }
        self.now = clock.read(self.using)

    def _lock(self, ids: set[UUID], *, wait: bool) -> Iterable[LockedColumns]:
        """Yield the columns of the rows that were locked."""
        features = connections[self.using].features
        return (
            self.runs.filter(pk__in=sorted(ids))
            .order_by("pk")
            .select_for_update(
                no_key=features.has_select_for_no_key_update,
                skip_locked=not wait and features.has_select_for_update_skip_locked,
            )
            .values_list("pk", "status", "worker_id", "crashes", "released_by")
        )

    def get(self, run_id: UUID) -> Locked | None:
        """Return a locked row."""
        return self._locked.get(run_id)

    def ids(self) -> KeysView[UUID]:
        """Return the ids of all locked rows."""
        return self._locked.keys()

    def __getitem__(self, lease: Lease) -> Locked:
        return self._locked[lease.run_id]


def iso(moment: datetime) -> str:
    """Format as the original does inside JSON: UTC, three fractional digits, ``Z``."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def whole_milliseconds(moment: datetime) -> datetime:
    """Round up, so that what JSON keeps of a moment is never early."""
    try:
        return moment + timedelta(microseconds=-moment.microsecond % 1000)
    except OverflowError:  # the last moment of the calendar
        return moment.replace(microsecond=moment.microsecond // 1000 * 1000)
