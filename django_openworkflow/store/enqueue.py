"""Insert runs, in the caller's transaction; once per idempotency key."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from django.db import connections

from django_openworkflow import clock, conf, notices
from django_openworkflow.models import WorkflowRun
from django_openworkflow.store.rows import new_row
from django_openworkflow.transactions import write_transaction

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from django_openworkflow.store.operations import NewRun

# How long an idempotency key finds the run it started. Source: the original's ``core/backend.ts``.
KEY_WINDOW: Final = timedelta(hours=24)
_BATCH: Final = 500
# Both languages take this very lock for a key. Source: the original's ``backend.ts``.
_LOCK_KEY: Final = "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0::bigint))"


def insert_runs(new_runs: Sequence[NewRun], *, using: str) -> list[UUID]:
    """Insert pending runs in one transaction and return their ids, in the order given."""
    rows = [new_row(new_run) for new_run in new_runs]
    with write_transaction(using):
        WorkflowRun._base_manager.using(using).bulk_create(rows, batch_size=_BATCH)
    if any(new_run.available_at is None for new_run in new_runs):
        notices.notify_due(using)
    return [row.pk for row in rows]


def insert_run_once(new_run: NewRun, key: str, *, using: str) -> UUID:
    """Insert a run, or return the one that this key started within the last 24 hours.

    Safe under concurrent callers: they take turns by an advisory lock on PostgreSQL, and by the
    write lock on SQLite, until the caller's transaction ends.
    """
    with write_transaction(using):
        _lock_key(new_run.workflow_name, key, using)
        earlier: UUID | None = (
            WorkflowRun.objects.db_manager(using)
            .filter(workflow_name=new_run.workflow_name, idempotency_key=key)
            .filter(created_at__gte=clock.moment(plus=-KEY_WINDOW))
            .order_by("created_at", "pk")
            .values_list("pk", flat=True)
            .first()
        )
        if earlier is not None:
            return earlier
        row = new_row(new_run, idempotency_key=key)
        WorkflowRun._base_manager.using(using).bulk_create([row])
        if new_run.available_at is None:
            notices.notify_due(using)
    return row.pk


def _lock_key(workflow_name: str, key: str, using: str) -> None:
    connection = connections[using]
    if connection.vendor != "postgresql":
        return
    identity = {
        "namespaceId": conf.namespace(),
        "workflowName": workflow_name,
        "idempotencyKey": key,
    }
    text = json.dumps(identity, separators=(",", ":"), ensure_ascii=False)
    with connection.cursor() as cursor:
        cursor.execute(_LOCK_KEY, [text])
