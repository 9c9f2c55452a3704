"""Deliver signals to the steps that wait for them. One delivery row per waiting step attempt.

Lock order: the runs of the receivers in ascending id, then attempts, then deliveries. A canceled
run's waits are closed under the run's lock, so none is ever counted as a receiver.
Source: the original's ``sendSignal``, for the rows written.
"""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from django.db import connections
from django.db.models import Exists, OuterRef

from django_openworkflow import clock, conf, notices
from django_openworkflow.identifiers import new_id
from django_openworkflow.models import BufferedSignal, SignalDelivery, StepAttempt, WorkflowRun
from django_openworkflow.models.fields import SignalAddress
from django_openworkflow.serialization import decode
from django_openworkflow.states import ACTIVE, StepKind, StepStatus
from django_openworkflow.transactions import in_write_transaction, write_transaction

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from django.db.models import QuerySet

    from django_openworkflow.querysets import WorkflowRunQuerySet
    from django_openworkflow.store.operations import SignalWaitStarted

_LOCK_KEY: Final = "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0::bigint))"
# Buffered signals looked at in one sweep.
_BATCH: Final = 200


def send(
    signal: str, data: str | None, *, key: str | None, buffered: bool, using: str
) -> list[UUID]:
    """Deliver a signal in the caller's transaction; return the ids of the runs that received it.

    ``key``: a second send with the same key delivers nothing and returns the same ids. Concurrent
    senders take turns by an advisory lock, or by SQLite's write lock. ``buffered``: if nobody
    waits, the signal is kept for the next step that does.
    """
    work = partial(_send, signal, data, key=key, buffered=buffered, using=using)
    return in_write_transaction(using, work)


def _send(
    signal: str, data: str | None, *, key: str | None, buffered: bool, using: str
) -> list[UUID]:
    if key is not None:
        _lock_key(signal, key, using)
        if (earlier := received_before(using, signal, key)) is not None:
            return earlier
    locked = set(dict(_runs(using).lock_runs(waiting_run_ids(using, signal))))
    received = deliver_locked(using, signal, decode(data), key=key, locked=locked)
    if buffered and not received:
        BufferedSignal._base_manager.using(using).create(
            namespace_id=conf.namespace(),
            signal=signal,
            data=decode(data),
            sender_idempotency_key=key,
        )
    if received:
        notices.notify_due(using)
    return received


def waiting(using: str, signal: str) -> QuerySet[StepAttempt]:
    """Return the attempts that wait for this signal now and have not received one."""
    deliveries = SignalDelivery._base_manager.filter(step_attempt=OuterRef("pk"))
    return (
        StepAttempt._base_manager.using(using)
        .alias(address=SignalAddress("context"))
        .filter(
            ~Exists(deliveries),
            namespace_id=conf.namespace(),
            kind=StepKind.SIGNAL_WAIT,
            status=StepStatus.RUNNING,
            address=signal,
        )
    )


def waiting_run_ids(using: str, signal: str) -> set[UUID]:
    """Return the runs that seem to wait for this signal, without a lock."""
    return set(waiting(using, signal).values_list("workflow_run", flat=True))


def deliver_locked(
    using: str, signal: str, data: Any, *, key: str | None, locked: set[UUID]
) -> list[UUID]:
    """Deliver to everybody who waits among the locked runs, and wake those that are parked.

    Another client locks waits first and runs last: waits that it holds are receiving its signal and
    are passed by. To wait for it here would be to wait for ever.
    """
    features = connections[using].features
    receivers = (
        waiting(using, signal)
        .filter(workflow_run__in=sorted(locked), workflow_run__status__in=ACTIVE)
        .order_by("pk")
        .select_for_update(
            of=("self",) if features.has_select_for_update_of else (),
            no_key=features.has_select_for_no_key_update,
            skip_locked=features.has_select_for_update_skip_locked,
        )
        .values_list("pk", "workflow_run")
    )
    rows = [
        SignalDelivery(
            id=new_id(),
            namespace_id=conf.namespace(),
            signal=signal,
            data=data,
            sender_idempotency_key=key,
            workflow_run_id=run_id,
            step_attempt_id=attempt_id,
        )
        for attempt_id, run_id in receivers
    ]
    deliveries = SignalDelivery._base_manager.using(using)
    # Another client does not lock the run, so it may have delivered in this very moment.
    deliveries.bulk_create(rows, ignore_conflicts=True)
    ours = deliveries.filter(pk__in=[row.pk for row in rows])
    received = sorted(set(ours.values_list("workflow_run", flat=True)))
    _wake(using, received)
    return received


def _wake(using: str, run_ids: Sequence[UUID]) -> None:
    """Make parked runs claimable; a run in its retry back-off stays there."""
    moment = clock.moment()
    _runs(using).parked().filter(pk__in=run_ids, available_at__gt=moment).update(
        available_at=moment, updated_at=moment
    )


def take_buffered(using: str, wait: SignalWaitStarted) -> None:
    """Give the oldest buffered signal to a wait that has just begun, under its run's lock.

    Nothing to one that has received its signal: the reply to its beginning may have been lost.
    """
    buffered = BufferedSignal.objects.db_manager(using).filter(signal=wait.signal)
    features = connections[using].features
    first = (
        buffered.order_by("pk")
        .select_for_update(skip_locked=features.has_select_for_update_skip_locked)
        .first()
    )
    deliveries = SignalDelivery._base_manager.using(using)
    if first is None or deliveries.filter(step_attempt=wait.attempt_id).exists():
        return
    deliveries.bulk_create(
        [
            SignalDelivery(
                namespace_id=first.namespace_id,
                signal=first.signal,
                data=first.data,
                sender_idempotency_key=first.sender_idempotency_key,
                workflow_run_id=wait.lease.run_id,
                step_attempt_id=wait.attempt_id,
            )
        ]
    )
    buffered.filter(pk=first.pk).delete()


def deliver_buffered(using: str) -> int:
    """Bring buffered signals and waiting steps together that missed each other by a moment.

    A sender that saw nobody waiting and a step that saw no signal may commit at the same time. This
    sweep finds the pair. Returns how many signals were delivered.
    """
    delivered = 0
    buffered = BufferedSignal.objects.db_manager(using)
    for pk, signal in buffered.order_by("pk").values_list("pk", "signal")[:_BATCH]:
        candidates = waiting(using, signal).order_by("pk").values_list("workflow_run", flat=True)
        if (run_id := candidates.first()) is not None:
            delivered += _deliver_one(using, pk, run_id)
    return delivered


def _deliver_one(using: str, buffered_id: UUID, run_id: UUID) -> int:
    skip_locked = connections[using].features.has_select_for_update_skip_locked
    with write_transaction(using):
        locked = set(dict(_runs(using).lock_runs([run_id], skip_locked=skip_locked)))
        rows = BufferedSignal.objects.db_manager(using).filter(pk=buffered_id)
        row = rows.select_for_update(skip_locked=skip_locked).first()
        if row is None:
            return 0
        key = row.sender_idempotency_key
        received = deliver_locked(using, row.signal, row.data, key=key, locked=locked)
        if received:
            rows.delete()
        return len(received)


def received_before(using: str, signal: str, key: str) -> list[UUID] | None:
    """Return the runs that this key's signal has reached, or none yet if it is still buffered."""
    same = {"namespace_id": conf.namespace(), "signal": signal, "sender_idempotency_key": key}
    deliveries = SignalDelivery._base_manager.using(using).filter(**same)
    if ids := sorted(set(deliveries.values_list("workflow_run", flat=True))):
        return ids
    is_buffered = BufferedSignal._base_manager.using(using).filter(**same).exists()
    return [] if is_buffered else None


def was_sent(using: str, signal: str, key: str) -> bool:
    """Whether this key has sent the signal; nobody else does until the caller's transaction ends.

    The ids that a repeated ``send`` returns are those of the first: they do not tell.
    """

    def look() -> bool:
        _lock_key(signal, key, using)
        return received_before(using, signal, key) is not None

    return in_write_transaction(using, look)


def _lock_key(signal: str, key: str, using: str) -> None:
    connection = connections[using]
    if connection.vendor == "postgresql":
        identity = {"namespaceId": conf.namespace(), "signal": signal, "idempotencyKey": key}
        with connection.cursor() as cursor:
            cursor.execute(_LOCK_KEY, [json.dumps(identity, ensure_ascii=False)])


def _runs(using: str) -> WorkflowRunQuerySet:
    runs: WorkflowRunQuerySet = WorkflowRun.objects.db_manager(using).all()
    return runs
