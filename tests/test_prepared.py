"""Starts and cancels outside of a transaction: prepared on PostgreSQL, and the same in all else."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext

from django_openworkflow import Step, Workflow, workflow
from django_openworkflow.models import WorkflowRun
from django_openworkflow.packets import trips
from django_openworkflow.registry import registry
from tests.factories import WorkflowRunFactory

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif("connection.vendor != 'postgresql'", reason="prepared on PostgreSQL only"),
]

MOMENTS = {"created_at", "updated_at", "available_at", "finished_at", "deadline_at"}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collect the statements that were sent in packets, which they are all the same."""
    statements: list[str] = []
    ask = trips.ask

    def watching(connection: Any, sql: str, parameters: dict[str, Any]) -> Any:
        statements.append(sql.split()[0])
        return ask(connection, sql, parameters)

    monkeypatch.setattr(trips, "ask", watching)
    return statements


@pytest.fixture
def order() -> Iterator[Workflow[..., int]]:
    with registry.isolated():

        @workflow("order", version="2", queue="post", on_cancel=lambda step, number: None)
        def order(step: Step, number: int) -> int:
            return number

        yield order


def facts(run: WorkflowRun) -> dict[str, Any]:
    """Return all columns, but which moments only as whether they are there, and of which type."""
    found = {field.attname: getattr(run, field.attname) for field in run._meta.concrete_fields}
    del found["id"]
    return {
        name: (type(value), value if name not in MOMENTS else value is not None)
        for name, value in found.items()
    }


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"priority": -3, "deadline_at": timedelta(hours=1)},
        {"available_at": timedelta(hours=1), "idempotency_key": "k"},
    ],
    ids=lambda options: ", ".join(options) or "plain",
)
def test_a_start_writes_the_same_row(
    order: Workflow[..., int], asked: list[str], options: dict[str, Any]
) -> None:
    alone = order.using(**options).start(number=1)
    assert asked == ([] if "idempotency_key" in options else ["INSERT"])
    row = facts(alone.run)
    WorkflowRun.objects.all().delete()
    with transaction.atomic():
        joined = order.using(**options).start(number=1)
    assert asked.count("INSERT") <= 1
    assert facts(joined.run) == row


def test_many_starts_write_the_same_rows(order: Workflow[..., int], asked: list[str]) -> None:
    texts = ['"', "\\", "{}", "NULL", "é\n", ""]
    alone = order.start_many([{"number": text} for text in texts])
    with transaction.atomic():
        joined = order.start_many([{"number": text} for text in texts])
    assert asked == ["INSERT"]
    assert [handle.run.input for handle in alone] == [{"number": text} for text in texts]
    assert [facts(handle.run) for handle in alone] == [facts(handle.run) for handle in joined]


def test_a_cancel_writes_and_returns_the_same_row(asked: list[str]) -> None:
    alone, joined = (
        WorkflowRunFactory.create(input={"n": 1}, config={"a": [1, None]}, deadline_at=None)
        for _ in range(2)
    )
    note: dict[str, Any] = {"reason": 'it\'s 100 % \\ a "duplicate"', "actor": "é"}
    first = WorkflowRun.objects.cancel(alone, **note)
    assert asked == ["UPDATE"]
    with transaction.atomic():
        second = WorkflowRun.objects.cancel(joined, **note)
    assert asked == ["UPDATE"]
    assert facts(first) == facts(second)
    assert (first.status, first.cancel_reason) == ("canceled", note["reason"])
    for run in (first, second):
        assert facts(WorkflowRun.objects.get(pk=run.pk)) == facts(run)


def test_a_condition_of_its_own_is_not_prepared(asked: list[str]) -> None:
    run = WorkflowRunFactory.create()
    assert not WorkflowRun.objects.filter(queue="elsewhere").filter(pk=run.pk).exists()
    WorkflowRun.objects.filter(queue="default").cancel(run)
    assert asked == []
    assert WorkflowRun.objects.get(pk=run.pk).status == "canceled"


def test_who_watches_the_queries_sees_them(order: Workflow[..., int], asked: list[str]) -> None:
    with CaptureQueriesContext(connection) as queries:
        order.start(number=1)
        WorkflowRun.objects.cancel(WorkflowRunFactory.create())
    assert asked == []
    assert sum("INSERT INTO django_openworkflow" in query["sql"] for query in queries) == 1
    seen: list[str] = []

    def wrapper(execute: Any, sql: str, *args: Any) -> Any:
        seen.append(sql.split()[0])
        return execute(sql, *args)

    with connection.execute_wrapper(wrapper):
        order.start(number=1)
    assert "INSERT" in seen
    assert asked == []


def test_a_pooler_that_takes_the_statements_away_is_not_noticed(
    order: Workflow[..., int], asked: list[str]
) -> None:
    order.start(number=1)
    with connection.cursor() as cursor:
        cursor.execute("DEALLOCATE ALL")
    order.start(number=2)
    run = WorkflowRunFactory.create()
    WorkflowRun.objects.cancel(run)
    assert asked == ["INSERT", "INSERT", "UPDATE"]
    assert WorkflowRun.objects.filter(workflow_name="order").count() == 2
    assert WorkflowRun.objects.get(pk=run.pk).status == "canceled"


def test_an_error_of_the_database_is_djangos(order: Workflow[..., int]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "ALTER TABLE django_openworkflow_workflowrun"
            " ADD CONSTRAINT no_order CHECK (workflow_name <> 'order')"
        )
    try:
        with pytest.raises(IntegrityError, match="no_order"):
            order.start(number=1)
        assert not WorkflowRun.objects.exists()
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE django_openworkflow_workflowrun DROP CONSTRAINT no_order")


@pytest.mark.parametrize(
    ("sql", "value"),
    [
        ("'infinity'::timestamptz", datetime.max.replace(tzinfo=UTC)),
        ("'-infinity'::timestamptz", datetime.min.replace(tzinfo=UTC)),
        ("'2026-02-03 04:05:06.000007+02'::timestamptz", datetime(2026, 2, 3, 2, 5, 6, 7, UTC)),
        ("NULL::timestamptz", None),
        ("-5::smallint", -5),
        ("9007199254740993::bigint", 9007199254740993),
        ("false", False),
        ("1.50::numeric", Decimal("1.50")),  # of a type that only psycopg knows how to read
    ],
)
def test_values_are_read_as_they_are(sql: str, value: object) -> None:
    connection.ensure_connection()
    assert trips.ask(connection, f"SELECT {sql}, 'é'::text", {}) == [(value, "é")]
