"""Runs that ended long ago, and a look for rows that nothing refers to any more."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.db import connection
from django.utils import timezone

from django_openworkflow.models import SignalDelivery, StepAttempt, WorkflowRun
from tests.factories import SignalDeliveryFactory, StepAttemptFactory
from tests.management.conftest import make


def month_ago() -> datetime:
    """Return the moment that separates the runs of 60 days ago from those of yesterday."""
    return timezone.now() - timedelta(days=30)


def ended(days: float, trait: str = "completed", **columns: Any) -> WorkflowRun:
    """Make a run that ended so many days ago, or one that is active and began then."""
    moment = timezone.now() - timedelta(days=days)
    times: dict[str, Any] = {"created_at": moment - timedelta(minutes=1)}
    if trait in {"completed", "succeeded_legacy", "failed", "canceled"}:
        times["finished_at"] = moment
    return make(trait, **{**times, **columns})


def fill(run: WorkflowRun, steps: int = 2) -> None:
    """Give a run completed steps, and a wait that has received its signal."""
    for _ in range(steps):
        StepAttemptFactory.create(workflow_run=run, completed=True)
    wait = StepAttemptFactory.create(workflow_run=run, signal_wait=True, completed=True)
    SignalDeliveryFactory.create(step_attempt=wait)


def child_of(parent: WorkflowRun, days: float, trait: str = "completed") -> WorkflowRun:
    """Make a child run: both rows name one another."""
    return ended(days, trait, child=True, parent=parent)


def left() -> set[Any]:
    """Return the ids of the runs that are left, after a look for orphans."""
    connection.check_constraints()  # raises for a pointer to a row that is gone
    ids = set(WorkflowRun._base_manager.values_list("pk", flat=True))
    for rows in (StepAttempt._base_manager, SignalDelivery._base_manager):
        assert set(rows.values_list("workflow_run", flat=True)) <= ids
    return ids
