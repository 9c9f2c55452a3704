"""What a turn's statements are given: rows turned into arrays, sent in binary form."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from django_openworkflow import clock, conf
from django_openworkflow.states import RunStatus
from django_openworkflow.store.batched import VERSION_MARK, closing_error, known_names
from django_openworkflow.store.postgresql import statements
from django_openworkflow.store.suspects import crashes_below, suspect_at

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from uuid import UUID

    from django_openworkflow.store.base import ClaimRequest
    from django_openworkflow.store.batches import Batch
    from django_openworkflow.store.operations import Lease
    from django_openworkflow.store.postgresql.statements import Statement

Parameters = dict[str, Any]
Written = tuple["Statement", Parameters]


def moment(now: datetime | None = None) -> Parameters:
    """Return the parameters of the clock: ``now`` where a test gives it, or the tests' shift."""
    return {"now": now, "shift": timedelta() if now is not None else clock.offset()}


def written(batch: Batch) -> Iterator[Written]:
    """Yield the statements that write a batch, in order: one for each kind that is there."""
    clocked = moment()
    yield from _steps(batch, clocked)
    yield from _given_up(batch, clocked)
    yield from _ended(batch, clocked)


def _steps(batch: Batch, clocked: Parameters) -> Iterator[Written]:
    if batch.started:
        yield statements.START, {**_started(batch), **clocked, "namespace": conf.namespace()}
    if batch.resumed:
        worker_ids, has_undos = zip(*batch.resumed.values(), strict=True)
        yield (
            statements.RESUME,
            {
                "ids": list(batch.resumed),
                "worker_ids": list(worker_ids),
                "has_undos": list(has_undos),
                **clocked,
            },
        )
    if batch.ended:
        run_ids, statuses, outputs, errors = zip(*batch.ended.values(), strict=True)
        yield (
            statements.END,
            {
                "ids": list(batch.ended),
                "run_ids": list(run_ids),
                "statuses": list(statuses),
                "outputs": list(outputs),
                "errors": list(errors),
                **clocked,
            },
        )


def _started(batch: Batch) -> Parameters:
    rows = list(batch.started.values())
    return {
        "ids": [row.id for row in rows],
        "run_ids": [row.run_id for row in rows],
        "step_names": [row.step_name for row in rows],
        "kinds": [row.kind for row in rows],
        "worker_ids": [row.worker_id for row in rows],
        "has_undos": [row.has_undo for row in rows],
        "contexts": [row.context for row in rows],
        "statuses": [row.status for row in rows],
        "outputs": [row.output for row in rows],
        "errors": [row.error for row in rows],
    }


def _given_up(batch: Batch, clocked: Parameters) -> Iterator[Written]:
    if batch.progressed:
        yield statements.FORGIVE, {"ids": list(batch.progressed)}
    if batch.rescheduled:
        operations = list(batch.rescheduled.values())
        yield (
            statements.RESCHEDULE,
            {
                "ids": list(batch.rescheduled),
                "errors": [operation.error for operation in operations],
                "delays": [operation.delay for operation in operations],
                "wake_ats": [operation.wake_at for operation in operations],
                "failures": [int(operation.is_failure) for operation in operations],
                **clocked,
            },
        )
    if batch.released:
        yield statements.RELEASE, {"ids": batch.released, **clocked}
    if batch.parked:
        ids = list(batch.parked)
        yield statements.PARK, {"ids": ids, "wake_ats": list(batch.parked.values()), **clocked}


def _ended(batch: Batch, clocked: Parameters) -> Iterator[Written]:
    for status, statement, ended in (
        (RunStatus.COMPLETED, statements.COMPLETE, batch.completed),
        (RunStatus.FAILED, statements.FAIL, batch.failed),
    ):
        if ended:
            yield (
                statement,
                {
                    "ids": list(ended),
                    "payloads": list(ended.values()),
                    "closing_error": closing_error(status),
                    **clocked,
                },
            )
    if batch.parked:
        yield statements.WAKE_IF_IT_HAPPENED, {"ids": list(batch.parked), **clocked}


def claiming(request: ClaimRequest, now: datetime | None) -> Parameters:
    """Return the parameters of ``CLAIM``, a new fence among them."""
    return {
        "ns": conf.namespace(),
        "queues": None if request.queues is None else list(request.queues),
        "known": known_names(request.workflows),
        "mark": VERSION_MARK,
        "most_crashes": conf.get_settings().MAX_CRASHES - 1,
        "suspect_at": suspect_at(),
        "crashes_below": crashes_below(request),
        "limit": request.limit,
        "worker_id": f"{request.worker_name}:{uuid4()}",
        "lease": timedelta(seconds=request.lease_seconds),
        **moment(now),
    }


def extending(leases: Sequence[Lease], lease_seconds: float, now: datetime | None) -> Parameters:
    """Return the parameters of ``EXTEND``."""
    return {
        "ids": [lease.run_id for lease in leases],
        "workers": [lease.worker_id for lease in leases],
        "lease": timedelta(seconds=lease_seconds),
        **moment(now),
    }


def history_of(run_ids: Iterable[UUID]) -> Parameters:
    """Return the parameters of ``HISTORY``."""
    return {"ids": list(run_ids), "namespace": conf.namespace()}
