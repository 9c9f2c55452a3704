"""Starts in the caller's transaction: seen by others when it commits, and never there otherwise."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.transaction import TransactionManagementError
from django.test.utils import CaptureQueriesContext

from django_openworkflow.models import WorkflowRun
from django_openworkflow.store.enqueue import insert_runs
from django_openworkflow.store.operations import NewRun

if TYPE_CHECKING:
    from tests.workflows.orders import Orders


@pytest.mark.django_db
def test_a_start_inside_a_rolled_back_transaction_never_existed(process_order: Orders) -> None:
    with transaction.atomic():
        process_order.start(1)
        process_order.using(idempotency_key="k").start(1)
        process_order.start_many([{"order_id": 2}])
        transaction.set_rollback(True)

    assert not WorkflowRun.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_nobody_sees_a_run_before_its_transaction_commits(process_order: Orders) -> None:
    with transaction.atomic():
        process_order.start(1)
        process_order.using(idempotency_key="k").start(1)
        assert WorkflowRun.objects.count() == 2
        assert seen_by_others() == 0

    assert seen_by_others() == 2


def seen_by_others() -> int:
    """Count the runs that another connection sees."""
    found: list[int] = []

    def look() -> None:
        found.append(WorkflowRun.objects.count())
        connection.close()

    thread = threading.Thread(target=look)
    thread.start()
    thread.join(timeout=30)
    return found[0]


@pytest.mark.django_db
def test_a_start_that_the_database_refuses_lets_the_transaction_be_rolled_back_only() -> None:
    nothing: Any = None
    bad = NewRun(workflow_name="process-order", version=None, input=None, queue=nothing)
    with transaction.atomic():
        with suppress(IntegrityError):
            insert_runs(bad, [None, None], using="default")
        with pytest.raises(TransactionManagementError):
            WorkflowRun.objects.exists()

    assert not WorkflowRun.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_outside_of_a_transaction_a_start_needs_none(process_order: Orders) -> None:
    with CaptureQueriesContext(connection) as captured:
        process_order.start(1)

    queries = [query["sql"] for query in captured.captured_queries]
    statements = [sql.split()[0] for sql in queries if "pg_notify" not in sql]
    if connection.vendor == "postgresql":
        assert statements == ["INSERT"]
    assert sum(statement == "INSERT" for statement in statements) == 1


@pytest.mark.django_db(transaction=True)
def test_where_autocommit_is_off_a_start_waits_for_the_commit(process_order: Orders) -> None:
    transaction.set_autocommit(False)
    try:
        process_order.start(1)
        transaction.rollback()
        process_order.start(2)
        process_order.using(idempotency_key="k").start(3)
        process_order.start_many([{"order_id": 4}])
        transaction.commit()
    finally:
        transaction.set_autocommit(True)
    assert sorted(run.input["order_id"] for run in WorkflowRun.objects.all()) == [2, 3, 4]
