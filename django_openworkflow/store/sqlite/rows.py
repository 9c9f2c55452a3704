"""The rows of a turn on SQLite."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.db import connections

from django_openworkflow import clock, conf
from django_openworkflow.states import RunStatus, StepStatus
from django_openworkflow.store import run_writes
from django_openworkflow.store.batched import BatchedRows, closing_error
from django_openworkflow.store.sqlite import statements

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from django_openworkflow.store.batches import Batch
    from django_openworkflow.store.turns import LockedColumns


def fetch(using: str, sql: str, *values: Any) -> list[tuple[Any, ...]]:
    """Execute a statement and return its rows."""
    with connections[using].cursor() as cursor:
        cursor.execute(sql, values)
        found: list[tuple[Any, ...]] = cursor.fetchall()
    return found


def as_text(moment: datetime | None) -> str | None:
    """Return a moment as Django stores it."""
    return None if moment is None else str(moment.astimezone(UTC).replace(tzinfo=None))


def as_bound(moment: datetime) -> str:
    """Return a moment for ``<=`` and ``>`` with stored ones, which are compared as texts.

    With all its digits: ``05.000``, as defaults of columns write it, would be later than ``05``.
    """
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")


def as_moment(stored: datetime | str | None) -> datetime | None:
    """Return a stored moment, whether or not Django has read the text already."""
    if stored is None:
        return None
    moment = datetime.fromisoformat(stored) if isinstance(stored, str) else stored
    return moment.replace(tzinfo=UTC)


def as_ids(ids: Iterable[UUID]) -> str:
    """Return ids as one value for ``JSON_EACH``."""
    return json.dumps([each.hex for each in ids])


class SqliteRows(BatchedRows):
    """Reads and writes under the write lock, which the transaction has taken."""

    def _lock(self, ids: set[UUID], *, wait: bool) -> Iterable[LockedColumns]:
        found = fetch(self.using, statements.READ, as_ids(ids))
        return [(UUID(row[0]), *row[1:]) for row in found]

    def write(self, batch: Batch) -> None:
        """See ``BatchedRows.write``."""
        now = as_text(self.now)
        with connections[self.using].cursor() as cursor:
            for sql, values in (
                *_steps(batch, now, self.now - clock.offset()),
                *_given_up(batch, self.now),
                *_ended(batch, now, as_bound(self.now)),
            ):
                cursor.executemany(sql, values)
        for run_id in batch.parked:
            run_writes.wake_if_it_happened(self, run_id)


def _steps(
    batch: Batch, now: str | None, unshifted: datetime
) -> Iterator[tuple[str, list[tuple[Any, ...]]]]:
    if batch.started:
        yield statements.START, _started(batch, now, unshifted)
    if batch.resumed:
        yield (
            statements.RESUME,
            [
                (worker_id, has_undo, now, now, attempt_id.hex, worker_id)
                for attempt_id, (worker_id, has_undo) in batch.resumed.items()
            ],
        )
    if batch.ended:
        completed, failed = [], []
        for attempt_id, (run_id, status, output, error) in batch.ended.items():
            key = (now, now, attempt_id.hex, run_id.hex)
            if status == StepStatus.COMPLETED:
                completed.append((output, *key))
            else:
                failed.append((error, *key))
        yield statements.COMPLETE_STEP, completed
        yield statements.FAIL_STEP, failed


def _started(batch: Batch, now: str | None, unshifted: datetime) -> list[tuple[Any, ...]]:
    namespace, begun_at = conf.namespace(), as_text(unshifted)
    return [
        (
            row.id.hex,
            row.run_id.hex,
            row.step_name,
            row.kind,
            row.worker_id,
            row.has_undo,
            row.context,
            row.status,
            row.output,
            row.error,
            None if row.status == StepStatus.RUNNING else now,
            namespace,
            begun_at,
            begun_at,
        )
        for row in batch.started.values()
    ]


def _given_up(batch: Batch, now: datetime) -> Iterator[tuple[str, list[tuple[Any, ...]]]]:
    at = as_text(now)
    yield statements.FORGIVE, [(run_id.hex,) for run_id in batch.progressed]
    yield (
        statements.RESCHEDULE,
        [
            (
                at,
                as_text(min(now + each.delay, each.wake_at or now + each.delay)),
                each.error,
                int(each.is_failure),
                run_id.hex,
            )
            for run_id, each in batch.rescheduled.items()
        ],
    )
    yield statements.RELEASE_OR_PARK, [(at, at, run_id.hex) for run_id in batch.released]
    yield (
        statements.RELEASE_OR_PARK,
        [(as_text(wake_at), at, run_id.hex) for run_id, wake_at in batch.parked.items()],
    )


def _ended(
    batch: Batch, now: str | None, bound: str
) -> Iterator[tuple[str, list[tuple[Any, ...]]]]:
    for status, sql, ended in (
        (RunStatus.COMPLETED, statements.COMPLETE, batch.completed),
        (RunStatus.FAILED, statements.FAIL, batch.failed),
    ):
        error = closing_error(status)
        yield statements.CLOSE_WAITS, [(error, now, now, now, run_id.hex) for run_id in ended]
        yield sql, [(payload, now, now, run_id.hex) for run_id, payload in ended.items()]
        yield statements.WAKE_PARENT, [(now, now, run_id.hex, bound) for run_id in ended]
