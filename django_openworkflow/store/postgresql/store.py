"""The store on PostgreSQL.

A turn of common operations is sent in one trip: the fence, all writes, the heartbeats, the claim
and the commit together, on the assumption that every lease holds. Where one does not, nothing was
written, and the turn is taken once more step by step.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.db import connections

from django_openworkflow.packets.trips import Trip, is_ready
from django_openworkflow.store import found as reading
from django_openworkflow.store.base import Store, TurnResult
from django_openworkflow.store.batched import BatchedRows, BatchedTurn
from django_openworkflow.store.operations import Receipt, StepStarted, Verdict
from django_openworkflow.store.postgresql import statements
from django_openworkflow.store.postgresql.assuming import Assumption, assume
from django_openworkflow.store.postgresql.claiming import CLAIM
from django_openworkflow.store.postgresql.parameters import (
    claiming,
    extending,
    history_of,
    moment,
    written,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from uuid import UUID

    from django_openworkflow.store.base import ClaimRequest
    from django_openworkflow.store.batches import Batch
    from django_openworkflow.store.operations import Attempt, ClaimedRun, Lease, Operation
    from django_openworkflow.store.turns import LockedColumns


class PostgresqlStore(Store):
    """See ``Store``: the same verbs, in few statements."""

    def take_turn(
        self,
        operations: Sequence[Operation],
        *,
        claim: ClaimRequest | None = None,
        leases: Iterable[Lease] = (),
        lease_seconds: float = 0.0,
        now: datetime | None = None,
    ) -> TurnResult:
        """See ``Store.take_turn``."""
        wanted = list(leases)
        assumption = assume(operations) if is_ready(connections[self.using]) else None
        if assumption is not None:
            turn = _OneTrip(self.using, operations, assumption, now)
            result = turn.take(claim, wanted, lease_seconds)
            if result is not None:
                return result
        return super().take_turn(
            operations, claim=claim, leases=wanted, lease_seconds=lease_seconds, now=now
        )

    def claim(self, request: ClaimRequest, *, now: datetime | None = None) -> list[ClaimedRun]:
        """See ``Store.claim``."""
        return self.take_turn((), claim=request, now=now).claimed

    def _apply(self, operations: Sequence[Operation], *, wait: bool) -> list[Receipt]:
        return BatchedTurn(_Rows(self.using), operations, wait=wait).write()

    def _claim(self, request: ClaimRequest, now: datetime | None) -> list[ClaimedRun]:
        parameters = claiming(request, now)
        ((sort, jit, *_),) = _fetch(self.using, statements.HOLD_PLANNER, {})
        found = _fetch(self.using, CLAIM.plain, parameters)
        _fetch(self.using, statements.RELEASE_PLANNER, {"sort": sort, "jit": jit})
        return reading.claimed_runs(found, parameters["worker_id"])

    def _extend(
        self, wanted: Sequence[Lease], lease_seconds: float, now: datetime | None
    ) -> dict[Lease, Verdict]:
        parameters = extending(wanted, lease_seconds, now)
        return reading.verdicts(wanted, _fetch(self.using, statements.EXTEND, parameters))

    def load_history(self, run_ids: Collection[UUID]) -> dict[UUID, list[Attempt]]:
        """See ``Store.load_history``."""
        found: dict[UUID, list[Attempt]] = {run_id: [] for run_id in run_ids}
        parameters = history_of(run_ids)
        reading.add_attempts(found, _fetch(self.using, statements.HISTORY, parameters))
        return found


class _Rows(BatchedRows):
    """The rows of a turn that is taken step by step."""

    def _lock(self, ids: set[UUID], *, wait: bool) -> Iterable[LockedColumns]:
        sql = statements.LOCK_AND_WAIT if wait else statements.LOCK
        return _fetch(self.using, sql, {"ids": list(ids)})

    def write(self, batch: Batch) -> None:
        with connections[self.using].cursor() as cursor:
            for statement, parameters in written(batch):
                cursor.execute(statement.plain, parameters)


class _OneTrip:
    """A turn on the assumption that every lease holds."""

    def __init__(
        self,
        using: str,
        operations: Sequence[Operation],
        assumption: Assumption,
        now: datetime | None,
    ) -> None:
        self._operations = operations
        self._assumption = assumption
        self._now = now
        self._trip = Trip(connections[using])

    def take(
        self, claim: ClaimRequest | None, leases: Sequence[Lease], lease_seconds: float
    ) -> TurnResult | None:
        """Write, extend and claim; None, and nothing was written, if the assumption was wrong."""
        if claim is not None and not claim.is_open:
            claim = None
        is_relaxed = claim is None and all(type(each) is StepStarted for each in self._operations)
        self._trip.add(statements.PREPARE, {"is_relaxed": is_relaxed}, is_read=False)
        fence = self._trip.add(statements.FENCE, {**self._assumption.fence(), **moment()})
        for statement, parameters in written(self._assumption.batch):
            self._trip.add(statement.fenced, parameters, is_read=False)
        extended = self._extend(leases, lease_seconds)
        claimed = None if claim is None else self._claim(claim)
        found = self._trip.make()
        ((holds, at, *_),) = found[fence]
        if not holds:
            return None
        result = TurnResult(
            receipts=[Receipt(verdict=Verdict.ACCEPTED, at=at)] * len(self._operations)
        )
        if extended is not None:
            result.verdicts.update(reading.verdicts(leases, found[extended]))
        if claimed is not None:
            place, worker_id = claimed
            result.claimed.extend(reading.claimed_runs(found[place], worker_id))
            result.histories.update(
                {run.lease.run_id: [] for run in result.claimed if not run.is_first}
            )
            reading.add_attempts(result.histories, found[place + 1])
        return result

    def _extend(self, leases: Sequence[Lease], lease_seconds: float) -> int | None:
        if not leases:
            return None
        return self._trip.add(statements.EXTEND, extending(leases, lease_seconds, self._now))

    def _claim(self, request: ClaimRequest) -> tuple[int, str]:
        parameters = claiming(request, self._now)
        place = self._trip.add(CLAIM.fenced, parameters)
        self._trip.add(statements.HISTORY_OF_CLAIMED, history_of(()))
        return place, parameters["worker_id"]


def _fetch(using: str, sql: str, parameters: dict[str, Any]) -> list[tuple[Any, ...]]:
    with connections[using].cursor() as cursor:
        cursor.execute(sql, parameters)
        found: list[tuple[Any, ...]] = cursor.fetchall()
    return found
