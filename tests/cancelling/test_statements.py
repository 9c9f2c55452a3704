"""Cancels in few statements leave the very rows that the portable path leaves."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import connection, models, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from hypothesis import given, settings
from hypothesis import strategies as st

from django_openworkflow import cancelling, clock, querysets
from django_openworkflow.exceptions import RunNotFound
from django_openworkflow.models import SignalDelivery, StepAttempt, WorkflowRun
from django_openworkflow.querysets import CancelOutcome
from tests.factories import StepAttemptFactory, WorkflowRunFactory, create_many
from tests.rollbacks import undone
from tests.worker.workers import wait_until

pytestmark = pytest.mark.django_db

on_postgresql = pytest.mark.skipif(
    connection.vendor != "postgresql", reason="other databases have the portable path alone"
)

MOMENTS = ("available_at", "created_at", "finished_at", "superseded_at", "updated_at", "started_at")


# --- many ---------------------------------------------------------------------------------------


def crowded_scene() -> list[UUID]:
    """Make runs of every kind, alone and in families, and return their ids."""
    alone = [
        WorkflowRunFactory.create(**traits)
        for traits in (
            {},
            {"scheduled": True, "has_cancel_hook": True},
            {"retrying": True},
            {"running": True},
            {"expired": True, "has_cancel_hook": True},
            {"parked": True},
            {"sleeping_legacy": True},
            {"completed": True},
            {"failed": True},
            {"canceled": True, "has_cancel_hook": True},
        )
    ]
    parents = [
        WorkflowRunFactory.create(**{trait: True})
        for trait in ("parked", "sleeping_legacy", "running", "completed", "canceled")
    ]
    children = [
        WorkflowRunFactory.create(**{trait: True}, child=True, parent=parent)
        for parent in parents
        for trait in ("parked", "running", "completed")
    ]
    grandchildren = [WorkflowRunFactory.create(child=True, parent=run) for run in children[:2]]
    for run in (*alone, *children):
        add_steps(run)
    WorkflowRunFactory.create(cleanup_of=alone[0], has_cancel_hook=True)
    return [run.pk for run in (*alone, *parents, *children, *grandchildren)]


def add_steps(run: WorkflowRun) -> None:
    for kind in ("sleep", "signal_wait", "signal_send", "workflow"):
        StepAttemptFactory.create(workflow_run=run, **{kind: True})
    StepAttemptFactory.create(workflow_run=run)
    StepAttemptFactory.create(workflow_run=run, failed=True)
    StepAttemptFactory.create(workflow_run=run, completed=True, has_undo=run.attempts > 0)


def all_rows() -> list[dict[str, Any]]:
    models_of_runs: tuple[Any, ...] = (WorkflowRun, StepAttempt, SignalDelivery)
    return [row for model in models_of_runs for row in model._base_manager.order_by("pk").values()]


def comparable(rows: list[dict[str, Any]], known: set[Any]) -> list[str]:
    """Return rows without what differs from one cancel to the next: new ids, and the time."""
    for row in rows:
        if row.get("cleanup_of_id") and row["id"] not in known:
            row["id"] = None
        for name in set(MOMENTS) & row.keys():
            row[name] = row[name] if row[name] in known else "now"
    return sorted(json.dumps(row, default=str) for row in rows)


def both_ways(act: Callable[[], Any]) -> list[tuple[Any, list[str]]]:
    """Do it with the fast statements, undo it, and do it with the ORM."""
    long_ago = timezone.now() - timedelta(hours=2)
    for model in (WorkflowRun, StepAttempt):
        model._base_manager.update(created_at=long_ago, updated_at=long_ago)
    known = {row[name] for row in all_rows() for name in {"id", *MOMENTS} & row.keys()} | {None}
    begun_at = clock.read("default")
    wait_until(lambda: clock.read("default") > begun_at, "a moment that is not yet known")
    results = []
    for is_fast in (True, False):
        with pytest.MonkeyPatch.context() as patch, undone():
            if not is_fast:
                patch.setattr(cancelling, "is_set_based", lambda _using: False)
                patch.setattr(querysets, "cancel_untouched", lambda *_args: None)
            outcome = act()
            results.append((outcome, comparable(all_rows(), known)))
    return results


@on_postgresql
def test_many_end_as_they_do_on_the_portable_path() -> None:
    ids = crowded_scene()

    @settings(max_examples=25)
    @given(chosen=st.sets(st.sampled_from(ids)), cascade=st.booleans())
    def check(chosen: set[UUID], *, cascade: bool) -> None:
        runs = WorkflowRun.objects.filter(pk__in=chosen).order_by("?")
        fast, portable = both_ways(
            lambda: runs.cancel_active(reason="r", actor="a", cascade=cascade)
        )
        assert fast == portable

    check()


@on_postgresql
@pytest.mark.parametrize("size", [0, 1, 2500])
def test_many_take_two_statements(size: int) -> None:
    runs = create_many(size)
    with transaction.atomic(), CaptureQueriesContext(connection) as captured:
        outcome = WorkflowRun.objects.all().cancel_active()

    assert outcome == CancelOutcome(canceled=sorted(run.pk for run in runs))
    statements = [query["sql"].split()[0] for query in captured.captured_queries]
    assert statements == ["SAVEPOINT", "WITH", *(["WITH"] if size else []), "RELEASE"]


@on_postgresql
def test_a_few_among_many_are_found_by_index() -> None:
    """Also before there are statistics: nothing reads a table in full."""
    create_many(3000, completed=True)
    parent = WorkflowRunFactory.create(parked=True)
    child = WorkflowRunFactory.create(running=True, child=True, parent=parent)
    StepAttemptFactory.create_batch(100, workflow_run__completed=True, completed=True)
    add_steps(child)
    with undone(), CaptureQueriesContext(connection) as captured:
        assert WorkflowRun.objects.filter(pk=child.pk).cancel_active().canceled == [child.pk]

    for statement in (query["sql"] for query in captured if query["sql"].split()[0] == "WITH"):
        with undone(), connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN {statement}")
            plan = "\n".join(line for (line,) in cursor.fetchall())
        assert "Seq Scan on django_openworkflow_workflowrun" not in plan, plan


# --- one ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("cascade", [False, True])
@pytest.mark.parametrize("trait", ["pending", "scheduled", "attempted", "hooked", "child"])
def test_one_ends_as_it_does_on_the_portable_path(trait: str, *, cascade: bool) -> None:
    traits: dict[str, dict[str, Any]] = {
        "pending": {},
        "scheduled": {"scheduled": True, "deadline_at": datetime(2999, 1, 1, tzinfo=UTC)},
        "attempted": {"retrying": True},
        "hooked": {"has_cancel_hook": True},
        "child": {"child": True, "parent": WorkflowRunFactory.create(parked=True)},
    }
    run = WorkflowRunFactory.create(input={"big": 2**53, "n": [1, None]}, **traits[trait])

    def cancel() -> None:
        returned = run.cancel(reason="r", actor="a", cascade=cascade)
        row = WorkflowRun._base_manager.values().get(pk=run.pk)
        assert {name: getattr(returned, name) for name in row} == row

    fast, portable = both_ways(cancel)
    assert fast == portable


@pytest.mark.django_db(transaction=True)
def test_one_that_nobody_has_claimed_takes_one_statement() -> None:
    run = WorkflowRunFactory.create()
    with CaptureQueriesContext(connection) as captured:
        returned = WorkflowRun.objects.cancel(run.pk)

    first, *others = [query["sql"].split()[0] for query in captured.captured_queries]
    assert (first, set(others) - {"SELECT"}) == ("UPDATE", set())  # receivers are sent fresh rows
    assert returned.status == "canceled"


@pytest.mark.parametrize(
    "narrow",
    [
        lambda rows: rows.filter(workflow_name="another"),
        lambda rows: rows.filter(step_attempts__step_name="none"),
        lambda rows: rows.none(),
        lambda rows: rows.exclude(priority=0),
        lambda rows: rows.annotate(doubled=models.F("priority") * 2).filter(doubled=4),
    ],
)
def test_one_outside_of_the_queryset_is_not_found(narrow: Callable[[Any], Any]) -> None:
    run = WorkflowRunFactory.create()
    with pytest.raises(RunNotFound):
        narrow(WorkflowRun.objects.all()).cancel(run.pk)

    run.refresh_from_db()
    assert run.status == "pending"


def test_one_that_leaves_the_queryset_by_its_end_is_returned() -> None:
    for trait in ({}, {"parked": True}):
        run = WorkflowRunFactory.create(**trait)
        assert WorkflowRun.objects.active().cancel(run).status == "canceled"
