"""Starts in the caller's transaction: all or nothing, and once per idempotency key."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias
from uuid import UUID

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.transaction import TransactionManagementError
from django.test.utils import CaptureQueriesContext

from django_openworkflow import Step, Workflow, workflow
from django_openworkflow.exceptions import InvalidInput
from django_openworkflow.identifiers import new_id
from django_openworkflow.models import WorkflowRun
from django_openworkflow.registry import registry
from django_openworkflow.states import RunStatus
from django_openworkflow.store.enqueue import insert_rows, insert_runs
from django_openworkflow.store.operations import NewRun
from django_openworkflow.store.rows import new_row
from django_openworkflow.testing import advance, reset_clock
from tests.factories import WorkflowRunFactory

Orders: TypeAlias = Workflow[..., None]
CALLERS = 16


@pytest.fixture(autouse=True)
def _clean_slate() -> Iterator[None]:
    with registry.isolated():
        yield
    reset_clock()


@pytest.fixture
def process_order() -> Orders:
    """Return a workflow that takes one argument."""

    @workflow("process-order")
    def order(step: Step, order_id: int) -> None:
        return None

    return order


# --- transactions --------------------------------------------------------------------------------


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


# --- many ---------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_many_are_started_in_the_order_given(process_order: Orders) -> None:
    handles = process_order.using(priority=3).start_many({"order_id": n} for n in range(600))

    runs = WorkflowRun.objects.in_bulk([handle.id for handle in handles])
    assert [runs[handle.id].input["order_id"] for handle in handles] == list(range(600))
    assert {run.priority for run in runs.values()} == {3}


@pytest.mark.django_db
@pytest.mark.parametrize("bad", [{"order": 1}, {}, {"order_id": 1j}, [1], 1, None], ids=repr)
def test_many_are_started_all_or_none(process_order: Orders, bad: Any) -> None:
    with pytest.raises(InvalidInput):
        process_order.start_many([{"order_id": 1}, bad, {"order_id": 2}])

    assert not WorkflowRun.objects.exists()


@pytest.mark.django_db
def test_many_that_the_database_refuses_in_the_middle_leave_nothing() -> None:
    nothing: Any = None  # which no queue may be
    columns: list[dict[str, Any]] = [{}] * 500 + [{"queue": nothing}] + [{}]
    rows = [WorkflowRunFactory.build(id=new_id(), **given) for given in columns]
    with pytest.raises(IntegrityError), transaction.atomic():
        insert_rows(rows, using="default")

    assert not WorkflowRun.objects.exists()


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


@pytest.mark.django_db
@pytest.mark.parametrize("size", [1, 3000])
def test_any_number_is_one_round_trip(process_order: Orders, size: int) -> None:
    """Statements are counted, and on PostgreSQL there is no other, nor a savepoint."""
    with CaptureQueriesContext(connection) as captured:
        process_order.start_many({"order_id": n} for n in range(size))

    statements = [query["sql"].split()[0] for query in captured.captured_queries]
    if connection.vendor == "postgresql" or size == 1:
        assert statements == ["INSERT"]
    else:
        assert set(statements) == {"INSERT"}
    assert WorkflowRun.objects.count() == size


@pytest.mark.django_db(transaction=True)
def test_outside_of_a_transaction_a_start_needs_none(process_order: Orders) -> None:
    with CaptureQueriesContext(connection) as captured:
        process_order.start(1)

    queries = [query["sql"] for query in captured.captured_queries]
    statements = [sql.split()[0] for sql in queries if "pg_notify" not in sql]
    if connection.vendor == "postgresql":
        assert statements == ["INSERT"]
    assert sum(statement == "INSERT" for statement in statements) == 1


MOMENTS = (None, timedelta(0), timedelta(hours=2), datetime(2999, 1, 1, tzinfo=UTC))


@pytest.mark.django_db
@pytest.mark.parametrize("deadline_at", MOMENTS, ids=repr)
@pytest.mark.parametrize("available_at", MOMENTS, ids=repr)
@pytest.mark.parametrize("shifted", [False, True])
def test_a_run_has_the_row_that_the_portable_path_gives_it(
    available_at: Any, deadline_at: Any, *, shifted: bool
) -> None:
    if shifted:
        advance("1d")
    new_run = NewRun(
        workflow_name="process-order",
        version="2",
        input='{"b":1.5,"aa":[null,"\u2028\u00e9"]}',
        queue="slow",
        priority=-3,
        available_at=available_at,
        deadline_at=deadline_at,
        has_cancel_hook=True,
        context={"traceContext": {"traceparent": "00-1"}},
    )
    [run_id] = insert_runs(new_run, [new_run.input], using="default", key="k")
    other = new_row(new_run, idempotency_key="k")
    insert_rows([other], using="default")

    first, second = (
        dict[str, Any](WorkflowRun._base_manager.values().get(pk=pk)) for pk in (run_id, other.pk)
    )
    names = ("available_at", "deadline_at", "created_at", "updated_at")
    for name in names:
        one, two = first.pop(name), second.pop(name)
        assert (one is None) == (two is None)
        assert one is None or abs(one - two) < timedelta(seconds=30)
        assert (one == two) or not isinstance(getattr(new_run, name, None), datetime)
    assert {**first, "id": None} == {**second, "id": None}


@pytest.mark.django_db
def test_many_cannot_share_one_key(process_order: Orders) -> None:
    with pytest.raises(InvalidInput, match="cannot share one idempotency_key"):
        process_order.using(idempotency_key="k").start_many([{"order_id": 1}])


@pytest.mark.django_db
def test_starting_none_starts_none(process_order: Orders) -> None:
    assert process_order.start_many([]) == []


# --- once per key -------------------------------------------------------------------------------


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
    WorkflowRun.objects.filter(pk=old.id).update(created_at=created_at - timedelta(hours=24))
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
