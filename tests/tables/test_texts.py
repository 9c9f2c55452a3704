"""Texts have no limit, but for those that an index must hold."""

from __future__ import annotations

import random
import string
from collections.abc import Callable

import pytest
from django.db import connection, models

from django_openworkflow.models import WorkflowRun
from django_openworkflow.states import RunStatus
from tests.factories import BufferedSignalFactory, SignalDeliveryFactory, WorkerProcessFactory
from tests.tables.rows import a_run, a_step, each_model

pytestmark = pytest.mark.django_db

LONG = "".join(random.Random(7).choices(string.printable[:94] + "ä漢🙂", k=10_000))  # noqa: S311 - not a secret


def text_columns(model: type[models.Model]) -> list[str]:
    """The columns that take any text: no list of choices."""
    return [
        field.attname
        for field in model._meta.concrete_fields
        if isinstance(field, models.TextField) and not field.choices
    ]


@pytest.mark.parametrize(
    ("make", "columns"),
    [
        (a_run(), ("version", "worker_id", "cancel_reason", "cancel_actor")),
        (a_step(), ("step_name", "worker_id", "child_workflow_run_namespace_id")),
        (SignalDeliveryFactory.create, ("signal",)),
        (BufferedSignalFactory.create, ("sender_idempotency_key",)),
        (WorkerProcessFactory.create, ("name", "host")),
    ],
)
def test_texts_have_no_limit(make: Callable[[], models.Model], columns: tuple[str, ...]) -> None:
    row = make()
    rows = type(row)._base_manager.filter(pk=row.pk)
    legal = {"status": RunStatus.RUNNING} if isinstance(row, WorkflowRun) else {}
    assert rows.update(**dict.fromkeys(columns, LONG), **legal) == 1
    assert rows.values(*columns).get() == dict.fromkeys(columns, LONG)


@pytest.mark.parametrize(
    ("make", "columns"),
    [
        (a_run(), ("namespace_id", "workflow_name", "idempotency_key", "queue")),
        (a_step(completed=True), ("step_name",)),
        (SignalDeliveryFactory.create, ("sender_idempotency_key",)),
        (BufferedSignalFactory.create, ("signal",)),
    ],
)
def test_texts_in_indexes_hold_names_of_any_sane_length(
    make: Callable[[], models.Model], columns: tuple[str, ...]
) -> None:
    """An index of PostgreSQL takes some 2,700 bytes that cannot be compressed, and no more."""
    row = make()
    rows = type(row)._base_manager.filter(pk=row.pk)
    for column in columns:
        assert rows.update(**{column: LONG[:600]}) == 1
        assert rows.values_list(column, flat=True).get() == LONG[:600]


@each_model
def test_no_text_column_declares_a_length(model: type[models.Model]) -> None:
    with connection.cursor() as cursor:
        described = connection.introspection.get_table_description(cursor, model._meta.db_table)
    sizes = {column.name: column.display_size for column in described}
    limits = {sizes[column] for column in text_columns(model)}
    assert limits == {None}
