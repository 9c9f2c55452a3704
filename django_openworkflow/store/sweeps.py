"""Bounded chores of upkeep: deadlines, poison pills, runs that no worker knows, dead workers.

Each sweep looks at a bounded number of rows through an index, and decides under lock.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Final

from django.db import connections, transaction

from django_openworkflow import clock, conf, instrumentation
from django_openworkflow.exceptions import WorkflowNotRegistered
from django_openworkflow.models import BufferedSignal, WorkerProcess
from django_openworkflow.retries import UNREGISTERED
from django_openworkflow.states import CancelSource, RunStatus
from django_openworkflow.store import foreign
from django_openworkflow.transactions import write_transaction

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from uuid import UUID

    from django_openworkflow.querysets import WorkflowRunQuerySet
    from django_openworkflow.store.base import Store

BATCH: Final = 100
# How many due rows at the head of the queue are looked at for workflows that nobody knows.
_HEAD: Final = 1000

DEADLINE_EXCEEDED: Final = {"message": "Workflow run deadline exceeded"}


def is_needed(
    store: Store, known: Collection[tuple[str, str | None]], *, now: datetime | None = None
) -> bool:
    """Whether any of the sweeps would find something, for the price of one short transaction."""
    with transaction.atomic(using=store.using):
        return (
            _overdue(store, now).exists()
            or _poisoned(store, now).exists()
            or BufferedSignal.objects.db_manager(store.using).exists()
            or _canceled_by_others(store).exists()
            or bool(_unknown(store, known, now))
        )


def _overdue(store: Store, now: datetime | None) -> WorkflowRunQuerySet:
    return store.runs.active().filter(deadline_at__lte=clock.moment(now))


def _poisoned(store: Store, now: datetime | None) -> WorkflowRunQuerySet:
    crashes = conf.get_settings().MAX_CRASHES - 1
    return store.runs.due(now).filter(worker_id__isnull=False, crashes__gte=crashes)


def _canceled_by_others(store: Store) -> WorkflowRunQuerySet:
    if foreign.has_views(store.using):
        return store.runs.canceled().filter(cancel_source="")
    return store.runs.none()


def fail_overdue(store: Store, *, now: datetime | None = None) -> list[UUID]:
    """Fail runs whose deadline has passed, wake their parents; return their ids.

    Source: the original's ``claimWorkflowRun``, which does it without waking the parent.
    """
    overdue = _overdue(store, now)
    fail = partial(store.runs.end_locked, status=RunStatus.FAILED, error=DEADLINE_EXCEEDED)
    return _end(store, overdue.order_by("deadline_at"), overdue, fail)


def fail_poisoned(store: Store, *, now: datetime | None = None) -> list[UUID]:
    """Fail runs that have cost as many workers their life as ``MAX_CRASHES`` allows."""
    limit = conf.get_settings().MAX_CRASHES
    expired = _poisoned(store, now)
    times = "once" if limit == 1 else f"{limit} times"
    error = {
        "name": "PoisonPill",
        "message": f"The workflow run lost its worker {times} without progress",
    }
    fail = partial(store.runs.end_locked, status=RunStatus.FAILED, error=error, crashes=limit)
    return _end(store, expired.order_by("available_at"), expired, fail)


def finish_foreign_cancels(store: Store) -> list[UUID]:
    """Do for runs that another client has canceled what a cancel of ours does; return their ids.

    The other client sets the status and wakes the parent, in two transactions. It closes no wait
    and starts no clean-up. A cancel of ours names its source, so these are the ones without.
    """
    bare = _canceled_by_others(store)
    finish = partial(store.runs.cancel_locked, columns={"cancel_source": CancelSource.CLIENT})
    return _end(store, bare.order_by("pk"), bare, finish, RunStatus.CANCELED)


def _end(
    store: Store,
    candidates: WorkflowRunQuerySet,
    condition: WorkflowRunQuerySet,
    end: Callable[[list[UUID]], None],
    status: RunStatus = RunStatus.FAILED,
) -> list[UUID]:
    chosen: list[tuple[UUID, UUID | None]] = list(
        candidates.values_list("pk", "parent_step_attempt__workflow_run_id")[:BATCH]
    )
    if not chosen:
        return []
    with write_transaction(store.using):
        wanted = {pk for pair in chosen for pk in pair if pk is not None}
        locked = dict(store.runs.lock_runs(wanted, skip_locked=True))
        ready = [
            pk for pk, parent in chosen if pk in locked and (parent is None or parent in locked)
        ]
        ending = list(condition.filter(pk__in=ready).values_list("pk", flat=True))
        end(ending)
    instrumentation.ended(ending, status, using=store.using)
    return ending


def put_back_unknown(
    store: Store, known: Collection[tuple[str, str | None]], *, now: datetime | None = None
) -> list[UUID]:
    """Put due runs that no live worker knows back with a growing delay; return their ids.

    They stay pending, never fail, and no attempt is counted: deployments roll. ``known`` are the
    definitions of the calling worker; those of other live workers are read from their rows. Where
    clients in other languages share the tables, nothing is put back: their workers have no rows.
    """
    unknown = _unknown(store, known, now)
    if not unknown:
        return []
    moved = []
    with write_transaction(store.using):
        locked = dict(store.runs.lock_runs(sorted(unknown)[:BATCH], skip_locked=True))
        still_due = set(store.runs.due(now).filter(pk__in=locked).values_list("pk", flat=True))
        for pk in sorted(still_due):
            name, version, deferrals = unknown[pk]
            store.runs.filter(pk=pk).update(
                status=RunStatus.PENDING,
                worker_id=None,
                started_at=None,
                available_at=clock.moment(now, plus=UNREGISTERED.delay(deferrals + 1)),
                updated_at=clock.moment(now),
                deferrals=deferrals + 1,
                error={"message": str(WorkflowNotRegistered(name, version))},
            )
            moved.append(pk)
    return moved


def _unknown(
    store: Store, known: Collection[tuple[str, str | None]], now: datetime | None
) -> dict[UUID, tuple[str, str | None, int]]:
    """Return name, version and deferrals of due runs that nobody knows, without a lock."""
    head = store.runs.due(now).order_by("queue", "-priority", "available_at")
    rows = head.values_list("pk", "workflow_name", "version", "deferrals")[:_HEAD]
    mine = set(known)
    found = {row[0]: row[1:] for row in rows if (row[1], row[2]) not in mine}
    if not found or foreign.has_views(store.using):
        return {}
    others = _known_to_others(store)
    return {pk: facts for pk, facts in found.items() if facts[:2] not in others}


def _known_to_others(store: Store) -> set[tuple[str, str | None]]:
    lease_seconds = conf.get_settings().LEASE_SECONDS
    alive = WorkerProcess.objects.db_manager(store.using).alive(lease_seconds)
    return {
        (name, version)
        for workflows in alive.values_list("workflows", flat=True)
        for name, version in workflows
    }


def forget_dead_workers(store: Store) -> None:
    """Delete the rows of workers that have not been heard of for a day.

    Several workers may do so at a time: each deletes what no other one has locked.
    """
    rows = WorkerProcess.objects.db_manager(store.using).all()
    gone = rows.filter(heartbeat_at__lt=clock.moment(plus=-timedelta(days=1)))
    skip_locked = connections[store.using].features.has_select_for_update_skip_locked
    with write_transaction(store.using):
        locked = gone.order_by("pk").select_for_update(skip_locked=skip_locked)
        rows.filter(pk__in=list(locked.values_list("pk", flat=True))).delete()
