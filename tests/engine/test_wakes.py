"""Wakes: whoever waits for something hears of it, whichever of the two came first."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from django_openworkflow import clock
from django_openworkflow.store.operations import (
    Operation,
    RunCompleted,
    RunFailed,
    RunParked,
    Verdict,
)
from tests.engine.turns import ERROR, lease_of, verdict, write
from tests.factories import SignalDeliveryFactory, StepAttemptFactory, WorkflowRunFactory

if TYPE_CHECKING:
    from django_openworkflow.models import WorkflowRun

pytestmark = pytest.mark.django_db

FAR = datetime(2999, 1, 1, tzinfo=UTC)


def is_due(run: WorkflowRun) -> bool:
    """Whether a run may be claimed now."""
    run.refresh_from_db()
    return run.available_at is not None and run.available_at <= clock.read("default")


@pytest.mark.parametrize("name", ["completed", "failed"])
@pytest.mark.parametrize(
    ("state", "is_woken"),
    [("parked", True), ("sleeping_legacy", True), ("running", False), ("retrying", False)],
)
def test_the_end_of_a_child_wakes_its_parent_only_where_it_waits(
    name: str, state: str, *, is_woken: bool
) -> None:
    parent = WorkflowRunFactory.create(**{state: True})
    child = WorkflowRunFactory.create(child=True, parent=parent, running=True)
    before = parent.available_at
    ends: dict[str, Operation] = {
        "completed": RunCompleted(lease=lease_of(child), parent_run_id=parent.pk, output=None),
        "failed": RunFailed(lease=lease_of(child), parent_run_id=parent.pk, error=ERROR),
    }

    assert verdict(ends[name]) is Verdict.ACCEPTED
    assert is_due(parent) is is_woken
    assert is_woken or parent.available_at == before


@pytest.mark.parametrize("state", ["completed", "failed", "canceled", "succeeded_legacy"])
def test_a_run_that_parks_after_its_child_has_ended_is_due_at_once(state: str) -> None:
    run = WorkflowRunFactory.create(running=True)
    WorkflowRunFactory.create(child=True, parent=run, **{state: True})
    write(RunParked(lease=lease_of(run), wake_at=FAR))

    assert is_due(run)


def test_a_run_that_parks_after_its_signal_has_come_is_due_at_once() -> None:
    run = WorkflowRunFactory.create(running=True)
    attempt = StepAttemptFactory.create(workflow_run=run, signal_wait=True)
    SignalDeliveryFactory.create(step_attempt=attempt, workflow_run=run)
    write(RunParked(lease=lease_of(run), wake_at=FAR))

    assert is_due(run)


def test_a_run_that_parks_while_its_child_still_runs_sleeps_on() -> None:
    run = WorkflowRunFactory.create(running=True)
    WorkflowRunFactory.create(child=True, parent=run, running=True)
    write(RunParked(lease=lease_of(run), wake_at=FAR))
    run.refresh_from_db()

    assert run.available_at == FAR


def test_a_parent_that_is_due_already_is_not_put_off() -> None:
    parent = WorkflowRunFactory.create(parked=True, available_at=datetime(2020, 1, 1, tzinfo=UTC))
    child = WorkflowRunFactory.create(child=True, parent=parent, running=True)
    write(RunCompleted(lease=lease_of(child), parent_run_id=parent.pk, output=None))
    parent.refresh_from_db()

    assert parent.available_at == datetime(2020, 1, 1, tzinfo=UTC)


def test_a_parent_that_waits_for_another_child_sleeps_on() -> None:
    parent = WorkflowRunFactory.create(parked=True)
    child = WorkflowRunFactory.create(child=True, parent=parent, running=True)
    attempt = child.parent_step_attempt
    assert attempt is not None
    other = WorkflowRunFactory.create()
    type(attempt).objects.filter(pk=attempt.pk).update(child_workflow_run=other)
    write(RunCompleted(lease=lease_of(child), parent_run_id=parent.pk, output=None))

    assert not is_due(parent)
