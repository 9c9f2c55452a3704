"""Rows of every table: as the factories make them, and as another client inserts them."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import UUID

import pytest
from django.db import connection, models

from django_openworkflow.models import (
    BufferedSignal,
    SignalDelivery,
    StepAttempt,
    WorkerProcess,
    WorkflowRun,
)
from tests.factories import (
    BufferedSignalFactory,
    SignalDeliveryFactory,
    StepAttemptFactory,
    WorkerProcessFactory,
    WorkflowRunFactory,
)

FACTORIES: dict[type[models.Model], Any] = {
    WorkflowRun: WorkflowRunFactory,
    StepAttempt: StepAttemptFactory,
    SignalDelivery: SignalDeliveryFactory,
    BufferedSignal: BufferedSignalFactory,
    WorkerProcess: WorkerProcessFactory,
}
MODELS = tuple(FACTORIES)
each_model = pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)


def a_run(**traits: Any) -> Callable[[], models.Model]:
    return lambda: WorkflowRunFactory.create(**traits)


def a_step(**traits: Any) -> Callable[[], models.Model]:
    return lambda: StepAttemptFactory.create(**traits)


def a_child() -> models.Model:
    return WorkflowRunFactory.create(child=True, parent=WorkflowRunFactory.create(parked=True))


def a_linked_step() -> models.Model:
    child = a_child()
    return StepAttempt.objects.get(child_workflow_run=child.pk)


def database_value(value: Any) -> Any:
    """Convert as a client would that knows nothing of the models."""
    if isinstance(value, UUID):
        return value if connection.features.has_native_uuid_field else value.hex
    if isinstance(value, dict):
        return json.dumps(value)
    if isinstance(value, datetime):
        return connection.ops.adapt_datetimefield_value(value)
    return value


def insert(model: type[models.Model], row: dict[str, Any], *, suffix: str = "") -> int:
    columns = ", ".join(row)
    marks = ", ".join(["%s"] * len(row))
    table = model._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {table} ({columns}) VALUES ({marks}) {suffix}",  # noqa: S608 - of this file
            [database_value(value) for value in row.values()],
        )
        return int(cursor.rowcount)
