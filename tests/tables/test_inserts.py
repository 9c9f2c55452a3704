"""Rows of another client, which lists its own columns only: ours fill themselves."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.utils import timezone

from django_openworkflow.identifiers import new_id
from django_openworkflow.models import SignalDelivery, StepAttempt, WorkflowRun
from django_openworkflow.states import RunStatus
from tests.factories import StepAttemptFactory, WorkflowRunFactory
from tests.tables.rows import insert

if TYPE_CHECKING:
    from django.db import models

pytestmark = pytest.mark.django_db


RUN_COLUMNS: dict[str, Any] = {
    "namespace_id": "default",
    "workflow_name": "typescript",
    "version": None,
    "status": "pending",
    "idempotency_key": None,
    "config": {},
    "context": None,
    "input": {"orderId": 7},
    "output": None,
    "error": None,
    "attempts": 0,
    "parent_step_attempt_namespace_id": None,
    "parent_step_attempt_id": None,
    "worker_id": None,
    "deadline_at": None,
    "started_at": None,
    "finished_at": None,
}
STEP_COLUMNS: dict[str, Any] = {
    "namespace_id": "default",
    "step_name": "charge",
    "kind": "function",
    "status": "running",
    "config": {},
    "context": None,
    "output": None,
    "error": None,
    "child_workflow_run_namespace_id": None,
    "child_workflow_run_id": None,
    "finished_at": None,
}


class TestAnInsertOfTheOriginal:
    """It lists its own columns only: ours fill themselves, on every database."""

    def test_of_a_run(self) -> None:
        run_id, now = new_id(), timezone.now().replace(microsecond=123_000)
        times = {"available_at": now, "created_at": now, "updated_at": now}
        insert(WorkflowRun, {**RUN_COLUMNS, **times, "id": run_id})
        run = WorkflowRun.objects.get(pk=run_id)
        assert run.input == {"orderId": 7}
        assert (run.config, run.created_at, run.available_at) == ({}, now, now)
        assert self.own_columns(run) == {
            "queue": "default",
            "priority": 0,
            "failures": 0,
            "crashes": 0,
            "takeovers": 0,
            "deferrals": 0,
            "released_by": None,
            "cancel_reason": "",
            "cancel_actor": "",
            "cancel_source": "",
            "has_cancel_hook": False,
            "cleanup_of_id": None,
            "cleanup_attempt_id": None,
        }

    def test_of_a_run_with_nothing_but_its_name(self) -> None:
        before = timezone.now() - timedelta(seconds=1)
        run_id = new_id()
        insert(WorkflowRun, {"id": run_id, "workflow_name": "typescript"})
        run = WorkflowRun.objects.get(pk=run_id)
        assert (run.namespace_id, run.status, run.config) == ("default", RunStatus.PENDING, {})
        assert (run.attempts, run.worker_id, run.finished_at) == (0, None, None)
        after = timezone.now() + timedelta(seconds=1)
        assert run.available_at is not None
        for moment in (run.available_at, run.created_at, run.updated_at):
            assert before < moment < after
        assert WorkflowRun.objects.due().filter(pk=run_id).exists()

    def test_of_a_step(self) -> None:
        run, step_id = WorkflowRunFactory.create(running=True), new_id()
        now = timezone.now().replace(microsecond=123_000)
        times = {"started_at": now, "created_at": now, "updated_at": now}
        insert(StepAttempt, {**STEP_COLUMNS, **times, "id": step_id, "workflow_run_id": run.pk})
        step = StepAttempt.objects.get(pk=step_id)
        assert (step.started_at, step.created_at) == (now, now)
        assert self.own_columns(step) == {
            "worker_id": None,
            "interruptions": 0,
            "has_undo": False,
            "is_late": False,
            "superseded_at": None,
        }

    def test_of_a_step_with_the_least(self) -> None:
        run, step_id = WorkflowRunFactory.create(running=True), new_id()
        row = {"id": step_id, "workflow_run_id": run.pk, "step_name": "a", "kind": "sleep"}
        insert(StepAttempt, row)
        step = StepAttempt.objects.get(pk=step_id)
        assert (step.namespace_id, step.status, step.config) == ("default", "running", {})
        assert step.started_at is not None
        assert step.finished_at is None

    def test_of_a_delivery(self) -> None:
        step = StepAttemptFactory.create(signal_wait=True)
        delivery_id = new_id()
        insert(
            SignalDelivery,
            {
                "namespace_id": "default",
                "id": delivery_id,
                "signal": "approval",
                "data": None,
                "sender_idempotency_key": None,
                "workflow_run_id": step.workflow_run_id,
                "step_attempt_id": step.pk,
            },
        )
        delivery = SignalDelivery.objects.get(pk=delivery_id)
        assert delivery.data is None
        assert delivery.created_at is not None

    @staticmethod
    def own_columns(row: models.Model) -> dict[str, Any]:
        theirs = RUN_COLUMNS if isinstance(row, WorkflowRun) else STEP_COLUMNS
        shared = {"id", "workflow_run_id", "available_at", "started_at", "created_at", "updated_at"}
        columns = {field.attname for field in row._meta.concrete_fields} - theirs.keys() - shared
        return {column: getattr(row, column) for column in columns}
