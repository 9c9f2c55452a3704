"""The tables' numbers: true, of this namespace alone, and as cheap among many rows as among few."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from django_openworkflow import clock
from django_openworkflow.models import WorkerProcess, WorkflowRun
from django_openworkflow.states import RunStatus
from django_openworkflow.store import figures
from django_openworkflow.store.figures import QueueFigures, WorkerFigures
from tests.factories import WorkflowRunFactory, create_many

if TYPE_CHECKING:
    from pytest_django import Settings

pytestmark = pytest.mark.django_db

FIXED_STATEMENTS = len(RunStatus.values) + 4  # levels, the clock, two of workers


def make(**columns: Any) -> WorkflowRun:
    """Make a run; ``due`` says for how long it has been due."""
    due = columns.pop("due", None)
    if due is not None:
        columns["available_at"] = clock.read("default") - due
    run: WorkflowRun = WorkflowRunFactory.create(**columns)
    return run


def test_runs_are_counted_in_every_status_that_the_original_knows() -> None:
    make()
    make(running=True)
    make(parked=True)
    make(completed=True)
    make(failed=True)
    make(canceled=True)
    make(namespace_id="another")
    assert figures.read("default").runs == {
        "pending": 1,
        "running": 2,
        "sleeping": 0,
        "completed": 1,
        "succeeded": 0,
        "failed": 1,
        "canceled": 1,
    }


def test_a_count_stops_at_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "COUNTED", 2)
    for _ in range(3):
        make(completed=True)
    assert figures.read("default").runs["completed"] == 2


def test_a_queue_is_as_old_as_its_oldest_due_run_at_any_priority() -> None:
    make(queue="mail", due=timedelta(minutes=5))
    make(queue="mail", due=timedelta(minutes=10), priority=-3)
    make(queue="mail", due=timedelta(hours=-1))
    make(queue="quiet", due=timedelta(hours=-1))
    make(queue="lost", running=True, due=timedelta(minutes=1))  # of a dead worker
    make(queue="done", completed=True)
    found = figures.read("default").queues
    assert {name: queue.due for name, queue in found.items()} == {"mail": 2, "quiet": 0, "lost": 1}
    assert 600 <= found["mail"].oldest_due_seconds < 660
    assert found["quiet"] == QueueFigures(oldest_due_seconds=0.0, due=0)


def test_slots_are_those_of_live_workers_and_used_by_what_is_under_a_lease() -> None:
    for name, age in (("one", 0), ("two", 0), ("dead", 60)):
        WorkerProcess.objects.create(
            name=name,
            host="here",
            pid=1,
            concurrency=5,
            workflows=[],
            heartbeat_at=clock.read("default") - timedelta(seconds=age),
        )
    make(running=True, due=timedelta(seconds=-20))
    make(running=True, due=timedelta(seconds=-20), queue="mail", priority=7)
    make(running=True, due=timedelta(minutes=1))  # its lease has run out
    make(parked=True)
    make()
    workers = figures.read("default").workers
    assert workers == WorkerFigures(alive=2, slots=10, slots_used=2)


def test_empty_tables_have_numbers_too() -> None:
    found = figures.read("default")
    assert (set(found.runs.values()), found.queues) == ({0}, {})
    assert found.workers == WorkerFigures(alive=0, slots=0, slots_used=0)


def test_the_number_of_statements_grows_with_queues_and_not_with_runs() -> None:
    for queue in ("default", "mail"):
        for _ in range(5):
            make(queue=queue, due=timedelta(minutes=1))
    with CaptureQueriesContext(connection) as queries:
        figures.read("default")
    assert len(queries) == FIXED_STATEMENTS + 2 * 3


@pytest.mark.skipif(connection.vendor != "postgresql", reason="asks PostgreSQL's planner")
def test_every_number_is_read_through_an_index() -> None:
    create_many(6000, completed=True)
    create_many(300, parked=True)
    make(due=timedelta(minutes=1))
    make(running=True)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE django_openworkflow_workflowrun")
    with CaptureQueriesContext(connection) as queries:
        figures.read("default")
    of_runs = [
        query["sql"] for query in queries if "django_openworkflow_workflowrun" in query["sql"]
    ]
    # The one status that most of the rows have may as well be read from the table.
    plans = {sql: plan for sql in of_runs if "'completed'" not in sql for plan in [explain(sql)]}
    assert len(plans) >= 9
    assert [sql for sql, plan in plans.items() if "Seq Scan" in plan] == []


def explain(sql: str) -> str:
    """Return the plan of a statement."""
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN {sql}")
        return "\n".join(line for (line,) in cursor.fetchall())


def test_names_and_moments_of_known_runs() -> None:
    run, other = make(workflow_name="a", canceled=True), make(workflow_name="b")
    ids = [run.pk, other.pk]
    assert sorted(figures.workflow_names(ids, using="default")) == ["a", "b"]
    assert figures.canceled_at(ids, using="default") == {run.pk: run.finished_at}


def test_the_namespace_is_the_configured_one(settings: Settings) -> None:
    make(namespace_id="tenant", due=timedelta(minutes=1))
    settings.OPENWORKFLOW = {"NAMESPACE": "tenant"}
    found = figures.read("default")
    assert (found.runs["pending"], found.queues["default"].due) == (1, 1)
