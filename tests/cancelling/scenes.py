"""Runs in every state, the doors through which they are canceled, and who hears of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
from asgiref.sync import async_to_sync

from django_openworkflow import RunHandle
from django_openworkflow.models import WorkflowRun
from tests.factories import (
    WorkflowRunFactory,
)

ACTIVE_TRAITS = (
    "pending",
    "scheduled",
    "retrying",
    "running",
    "expired",
    "parked",
    "sleeping_legacy",
)
ENDED_TRAITS = {
    "completed": "completed",
    "succeeded_legacy": "succeeded",
    "failed": "failed",
}


def make(trait: str, **columns: Any) -> WorkflowRun:
    return WorkflowRunFactory.create(**({} if trait == "pending" else {trait: True}), **columns)


def row(run: WorkflowRun) -> dict[str, Any]:
    """All columns as they are in the database."""
    return dict(WorkflowRun._base_manager.values().get(pk=run.pk))


def active_runs() -> Any:
    return WorkflowRun.objects.active()


def handle_of(run_id: UUID) -> RunHandle[Any]:
    return RunHandle(run_id)


def through_acancel(run: WorkflowRun, **options: Any) -> WorkflowRun:
    return async_to_sync(handle_of(run.pk).acancel)(**options)


def through_async_manager(run: WorkflowRun, **options: Any) -> WorkflowRun:
    async def cancel() -> WorkflowRun:
        return await WorkflowRun.objects.acancel(run.pk, **options)

    return async_to_sync(cancel)()


def in_order(options: dict[str, Any]) -> tuple[Any, Any, Any]:
    """The options in the order in which they may be given without their names."""
    return options.get("reason", ""), options.get("actor"), options.get("cascade", False)


DOORS: dict[str, Callable[..., WorkflowRun]] = {
    "manager, run": lambda run, **options: WorkflowRun.objects.cancel(run, **options),
    "manager, UUID": lambda run, **options: WorkflowRun.objects.cancel(run.pk, **options),
    "manager, text": lambda run, **options: WorkflowRun.objects.cancel(str(run.pk), **options),
    "queryset": lambda run, **options: WorkflowRun.objects.all().cancel(run.pk, **options),
    "run": lambda run, **options: run.cancel(**options),
    "handle": lambda run, **options: handle_of(run.pk).cancel(**options),
    "async handle": through_acancel,
    "async manager": through_async_manager,
    "async run": lambda run, **options: async_to_sync(run.acancel)(**options),
    "by position": lambda run, **options: WorkflowRun.objects.cancel(run, *in_order(options)),
    "run, by position": lambda run, **options: run.cancel(*in_order(options)),
    "handle, by position": lambda run, **options: handle_of(run.pk).cancel(*in_order(options)),
}

each_door = pytest.mark.parametrize("cancel", DOORS.values(), ids=DOORS)


@dataclass
class Heard:
    """What a receiver of ``run_canceled`` was told."""

    run_id: UUID
    status: str
    reason: str
    actor: object
    source: str


def family() -> list[WorkflowRun]:
    """A parked root, its parked child, and a running grandchild."""
    root = make("parked")
    child = make("parked", child=True, parent=root)
    return [root, child, make("running", child=True, parent=child)]


def notes(run: WorkflowRun) -> tuple[str, str, str, str]:
    now = row(run)
    return (now["status"], now["cancel_reason"], now["cancel_actor"], now["cancel_source"])
