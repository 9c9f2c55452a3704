"""What the statements of a turn return, as the values that the engine knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django_openworkflow.serialization import decode
from django_openworkflow.store.base import verdict_of_lease
from django_openworkflow.store.operations import (
    Attempt,
    ChildOutcome,
    ClaimedRun,
    Delivered,
    Lease,
    Verdict,
)
from django_openworkflow.store.suspects import suspect_at

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from uuid import UUID

Row = tuple[Any, ...]


def claimed_runs(found: Iterable[Row], worker_id: str) -> list[ClaimedRun]:
    """Read claimed runs in the order in which they were due, which ends their rows."""
    in_order = sorted(found, key=lambda row: (*row[-2:], row[0]))
    return [claimed_run(row, worker_id) for row in in_order]


def claimed_run(row: Row, worker_id: str) -> ClaimedRun:
    """Read a run as it was claimed, whatever is appended to its row."""
    return ClaimedRun(
        lease=Lease(run_id=row[0], worker_id=worker_id),
        workflow_name=row[1],
        version=row[2],
        input=decode(row[3]),
        context=decode(row[4]),
        attempts=row[5],
        failures=row[6],
        created_at=row[7],
        started_at=row[8],
        deadline_at=row[9],
        cleanup_of_id=row[10],
        cleanup_attempt_id=row[11],
        original_created_at=row[12],
        original_started_at=row[13],
        parent_run_id=row[14],
        claimed_at=row[15],
        is_first=row[5] == 1,
        is_suspect=row[16] >= suspect_at(),
    )


def verdicts(leases: Sequence[Lease], found: Iterable[Row]) -> dict[Lease, Verdict]:
    """Judge leases by the rows of ``EXTEND``."""
    by_id: dict[UUID, Row] = {row[0]: row for row in found}
    judged = {}
    for lease in leases:
        _, status, owner, locked = by_id.get(lease.run_id, (None, None, None, False))
        judged[lease] = verdict_of_lease(lease, owner, status, locked=locked)
    return judged


def add_attempts(histories: dict[UUID, list[Attempt]], found: Iterable[Row]) -> None:
    """Add the rows of ``HISTORY`` to the histories of their runs."""
    for row in found:
        histories.setdefault(row[0], []).append(_attempt(row))


def _attempt(row: Row) -> Attempt:
    return Attempt(
        id=row[1],
        step_name=row[2],
        kind=row[3],
        status=row[4],
        context=decode(row[5]),
        output=decode(row[6]),
        error=decode(row[7]),
        child_run_id=row[8],
        created_at=row[9],
        finished_at=row[10],
        has_undo=row[11],
        is_late=row[12],
        is_set_aside=row[13],
        child=None if row[14] is None else _child(row[14:18]),
        delivered=Delivered(data=decode(row[19])) if row[18] else None,
    )


def _child(row: Row) -> ChildOutcome:
    status, output, error, finished_at = row
    return ChildOutcome(
        status=status, output=decode(output), error=decode(error), finished_at=finished_at
    )
