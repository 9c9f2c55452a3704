"""Starts of many at once: in order, all or none, in one round trip."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext

from django_openworkflow.exceptions import InvalidInput
from django_openworkflow.identifiers import new_id
from django_openworkflow.models import WorkflowRun
from django_openworkflow.store.enqueue import insert_rows
from tests.factories import WorkflowRunFactory

if TYPE_CHECKING:
    from tests.workflows.orders import Orders


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


@pytest.mark.django_db
def test_many_cannot_share_one_key(process_order: Orders) -> None:
    with pytest.raises(InvalidInput, match="cannot share one idempotency_key"):
        process_order.using(idempotency_key="k").start_many([{"order_id": 1}])


@pytest.mark.django_db
def test_starting_none_starts_none(process_order: Orders) -> None:
    assert process_order.start_many([]) == []
