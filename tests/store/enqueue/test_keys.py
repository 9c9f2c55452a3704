"""One idempotency key: one run, whoever asks for it, and for how long."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from django.db import connection, transaction

from django_openworkflow import workflow
from django_openworkflow.models import WorkflowRun
from django_openworkflow.states import RunStatus
from django_openworkflow.testing import advance
from tests.factories import WorkflowRunFactory

if TYPE_CHECKING:
    from tests.workflows.orders import Orders

CALLERS = 16


@pytest.mark.django_db
def test_the_same_key_starts_one_run_whatever_the_input(process_order: Orders) -> None:
    keyed = process_order.using(idempotency_key="order-7")

    assert keyed.start(7) == keyed.start(7) == keyed.start(8)
    run = WorkflowRun.objects.get()
    assert (run.idempotency_key, run.input) == ("order-7", {"order_id": 7})


@pytest.mark.django_db
def test_another_key_or_workflow_or_no_key_starts_another_run(process_order: Orders) -> None:
    other = workflow("other")(lambda step: None)
    handles = [
        process_order.using(idempotency_key="a").start(1),
        process_order.using(idempotency_key="A").start(1),
        process_order.using(idempotency_key="a ").start(1),
        other.using(idempotency_key="a").start(),
        process_order.start(1),
        process_order.start(1),
    ]

    assert len({handle.id for handle in handles}) == 6


@pytest.mark.django_db
@pytest.mark.parametrize("trait", ["completed", "failed", "canceled", "parked", "running"])
def test_a_key_finds_its_run_in_any_state(process_order: Orders, trait: str) -> None:
    run = WorkflowRunFactory.create(idempotency_key="k", version="9", **{trait: True})

    assert process_order.using(idempotency_key="k").start(1).id == run.pk


@pytest.mark.django_db
def test_a_key_of_another_namespace_is_not_found(process_order: Orders) -> None:
    run = WorkflowRunFactory.create(idempotency_key="k")
    WorkflowRun._base_manager.update(namespace_id="elsewhere")

    assert process_order.using(idempotency_key="k").start(1).id != run.pk


@pytest.mark.django_db
@pytest.mark.parametrize(("age", "is_found"), [("23h", True), ("25h", False)])
def test_a_key_finds_its_run_for_a_day(process_order: Orders, age: str, *, is_found: bool) -> None:
    keyed = process_order.using(idempotency_key="k")
    first = keyed.start(1)
    advance(age)

    assert (keyed.start(1) == first) is is_found


@pytest.mark.django_db
def test_a_key_used_again_after_a_day_finds_the_newer_run(process_order: Orders) -> None:
    keyed = process_order.using(idempotency_key="k")
    old = keyed.start(1)
    created_at = old.run.created_at
    WorkflowRun.objects.filter(pk=old.id).update(
        created_at=created_at - timedelta(hours=24, seconds=1)
    )
    new = keyed.start(1)

    assert new != old
    assert keyed.start(1) == new


@pytest.mark.django_db
def test_of_two_runs_with_one_key_the_oldest_is_found(process_order: Orders) -> None:
    # Two of them exist where another client did not take the lock.
    older, _newer = (WorkflowRunFactory.create(idempotency_key="k") for _ in range(2))

    assert process_order.using(idempotency_key="k").start(1).id == older.pk


@pytest.mark.django_db
def test_a_start_that_was_rolled_back_leaves_its_key_free(process_order: Orders) -> None:
    keyed = process_order.using(idempotency_key="k")
    with transaction.atomic():
        keyed.start(1)
        transaction.set_rollback(True)

    assert keyed.start(2).run.input == {"order_id": 2}


def in_threads(act: Callable[[], Any]) -> list[Any]:
    """Call ``act`` in many threads at the same moment and return what they return."""
    found: list[Any] = []
    together = threading.Barrier(CALLERS, timeout=30)

    def caller() -> None:
        try:
            connection.ensure_connection()
            together.wait()
            found.append(act())
        finally:
            connection.close()

    threads = [threading.Thread(target=caller) for _ in range(CALLERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    return found


@pytest.mark.django_db(transaction=True)
def test_sixteen_callers_with_one_key_at_once_start_one_run(process_order: Orders) -> None:
    keyed = process_order.using(idempotency_key="order-7")
    handles = in_threads(lambda: keyed.start(7))

    assert len(handles) == CALLERS
    assert len({handle.id for handle in handles}) == 1
    assert WorkflowRun.objects.filter(status=RunStatus.PENDING).count() == 1


@pytest.mark.django_db(transaction=True)
def test_sixteen_callers_without_a_key_start_sixteen_runs(process_order: Orders) -> None:
    in_threads(lambda: process_order.start(7))

    assert WorkflowRun.objects.count() == CALLERS


@pytest.mark.django_db(transaction=True)
def test_a_caller_waits_for_the_key_of_an_open_transaction(process_order: Orders) -> None:
    keyed = process_order.using(idempotency_key="order-7")
    found: list[UUID] = []

    def second() -> None:
        found.append(keyed.start(7).id)
        connection.close()

    thread = threading.Thread(target=second)
    with transaction.atomic():
        first = keyed.start(7)
        thread.start()
        thread.join(timeout=0.2)
        assert found == []
    thread.join(timeout=30)

    assert found == [first.id]
