"""The lists and numbers of the admin are read through an index, with or without statistics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.db import connection
from django.utils import timezone

from django_openworkflow.models import WorkflowRun
from django_openworkflow.states import RunStatus
from django_openworkflow.store import statistics
from tests.factories import create_many

if TYPE_CHECKING:
    from django.db.models import QuerySet

pytestmark = pytest.mark.django_db


@pytest.fixture
def _history() -> None:
    create_many(3000, completed=True)
    create_many(300, parked=True)
    create_many(5, running=True)
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")


def plan_of(rows: QuerySet[Any]) -> str:
    return rows.explain()


def page(rows: Any) -> Any:
    """Return the first page of a list, without its payloads."""
    return rows.order_by("-created_at", "-pk").values("pk", "workflow_name")[:50]


@pytest.mark.usefixtures("_history")
@pytest.mark.parametrize(
    ("rows", "index"),
    [
        (lambda: page(WorkflowRun.objects.all()), "openworkflow_run_newest"),
        (lambda: page(WorkflowRun.objects.running()), "openworkflow_run_held"),
        (
            lambda: page(WorkflowRun.objects.filter(parent_step_attempt__isnull=False)),
            "openworkflow_run_child",
        ),
        (
            lambda: WorkflowRun.objects.filter(
                status=RunStatus.FAILED, finished_at__gte=timezone.now()
            ).order_by("-finished_at")[:10],
            "openworkflow_run_ended",
        ),
    ],
    ids=["newest", "held", "children", "ended"],
)
def test_an_index_serves(rows: Any, index: str) -> None:
    plan = plan_of(rows())
    assert index in plan
    assert "Seq Scan" not in plan
    assert "SCAN django_openworkflow_workflowrun\n" not in f"{plan}\n"
    assert "TEMP B-TREE FOR ORDER BY" not in plan


@pytest.mark.usefixtures("_history")
def test_the_names_in_use_are_found_without_reading_the_rows() -> None:
    create_many(2, workflow_name="another")
    assert statistics.names_in_use(connection.alias) == ["another", "process-order"]
    assert statistics.names_in_use(connection.alias, limit=1) == ["another"]
    table = connection.ops.quote_name(WorkflowRun._meta.db_table)
    sql = statistics._NAMES.format(table=table)
    explain = "EXPLAIN QUERY PLAN " if connection.vendor == "sqlite" else "EXPLAIN "
    with connection.cursor() as cursor:
        cursor.execute(explain + sql, ["default", "default", 10])
        plan = "\n".join(str(row) for row in cursor.fetchall())
    assert "openworkflow_run_name" in plan
    assert "Seq Scan on django_openworkflow" not in plan


def test_no_name_is_in_use() -> None:
    assert statistics.names_in_use(connection.alias) == []
