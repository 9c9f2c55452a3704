"""The store on SQLite: a turn is one transaction that has the write lock from its beginning."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from django.db import connections

from django_openworkflow import clock, conf
from django_openworkflow.store import found
from django_openworkflow.store.base import Store
from django_openworkflow.store.batched import VERSION_MARK, BatchedTurn, known_names
from django_openworkflow.store.levels import grouped
from django_openworkflow.store.sqlite import statements
from django_openworkflow.store.sqlite.rows import (
    SqliteRows,
    as_bound,
    as_ids,
    as_moment,
    as_text,
    fetch,
)
from django_openworkflow.store.suspects import crashes_below, with_one_suspect

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django_openworkflow.store.base import ClaimRequest
    from django_openworkflow.store.operations import (
        ClaimedRun,
        Lease,
        Operation,
        Receipt,
        Verdict,
    )

# Where a row of ``TAKEN`` has ids and moments, which SQLite knows as texts.
_IDS = frozenset({0, 10, 11, 14})
_MOMENTS = frozenset({7, 8, 9, 12, 13})


class SqliteStore(Store):
    """See ``Store``: the same verbs, with less of Django between them and the database."""

    def _apply(self, operations: Sequence[Operation], *, wait: bool) -> list[Receipt]:
        return BatchedTurn(SqliteRows(self.using), operations, wait=wait).write()

    def _claim(self, request: ClaimRequest, now: datetime | None) -> list[ClaimedRun]:
        at = now or clock.read(self.using)
        ids = self._due(request, at)
        if not ids:
            return []
        worker_id = f"{request.worker_name}:{uuid4()}"
        lease_ends_at = as_text(at + timedelta(seconds=request.lease_seconds))
        text = as_text(at)
        with connections[self.using].cursor() as cursor:
            cursor.executemany(
                statements.TAKE, [(worker_id, lease_ends_at, text, text, pk) for pk in ids]
            )
        rows = {row[0]: row for row in fetch(self.using, statements.TAKEN, json.dumps(ids))}
        return [found.claimed_run(_read(rows[pk], at), worker_id) for pk in ids]

    def _due(self, request: ClaimRequest, at: datetime) -> list[str]:
        """Return the ids of due runs, level by level, as ``Store`` picks them."""
        namespace, bound = conf.namespace(), as_bound(at)
        levels = fetch(self.using, statements.DUE_LEVELS, *[namespace] * 5, bound)
        crashes = conf.get_settings().MAX_CRASHES - 1, crashes_below(request)
        known = json.dumps(known_names(request.workflows))
        picked: list[tuple[str, str, int]] = []
        for priority, queues in grouped(levels, request.queues):
            free = request.limit - len(picked)
            due = [
                row
                for queue in queues
                for row in fetch(
                    self.using,
                    statements.DUE,
                    *(namespace, queue, priority, bound, *crashes, bound, VERSION_MARK, known),
                    free,
                )
            ]
            picked.extend(sorted(due)[:free])
            if len(picked) == request.limit:
                break
        return with_one_suspect((pk, crashes) for _, pk, crashes in picked)

    def _extend(
        self, wanted: Sequence[Lease], lease_seconds: float, now: datetime | None
    ) -> dict[Lease, Verdict]:
        at = now or clock.read(self.using)
        ends_at, text = as_text(at + timedelta(seconds=lease_seconds)), as_text(at)
        with connections[self.using].cursor() as cursor:
            cursor.executemany(
                statements.EXTEND,
                [(ends_at, text, each.run_id.hex, each.worker_id) for each in wanted],
            )
        rows = fetch(self.using, statements.READ, as_ids(each.run_id for each in wanted))
        return found.verdicts(
            wanted, [(UUID(pk), status, owner, True) for pk, status, owner, *_ in rows]
        )


def _read(row: tuple[Any, ...], at: datetime) -> tuple[Any, ...]:
    """Read a row of ``TAKEN``, with the moment of the claim at its place."""
    *columns, crashes = (
        value
        if value is None
        else UUID(value)
        if place in _IDS
        else as_moment(value)
        if place in _MOMENTS
        else value
        for place, value in enumerate(row)
    )
    return *columns, at, crashes
