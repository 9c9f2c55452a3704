"""Sending signals from any code: who receives one, once per key, kept or gone, rolled back."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from django.db import transaction

from django_openworkflow import RunHandle, Step, Workflow, send_signal, workflow
from django_openworkflow.exceptions import InvalidInput, InvalidPayload
from django_openworkflow.models import BufferedSignal, SignalDelivery, WorkflowRun
from django_openworkflow.store.signalling import was_sent
from django_openworkflow.testing import run_until_idle
from tests.engine.passes import attempts_of, database_now, tick
from tests.vocabulary.test_signals import due_at

pytestmark = pytest.mark.django_db


@pytest.fixture
def waiting() -> Workflow[[str], list[Any]]:
    """A workflow that waits for an address, for an hour."""

    @workflow("waiting")
    def waiting(step: Step, address: str) -> list[Any]:
        payload = step.wait_for_signal(address, timeout="1h")
        return [] if payload is None else [payload.data]

    return waiting


def start_and_park(waiting: Workflow[[str], Any], *addresses: str) -> list[RunHandle[Any]]:
    handles = [waiting.start(address) for address in addresses]
    run_until_idle()
    return handles


def ids_of(*handles: RunHandle[Any]) -> list[UUID]:
    return sorted(handle.id for handle in handles)


def stored() -> tuple[int, int]:
    """Return how many deliveries and how many kept signals there are."""
    return SignalDelivery.objects.count(), BufferedSignal.objects.count()


def test_a_key_tells_whether_it_has_sent(waiting: Workflow[[str], list[Any]]) -> None:
    start_and_park(waiting, "a")
    seen = [was_sent("default", "a", "once")]
    send_signal("a", 1, idempotency_key="once")
    seen += [was_sent("default", signal, key) for signal, key in (("a", "once"), ("a", "other"))]
    send_signal("b", 1, idempotency_key="kept", buffered=True)
    send_signal("b", 1, idempotency_key="gone")
    seen += [was_sent("default", "b", key) for key in ("kept", "gone", "once")]
    assert seen == [False, True, False, True, False, False]


# --- who receives -------------------------------------------------------------------------------


def test_everybody_who_waits_for_the_address_receives_it_and_nobody_else(
    waiting: Workflow[[str], list[Any]],
) -> None:
    handles = start_and_park(waiting, "a", "a", "b", "a", "A", "a ")

    assert send_signal("a", 1) == ids_of(handles[0], handles[1], handles[3])
    run_until_idle()

    assert [handle.status for handle in handles] == [
        "completed",
        "completed",
        "running",
        "completed",
        "running",
        "running",
    ]
    assert [handle.result(timeout=0) for handle in handles[:2]] == [[1], [1]]
    assert stored() == (3, 0)


def test_when_nobody_waits_nothing_is_stored(waiting: Workflow[[str], list[Any]]) -> None:
    assert send_signal("a", 1) == []
    assert send_signal("a", 1, idempotency_key="key") == []
    assert stored() == (0, 0)

    (handle,) = start_and_park(waiting, "a")
    assert handle.status == "running"
    assert send_signal("a", 2, idempotency_key="key") == [handle.id]  # the key was not used up


def test_a_wait_receives_one_signal_only(waiting: Workflow[[str], list[Any]]) -> None:
    (handle,) = start_and_park(waiting, "a")

    assert [send_signal("a", number) for number in range(3)] == [[handle.id], [], []]
    run_until_idle()
    assert handle.result(timeout=0) == [0]


def test_a_run_of_another_namespace_receives_nothing(waiting: Workflow[[str], list[Any]]) -> None:
    (handle,) = start_and_park(waiting, "a")
    WorkflowRun._base_manager.update(namespace_id="elsewhere")
    (attempt,) = attempts_of(handle)
    type(attempt)._base_manager.update(namespace_id="elsewhere")

    assert send_signal("a") == []
    assert stored() == (0, 0)


@pytest.mark.parametrize("cascade", [False, True])
def test_a_canceled_run_receives_nothing(
    waiting: Workflow[[str], list[Any]], *, cascade: bool
) -> None:
    (handle,) = start_and_park(waiting, "a")
    handle.cancel(cascade=cascade)

    assert send_signal("a") == []
    assert send_signal("a", buffered=True) == []
    assert stored() == (0, 1)


def test_a_run_that_failed_by_its_deadline_receives_nothing(
    waiting: Workflow[[str], list[Any]],
) -> None:
    handle = waiting.using(deadline_at="1m").start("a")
    run_until_idle()
    tick("1m")

    assert handle.status == "failed"
    assert send_signal("a") == []
    assert stored() == (0, 0)


def test_a_run_that_completed_receives_nothing(waiting: Workflow[[str], list[Any]]) -> None:
    start_and_park(waiting, "a")
    tick("1h")

    assert send_signal("a") == []
    assert stored() == (0, 0)


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["", "a\x00b", "a\ud800", None, 7])
def test_a_wrong_address_is_refused(address: object) -> None:
    with pytest.raises(InvalidInput):
        send_signal(address)  # type: ignore[arg-type]


@pytest.mark.parametrize("key", ["", "a\x00b", "a\ud800", 7])
def test_a_wrong_key_is_refused(key: object) -> None:
    with pytest.raises(InvalidInput, match="idempotency_key"):
        send_signal("a", idempotency_key=key)  # type: ignore[arg-type]


@pytest.mark.parametrize("data", [float("nan"), {1: 2}, {1}, b"x", "\x00", "\ud800"])
@pytest.mark.parametrize("buffered", [False, True])
def test_data_that_json_cannot_keep_is_refused_and_nothing_is_stored(
    waiting: Workflow[[str], list[Any]], data: object, *, buffered: bool
) -> None:
    start_and_park(waiting, "a")
    with pytest.raises(InvalidPayload, match='data of signal "a"'):
        send_signal("a", data, buffered=buffered)

    assert stored() == (0, 0)


# --- inside a transaction -----------------------------------------------------------------------


def test_a_rolled_back_send_never_was(waiting: Workflow[[str], list[Any]]) -> None:
    (handle,) = start_and_park(waiting, "a")
    before = due_at(handle)
    with transaction.atomic():
        assert send_signal("a", 1, idempotency_key="key") == [handle.id]
        assert send_signal("b", 1, buffered=True) == []
        transaction.set_rollback(True)

    assert stored() == (0, 0)
    assert due_at(handle) == before > database_now()
    assert run_until_idle() == 0
    assert send_signal("a", 2, idempotency_key="key") == [handle.id]
    run_until_idle()
    assert handle.result(timeout=0) == [2]


# --- the same key -------------------------------------------------------------------------------


def test_the_same_key_again_delivers_nothing_and_names_the_same_runs(
    waiting: Workflow[[str], list[Any]],
) -> None:
    first = start_and_park(waiting, "a", "a")
    received = send_signal("a", 1, idempotency_key="key")
    assert received == ids_of(*first)
    later = start_and_park(waiting, "a")

    assert send_signal("a", 2, idempotency_key="key") == received
    assert stored() == (2, 0)
    run_until_idle()
    assert [handle.status for handle in later] == ["running"]
    assert send_signal("a", 2, idempotency_key="key") == received  # no window, no matter who ended
    assert send_signal("a", 3, idempotency_key="other") == ids_of(*later)


def test_a_key_belongs_to_its_address(waiting: Workflow[[str], list[Any]]) -> None:
    one, other = start_and_park(waiting, "a", "b")

    assert send_signal("a", idempotency_key="key") == [one.id]
    assert send_signal("b", idempotency_key="key") == [other.id]


# --- kept for the next who waits ----------------------------------------------------------------


def test_a_buffered_signal_is_given_to_the_next_step_that_waits_once(
    waiting: Workflow[[str], list[Any]],
) -> None:
    assert send_signal("a", 1, buffered=True) == []
    assert stored() == (0, 1)
    first, second = start_and_park(waiting, "a", "a")

    results = sorted([first.status, second.status])
    assert results == ["completed", "running"]
    winner = first if first.status == "completed" else second
    assert winner.result(timeout=0) == [1]
    assert stored() == (1, 0)


def test_buffered_signals_are_given_in_the_order_they_were_sent() -> None:
    @workflow("reading")
    def reading(step: Step) -> list[Any]:
        payloads = [step.wait_for_signal("a", timeout="1h") for _ in range(6)]
        return [payload and payload.data for payload in payloads]

    for number in range(5):
        send_signal("a", number, buffered=True)
    handle = reading.start()
    run_until_idle()
    assert stored() == (5, 0)
    tick("1h")

    assert handle.result(timeout=0) == [0, 1, 2, 3, 4, None]


def test_a_buffered_signal_is_not_kept_when_somebody_waits(
    waiting: Workflow[[str], list[Any]],
) -> None:
    (handle,) = start_and_park(waiting, "a")

    assert send_signal("a", None, buffered=True) == [handle.id]
    assert stored() == (1, 0)
    run_until_idle()
    assert handle.result(timeout=0) == [None]


def test_a_buffered_signal_without_data_is_kept_as_none(
    waiting: Workflow[[str], list[Any]],
) -> None:
    send_signal("a", buffered=True)
    (handle,) = start_and_park(waiting, "a")

    assert handle.result(timeout=0) == [None]


def test_a_key_keeps_a_signal_from_being_buffered_twice_also_after_it_was_read(
    waiting: Workflow[[str], list[Any]],
) -> None:
    for _ in range(3):
        assert send_signal("a", 1, idempotency_key="key", buffered=True) == []
    assert stored() == (0, 1)

    (handle,) = start_and_park(waiting, "a")
    assert handle.result(timeout=0) == [1]
    assert send_signal("a", 1, idempotency_key="key", buffered=True) == [handle.id]
    assert stored() == (1, 0)


def test_a_buffered_signal_of_another_address_is_left_where_it_is(
    waiting: Workflow[[str], list[Any]],
) -> None:
    send_signal("b", 1, buffered=True)
    (handle,) = start_and_park(waiting, "a")

    assert handle.status == "running"
    assert stored() == (0, 1)


def test_a_canceled_run_leaves_a_buffered_signal_to_the_next(
    waiting: Workflow[[str], list[Any]],
) -> None:
    canceled = waiting.start("a")
    canceled.cancel()
    send_signal("a", 1, buffered=True)
    (handle,) = start_and_park(waiting, "a")

    assert handle.result(timeout=0) == [1]


def test_a_kept_signal_and_a_wait_that_missed_each_other_are_brought_together(
    waiting: Workflow[[str], list[Any]],
) -> None:
    """Two transactions at once: the sender saw nobody waiting, the step saw no signal."""
    first, second = start_and_park(waiting, "a", "a")
    BufferedSignal.objects.create(signal="a", data="late", sender_idempotency_key="key")
    run_until_idle()

    assert sorted([first.status, second.status]) == ["completed", "running"]
    assert stored() == (1, 0)
    assert SignalDelivery.objects.get().sender_idempotency_key == "key"
