"""What the models declare is in the database, and each constraint of it is shown to bite."""

from __future__ import annotations

from typing import Any

import pytest
from django.apps import apps
from django.db import connection, models

from django_openworkflow.models import WorkflowRun
from tests.tables.refusals import COMPLETED_ONCE, DELIVERY_ONCE, IS_POSTGRESQL
from tests.tables.rows import MODELS, each_model
from tests.tables.violations import VIOLATIONS

pytestmark = pytest.mark.django_db


def names_of(model: type[models.Model]) -> set[str]:
    return {item.name for item in (*model._meta.constraints, *model._meta.indexes)}


def test_every_constraint_of_the_models_is_shown_to_bite() -> None:
    shown = {violation.constraint for violation in VIOLATIONS}
    shown |= {COMPLETED_ONCE[0], DELIVERY_ONCE[0]}
    ours = list(apps.get_app_config("django_openworkflow").get_models())
    assert set(ours) == set(MODELS)
    assert shown == {item.name for model in ours for item in model._meta.constraints}


@each_model
def test_constraints_and_indexes_are_in_the_database(model: type[models.Model]) -> None:
    with connection.cursor() as cursor:
        found = connection.introspection.get_constraints(cursor, model._meta.db_table)
    assert names_of(model) <= found.keys()
    for item in model._meta.constraints:
        is_check = isinstance(item, models.CheckConstraint)
        assert found[item.name]["check" if is_check else "unique"]


def test_indexes_for_work_to_do_hold_no_finished_rows() -> None:
    """A partial index stays small however long the history is."""
    partial = {
        item.name: item.condition
        for model in MODELS
        for item in model._meta.indexes
        if item.condition is not None
    }
    assert {"openworkflow_run_claim", "openworkflow_run_deadline"} <= partial.keys()
    if IS_POSTGRESQL:
        sql = "SELECT indexname, indexdef FROM pg_indexes WHERE indexname = ANY(%s)"
        parameters: Any = [sorted(partial)]
    else:
        marks = ", ".join(["%s"] * len(partial))
        sql = f"SELECT name, sql FROM sqlite_master WHERE name IN ({marks})"  # noqa: S608 - only marks
        parameters = sorted(partial)
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        definitions = dict(cursor.fetchall())
    assert definitions.keys() == partial.keys()
    for name in ("openworkflow_run_claim", "openworkflow_run_deadline"):
        condition = definitions[name].partition(" WHERE ")[2]
        assert "pending" in condition
        assert "completed" not in condition


def test_the_migration_is_the_same_for_every_python() -> None:
    default = WorkflowRun._meta.pk.default
    assert (
        f"{default.__module__}.{default.__qualname__}" == "django_openworkflow.identifiers.new_id"
    )
