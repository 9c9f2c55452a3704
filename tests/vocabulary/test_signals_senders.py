"""Many senders at once: one signal is one set of deliveries, and every sender is told the same."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar
from uuid import UUID

import pytest
from django.db import connection, connections

from django_openworkflow import RunHandle, Step, Workflow, send_signal, workflow
from django_openworkflow.models import BufferedSignal, SignalDelivery
from django_openworkflow.testing import run_until_idle

pytestmark = pytest.mark.django_db(transaction=True)

T = TypeVar("T")

SENDERS: Final = 64 if connection.vendor == "postgresql" else 16
PATIENCE_SECONDS: Final = 60.0


def at_once(action: Callable[[int], T]) -> list[T]:
    """Let all senders act at the same moment, each with a connection of its own."""
    meeting = threading.Barrier(SENDERS)

    def act(number: int) -> T:
        try:
            connection.ensure_connection()
            meeting.wait(PATIENCE_SECONDS)
            return action(number)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(SENDERS) as pool:
        return list(pool.map(act, range(SENDERS), timeout=PATIENCE_SECONDS))


@pytest.fixture
def waiting() -> Workflow[[], list[Any]]:
    """A workflow that waits for "go"."""

    @workflow("waiting")
    def waiting(step: Step) -> list[Any]:
        payload = step.wait_for_signal("go")
        return [] if payload is None else [payload.data]

    return waiting


def start_and_park(waiting: Workflow[[], list[Any]], count: int) -> list[RunHandle[Any]]:
    handles = [waiting.start() for _ in range(count)]
    run_until_idle()
    return handles


@pytest.mark.parametrize("buffered", [False, True])
def test_with_one_key_all_are_told_the_same_and_one_has_delivered(
    waiting: Workflow[[], list[Any]], *, buffered: bool
) -> None:
    handles = start_and_park(waiting, 3)
    everybody = sorted(handle.id for handle in handles)

    def send(number: int) -> list[UUID]:
        return send_signal("go", number, idempotency_key="key", buffered=buffered)

    assert at_once(send) == [everybody] * SENDERS
    deliveries = SignalDelivery.objects.all()
    assert sorted(each.workflow_run_id for each in deliveries) == everybody
    assert len({each.data for each in deliveries}) == 1  # all from one sender
    assert not BufferedSignal.objects.exists()
    run_until_idle()
    assert {tuple(handle.result(timeout=0)) for handle in handles} == {(deliveries[0].data,)}


def test_with_one_key_and_nobody_waiting_one_signal_is_kept(
    waiting: Workflow[[], list[Any]],
) -> None:
    def send(number: int) -> list[UUID]:
        return send_signal("go", number, idempotency_key="key", buffered=True)

    assert at_once(send) == [[]] * SENDERS
    assert BufferedSignal.objects.count() == 1
    first, second = start_and_park(waiting, 2)
    assert sorted([first.status, second.status]) == ["completed", "running"]


def test_without_a_key_one_sender_reaches_the_wait_and_the_others_are_told_so(
    waiting: Workflow[[], list[Any]],
) -> None:
    (handle,) = start_and_park(waiting, 1)
    told = at_once(lambda number: send_signal("go", number))

    assert Counter(map(tuple, told)) == {(handle.id,): 1, (): SENDERS - 1}
    assert SignalDelivery.objects.get().data == told.index([handle.id])


def test_with_a_key_each_nobody_receives_twice(waiting: Workflow[[], list[Any]]) -> None:
    handles = start_and_park(waiting, 3)
    told = at_once(lambda number: send_signal("go", number, idempotency_key=str(number)))

    received = Counter(run_id for ids in told for run_id in ids)
    assert received == {handle.id: 1 for handle in handles}
    senders = {each.workflow_run_id: each.data for each in SignalDelivery.objects.all()}
    assert senders == {run_id: told.index(ids) for ids in told for run_id in ids}


def test_kept_signals_are_all_read_once(waiting: Workflow[[], list[Any]]) -> None:
    at_once(lambda number: send_signal("go", number, buffered=True))
    assert BufferedSignal.objects.count() == SENDERS
    handles = start_and_park(waiting, SENDERS)

    results = [handle.result(timeout=0)[0] for handle in handles]
    assert sorted(results) == list(range(SENDERS))
    assert not BufferedSignal.objects.exists()
