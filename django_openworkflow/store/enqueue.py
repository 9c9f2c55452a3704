"""Insert runs, in the caller's transaction; once per idempotency key."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from django.db import connections

from django_openworkflow import clock, conf
from django_openworkflow.identifiers import new_id
from django_openworkflow.models import WorkflowRun
from django_openworkflow.serialization import decode
from django_openworkflow.transactions import write_transaction

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

# How long an idempotency key finds the run it started. Source: the original's ``core/backend.ts``.
KEY_WINDOW: Final = timedelta(hours=24)
_BATCH: Final = 500
# Both languages take this very lock for a key. Source: the original's ``backend.ts``.
_LOCK_KEY: Final = "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0::bigint))"


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


def insert_runs(new_runs: Sequence[NewRun], *, using: str) -> list[UUID]:
    """Insert pending runs in one transaction and return their ids, in the order given."""
    rows = [_row(new_run) for new_run in new_runs]
    with write_transaction(using):
        WorkflowRun._base_manager.using(using).bulk_create(rows, batch_size=_BATCH)
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
        row = _row(new_run, idempotency_key=key)
        WorkflowRun._base_manager.using(using).bulk_create([row])
    return row.pk


def _row(new_run: NewRun, **columns: Any) -> WorkflowRun:
    return WorkflowRun(
        id=new_id(),
        namespace_id=conf.namespace(),
        workflow_name=new_run.workflow_name,
        version=new_run.version,
        input=decode(new_run.input),
        queue=new_run.queue,
        priority=new_run.priority,
        available_at=_moment(new_run.available_at) or clock.moment(),
        deadline_at=_moment(new_run.deadline_at),
        **columns,
    )


def _moment(when: datetime | timedelta | None) -> Any:
    return clock.moment(plus=when) if isinstance(when, timedelta) else when


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
