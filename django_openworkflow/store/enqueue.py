"""Insert runs, in the caller's transaction; once per idempotency key."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from django.db import connections
from django.db.transaction import mark_for_rollback_on_error

from django_openworkflow import clock, conf, notices
from django_openworkflow.identifiers import new_id
from django_openworkflow.models import WorkflowRun
from django_openworkflow.store.rows import new_row
from django_openworkflow.transactions import hooks_allowed, write_transaction

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from uuid import UUID

    from django_openworkflow.store.operations import NewRun

# How long an idempotency key finds the run it started. Source: the original's ``core/backend.ts``.
KEY_WINDOW: Final = timedelta(hours=24)
_BATCH: Final = 500
# Both languages take this very lock for a key. Source: the original's ``backend.ts``.
_LOCK_KEY: Final = "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0::bigint))"

# Any number of runs that differ by their input alone, in one statement and so in one round trip:
# by itself it is a transaction. Columns that are not named get their defaults from the database.
_INSERT: Final = """
INSERT INTO django_openworkflow_workflowrun (
    id, input, namespace_id, workflow_name, version, idempotency_key, context, queue,
    priority, available_at, deadline_at, has_cancel_hook)
SELECT given.id,
       given.input::jsonb,
       %(namespace_id)s::text,
       %(workflow_name)s::text,
       %(version)s::text,
       %(idempotency_key)s::text,
       %(context)s::jsonb,
       %(queue)s::text,
       %(priority)s::int,
       COALESCE(%(available_at)s::timestamptz, STATEMENT_TIMESTAMP() + %(available_in)s::interval),
       COALESCE(%(deadline_at)s::timestamptz, STATEMENT_TIMESTAMP() + %(deadline_in)s::interval),
       %(has_cancel_hook)s::bool
  FROM unnest(%(ids)s::uuid[], %(inputs)s::text[]) AS given (id, input)
"""


def insert_runs(
    new_run: NewRun, inputs: Sequence[str | None], *, using: str, key: str | None = None
) -> list[UUID]:
    """Insert a pending run like ``new_run`` for each input; return the ids in the order given.

    All or none: the runs join the caller's transaction, or are one of their own. An error of the
    database inside a transaction of the caller's leaves that to be rolled back.
    """
    ids = [new_id() for _ in inputs]
    if not ids:
        return ids
    with hooks_allowed(using):
        if connections[using].vendor == "postgresql":
            parameters = {**_shared(new_run), "idempotency_key": key, "ids": ids, "inputs": inputs}
            _insert(using, parameters)
        else:
            rows = (
                new_row(replace(new_run, input=text), id=pk, idempotency_key=key)
                for pk, text in zip(ids, inputs, strict=True)
            )
            insert_rows(rows, using=using)
        if new_run.available_at is None:
            notices.notify_due(using)
    return ids


def _insert(using: str, parameters: dict[str, Any]) -> None:
    from django_openworkflow.packets import trips

    connection = connections[using]
    if trips.may_ask(connection):
        trips.ask(connection, _INSERT, parameters)
        return
    with mark_for_rollback_on_error(using), connection.cursor() as cursor:
        cursor.execute(_INSERT, parameters)


def insert_rows(rows: Iterable[WorkflowRun], *, using: str) -> None:
    """Insert runs on any database, in batches of one transaction."""
    with mark_for_rollback_on_error(using):  # Django 6.1 no longer does where one batch is enough
        WorkflowRun._base_manager.using(using).bulk_create(rows, batch_size=_BATCH)


def _shared(new_run: NewRun) -> dict[str, Any]:
    """Return what all runs like this one have in common, as parameters."""
    available, deadline = new_run.available_at or timedelta(), new_run.deadline_at
    return {
        "namespace_id": conf.namespace(),
        "workflow_name": new_run.workflow_name,
        "version": new_run.version,
        "context": None if new_run.context is None else json.dumps(new_run.context),
        "queue": new_run.queue,
        "priority": new_run.priority,
        "available_at": _absolute(available),
        "available_in": _span(available),
        "deadline_at": _absolute(deadline),
        "deadline_in": _span(deadline),
        "has_cancel_hook": new_run.has_cancel_hook,
    }


def _absolute(when: datetime | timedelta | None) -> datetime | None:
    return when if isinstance(when, datetime) else None


def _span(when: datetime | timedelta | None) -> timedelta | None:
    return when + clock.offset() if isinstance(when, timedelta) else None


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
        return insert_runs(new_run, [new_run.input], using=using, key=key)[0]


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
