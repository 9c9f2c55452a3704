"""Cancels of whole querysets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import connection, models
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_openworkflow.models import StepAttempt, WorkflowRun
from django_openworkflow.querysets import CancelOutcome
from django_openworkflow.states import RunStatus
from tests.cancelling.scenes import (
    ACTIVE_TRAITS,
    ENDED_TRAITS,
    Heard,
    active_runs,
    make,
    row,
)
from tests.factories import (
    StepAttemptFactory,
    create_many,
)
from tests.rollbacks import undone

pytestmark = pytest.mark.django_db


class TestQuerysets:
    def test_the_outcome_of_a_mixed_lot_is_exact(self) -> None:
        canceled = [make(trait) for trait in ACTIVE_TRAITS]
        already = [make("canceled") for _ in range(2)]
        skipped = {make(trait).pk: status for trait, status in ENDED_TRAITS.items()}
        untouched = make("running", workflow_name="another")
        outcome = WorkflowRun.objects.for_workflow("process-order").cancel_active()
        assert outcome == CancelOutcome(
            canceled=sorted(run.pk for run in canceled),
            already_canceled=sorted(run.pk for run in already),
            skipped=skipped,
        )
        assert row(untouched)["status"] == "running"
        assert WorkflowRun.objects.canceled().count() == len(canceled) + len(already)

    def test_ordered_and_sliced(self) -> None:
        runs = [make("running", priority=number) for number in range(5)]
        highest = WorkflowRun.objects.order_by("-priority")[:2]
        assert highest.cancel_active().canceled == [runs[3].pk, runs[4].pk]
        middle = WorkflowRun.objects.active().order_by("priority")[1:2]
        assert middle.cancel_active().canceled == [runs[1].pk]
        assert set(active_runs()) == {runs[0], runs[2]}

    def test_joined_rows_count_once(self) -> None:
        run, other = make("running"), make("running")
        StepAttemptFactory.create_batch(3, workflow_run=run, step_name="charge", failed=True)
        joined = WorkflowRun.objects.filter(step_attempts__step_name="charge")
        assert joined.count() == 3
        assert joined.cancel_active() == CancelOutcome(canceled=[run.pk])
        assert row(other)["status"] == "running"

    @pytest.mark.parametrize(
        "narrow",
        [
            lambda rows: rows.only("workflow_name"),
            lambda rows: rows.defer("input"),
            lambda rows: rows.distinct(),
            lambda rows: rows.select_related("parent_step_attempt"),
            lambda rows: rows.prefetch_related("step_attempts"),
            lambda rows: rows.annotate(steps=models.Count("step_attempts")),
            lambda rows: rows | rows.filter(priority=7),
            lambda rows: rows.union(rows.filter(priority=7)),
            lambda rows: rows.reverse(),
            lambda rows: rows.using("default"),
        ],
    )
    def test_of_any_shape(self, narrow: Callable[[Any], Any]) -> None:
        run, other = make("running"), make("running", workflow_name="another")
        rows = narrow(WorkflowRun.objects.filter(workflow_name="process-order"))
        assert rows.cancel_active() == CancelOutcome(canceled=[run.pk])
        assert row(other)["status"] == "running"

    def test_read_before(self) -> None:
        """The database decides, not what the queryset has read."""
        run, late = make("running"), make("running")
        rows = WorkflowRun.objects.active()
        assert len(rows) == 2
        WorkflowRun.objects.filter(pk=late.pk).update(
            status=RunStatus.COMPLETED, available_at=None, finished_at=timezone.now()
        )
        assert rows.cancel_active() == CancelOutcome(canceled=[run.pk])

    def test_children_of_a_step(self) -> None:
        child = make("running", child=True, parent=make("parked"))
        attempt = StepAttempt.objects.get()
        assert attempt.child_runs.all().cancel_active().canceled == [child.pk]

    def test_thousands_of_runs_in_one_call(self) -> None:
        """Each thousand takes the same few statements: nothing is done run by run."""
        statements = {}
        for size in (500, 1500, 2500):
            name = f"batch-{size}"
            runs = create_many(size, parked=True, workflow_name=name)
            with CaptureQueriesContext(connection) as captured:
                outcome = WorkflowRun.objects.for_workflow(name).cancel_active(reason="all")
            assert outcome == CancelOutcome(canceled=sorted(run.pk for run in runs))
            assert WorkflowRun.objects.for_workflow(name).canceled().count() == size
            statements[size] = len(captured)
        per_chunk = statements[1500] - statements[500]
        assert statements[2500] - statements[1500] == per_chunk
        assert per_chunk <= 6

    @pytest.mark.django_db(transaction=True)
    def test_all_or_nothing(self, heard: list[Heard]) -> None:
        create_many(1200, parked=True)
        with undone():
            assert len(WorkflowRun.objects.all().cancel_active().canceled) == 1200
        assert not WorkflowRun.objects.canceled().exists()
        assert heard == []


@pytest.mark.django_db(transaction=True)
def test_async_code_cancels_many_as_sync_code_does() -> None:
    run = make("parked")
    outcome = async_to_sync(WorkflowRun.objects.all().acancel_active)("late", cascade=True)
    assert outcome.canceled == [run.pk]
    assert row(run)["cancel_reason"] == "late"
