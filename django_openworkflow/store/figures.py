"""What machines ask the tables, as numbers. Nothing here writes or locks.

Every number is read through an index and stops at a limit, so that asking costs the same among
millions of rows as in an empty table.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from django.db.models import Sum

from django_openworkflow import clock, conf
from django_openworkflow.models import WorkerProcess, WorkflowRun
from django_openworkflow.states import RunStatus
from django_openworkflow.store.levels import due_levels

if TYPE_CHECKING:
    from collections.abc import Collection
    from uuid import UUID

    from django_openworkflow.querysets import WorkflowRunQuerySet

COUNTED: Final = 100_000  # rows of one status that are counted; more are reported as so many
_DUE_COUNTED: Final = 10_000  # due runs of one queue and priority
_LEVELS: Final = 100  # queues and priorities that are looked at
_NAMES: Final = 1000  # ids per statement
# Every active run is due by then, so that levels without due runs are found too.
_FOR_EVER: Final = datetime(9999, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueFigures:
    """How far behind a queue is: for how long its oldest due run has waited, and how many do."""

    oldest_due_seconds: float
    due: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerFigures:
    """How many workers are alive, how many runs they can hold, and how many they hold."""

    alive: int
    slots: int
    slots_used: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """The numbers of one namespace at one moment, the database's."""

    runs: dict[str, int]
    queues: dict[str, QueueFigures]
    workers: WorkerFigures


def read(using: str) -> Figures:
    """Ask for everything: a fixed number of statements, and three more per queue and priority."""
    runs: WorkflowRunQuerySet = WorkflowRun.objects.db_manager(using).all()
    levels = [
        runs.filter(queue=queue, priority=priority)
        for priority, queues in due_levels(using, None, _FOR_EVER)
        for queue in queues
    ][:_LEVELS]
    return Figures(
        runs={status: _count(runs.filter(status=status), COUNTED) for status in RunStatus.values},
        queues=_queues(levels, using),
        workers=_workers(levels, using),
    )


def _queues(levels: list[WorkflowRunQuerySet], using: str) -> dict[str, QueueFigures]:
    now = clock.read(using)
    found: dict[str, QueueFigures] = {}
    for level in levels:
        due = level.due()
        first = level.active().order_by("available_at").values_list("queue", "available_at").first()
        if first is None:
            continue
        queue, available_at = first
        known = found.get(queue, QueueFigures(oldest_due_seconds=0.0, due=0))
        waited = max(0.0, (now - available_at).total_seconds()) if available_at else 0.0
        found[queue] = QueueFigures(
            oldest_due_seconds=max(known.oldest_due_seconds, waited),
            due=known.due + (_count(due, _DUE_COUNTED) if waited else 0),
        )
    return found


def _workers(levels: list[WorkflowRunQuerySet], using: str) -> WorkerFigures:
    lease = timedelta(seconds=conf.get_settings().LEASE_SECONDS)
    alive = WorkerProcess.objects.db_manager(using).alive(lease.total_seconds())
    return WorkerFigures(
        alive=alive.count(),
        slots=alive.aggregate(slots=Sum("concurrency"))["slots"] or 0,
        slots_used=sum(_held(level, lease) for level in levels),
    )


def _held(level: WorkflowRunQuerySet, lease: timedelta) -> int:
    """Count runs under a lease: until its end they stand in this short range of the claim index."""
    held = level.active().filter(
        available_at__gt=clock.moment(),
        available_at__lte=clock.moment(plus=lease),
        worker_id__isnull=False,
    )
    return _count(held, _DUE_COUNTED)


def _count(rows: WorkflowRunQuerySet, limit: int) -> int:
    return rows.order_by()[:limit].count()


# --- about runs that are known --------------------------------------------------------------------


def workflow_names(ids: Collection[UUID], *, using: str) -> list[str]:
    """Return the workflow of each of these runs, in no order."""
    runs = WorkflowRun._base_manager.using(using)
    wanted = sorted(ids)
    return [
        name
        for start in range(0, len(wanted), _NAMES)
        for name in runs.filter(pk__in=wanted[start : start + _NAMES]).values_list(
            "workflow_name", flat=True
        )
    ]


def canceled_at(ids: Collection[UUID], *, using: str) -> dict[UUID, datetime]:
    """Return when each of these runs was canceled; those that are not are left out."""
    runs = WorkflowRun._base_manager.using(using).filter(pk__in=ids, status=RunStatus.CANCELED)
    return {pk: at for pk, at in runs.values_list("pk", "finished_at") if at is not None}


def contexts(ids: Collection[UUID], *, using: str) -> list[Any]:
    """Return what these runs carry as their ``context``, in no order."""
    runs = WorkflowRun._base_manager.using(using).filter(pk__in=ids, context__isnull=False)
    return list(runs.values_list("context", flat=True))
