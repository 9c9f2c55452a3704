"""A row that makes no sense is refused, whoever writes it; every state that does is allowed."""

from __future__ import annotations

import pytest

from django_openworkflow.identifiers import new_id
from django_openworkflow.models import WorkflowRun
from tests.factories import WorkflowRunFactory
from tests.tables.refusals import refused_by
from tests.tables.violations import VIOLATIONS, Violation

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("violation", VIOLATIONS, ids=str)
def test_a_check_constraint_refuses(violation: Violation) -> None:
    row = violation.make()
    rows = type(row)._base_manager.filter(pk=row.pk)
    before = rows.values().get()
    with refused_by(violation.constraint):
        rows.update(**violation.update)
    assert rows.values().get() == before


@pytest.mark.parametrize("violation", VIOLATIONS, ids=str)
def test_a_check_constraint_refuses_new_rows_as_well(violation: Violation) -> None:
    row = violation.make()
    row.pk = new_id()
    for name, value in violation.update.items():
        setattr(row, name, value)
    with refused_by(violation.constraint):
        type(row)._base_manager.bulk_create([row])
    assert not type(row)._base_manager.filter(pk=row.pk).exists()


@pytest.mark.parametrize(
    "trait",
    [
        "scheduled",
        "retrying",
        "running",
        "expired",
        "parked",
        "sleeping_legacy",
        "completed",
        "succeeded_legacy",
        "failed",
        "canceled",
    ],
)
def test_every_state_of_a_run_is_allowed(trait: str) -> None:
    parent = WorkflowRunFactory.create(parked=True)
    run = WorkflowRunFactory.create(**{trait: True})
    child = WorkflowRunFactory.create(child=True, parent=parent, **{trait: True})
    assert set(WorkflowRun.objects.all()) == {parent, run, child}


def test_a_run_that_left_its_family_is_allowed() -> None:
    child = WorkflowRunFactory.create(child=True, parent=WorkflowRunFactory.create(parked=True))
    updated = WorkflowRun.objects.filter(pk=child.pk).update(parent_step_attempt=None)
    assert updated == 1
