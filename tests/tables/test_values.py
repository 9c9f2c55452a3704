"""Values that the database makes itself: the moments of its clock, and what it counts."""

from __future__ import annotations

import pytest
from django.db import DEFAULT_DB_ALIAS, connection, transaction
from django.db.models import F
from django.db.models.functions import Now

from django_openworkflow import Step, workflow
from django_openworkflow.clock import NowMilliseconds
from django_openworkflow.identifiers import new_id
from django_openworkflow.models import StepAttempt, WorkflowRun
from django_openworkflow.registry import registry
from django_openworkflow.testing import run_until_idle
from tests.factories import StepAttemptFactory, WorkflowRunFactory
from tests.tables.rows import insert
from tests.worker.workers import wait_until

pytestmark = pytest.mark.django_db


def test_created_at_has_whole_milliseconds() -> None:
    """The original pages by a cursor of milliseconds and would skip rows that have more."""
    with registry.isolated():

        @workflow("millisecond")
        def _millisecond(_step: object) -> None: ...

        _millisecond.start_many([{}] * 20)
    for _ in range(20):
        insert(WorkflowRun, {"id": new_id(), "workflow_name": "raw"})
        StepAttemptFactory.create()
    for model in (WorkflowRun, StepAttempt):
        moments = model._base_manager.values_list("created_at", flat=True)
        assert len(moments) >= 20
        assert [moment for moment in moments if moment.microsecond % 1000] == []


def test_the_statement_clock_goes_on_in_a_long_transaction() -> None:
    """A transaction's clock would stand still: rows could look older than they are."""
    with transaction.atomic():
        first = WorkflowRunFactory.create(available_at=Now())
        older = WorkflowRun.objects.filter(pk=first.pk, created_at__lt=NowMilliseconds())
        wait_until(older.exists, "the next millisecond")
        second = WorkflowRunFactory.create(available_at=Now())
    assert first.available_at is not None
    assert second.available_at is not None
    assert first.available_at < second.available_at
    assert first.created_at < second.created_at


@pytest.mark.skipif("connection.vendor != 'sqlite'", reason="only SQLite keeps moments as texts")
def test_whoever_writes_a_step_its_created_at_has_one_form() -> None:
    """Texts are compared: of two forms of one millisecond, the longer one would be the later."""
    with registry.isolated():

        @workflow("mixed")
        def mixed(step: Step) -> None:
            step.run("body", lambda: 1)
            step.sleep("nap", "0s")
            step.wait_for_signal("go", timeout="0s")

        mixed.start()
        run_until_idle()
    table = connection.ops.quote_name(StepAttempt._meta.db_table)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT kind, CAST(created_at AS TEXT) FROM {table}")  # noqa: S608
        forms = dict(cursor.fetchall())
    assert forms.keys() == {"function", "sleep", "signal-wait"}
    assert {len(form) for form in forms.values()} == {len("2026-01-31 10:00:00.123")}


def test_counters_are_counted_by_the_database() -> None:
    run = WorkflowRunFactory.create()
    WorkflowRun.objects.using(DEFAULT_DB_ALIAS).filter(pk=run.pk).update(crashes=F("crashes") + 1)
    run.refresh_from_db()
    assert run.crashes == 1
