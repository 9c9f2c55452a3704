"""Calls of the manager that type checkers must accept. Never executed."""

from __future__ import annotations

from typing import assert_type
from uuid import UUID

from django_openworkflow.managers import StepAttemptQuerySet
from django_openworkflow.models import StepAttempt, WorkflowRun
from django_openworkflow.querysets import CancelOutcome, WorkflowRunQuerySet


def manage(run_id: UUID) -> None:
    assert_type(WorkflowRun.objects.cancel(run_id, reason="duplicate"), WorkflowRun)
    assert_type(WorkflowRun.objects.retry(run_id), WorkflowRun)
    assert_type(WorkflowRun.objects.active(), WorkflowRunQuerySet)
    assert_type(WorkflowRun.objects.active().cancel_active(cascade=True), CancelOutcome)
    assert_type(WorkflowRun.objects.get(pk=run_id).cancel(), WorkflowRun)
    assert_type(StepAttempt.objects.completed(), StepAttemptQuerySet)
