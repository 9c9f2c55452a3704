"""Links between rows lead somewhere; a deleted run takes what is its own, and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.db import IntegrityError, connection, models, transaction

from django_openworkflow.identifiers import new_id
from django_openworkflow.models import SignalDelivery, StepAttempt
from tests.factories import SignalDeliveryFactory, StepAttemptFactory, WorkflowRunFactory
from tests.tables.rows import a_child, a_linked_step, a_run, a_step

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("make", "column"),
    [
        (a_step(), "workflow_run_id"),
        (a_linked_step, "child_workflow_run_id"),
        (a_child, "parent_step_attempt_id"),
        (a_run(canceled=True), "cleanup_of_id"),
        (SignalDeliveryFactory.create, "workflow_run_id"),
        (SignalDeliveryFactory.create, "step_attempt_id"),
    ],
)
def test_a_link_into_nowhere_is_refused(make: Callable[[], models.Model], column: str) -> None:
    row = make()
    with pytest.raises(IntegrityError, match=column):
        point_into_nowhere(row, column)


def point_into_nowhere(row: models.Model, column: str) -> None:
    with transaction.atomic():
        type(row)._base_manager.filter(pk=row.pk).update(**{column: new_id()})
        connection.check_constraints([row._meta.db_table])  # Django defers these to the commit


def test_deleting_a_run_takes_its_steps_and_deliveries_but_not_its_children() -> None:
    parent = WorkflowRunFactory.create(parked=True)
    delivery = SignalDeliveryFactory.create(
        step_attempt=StepAttemptFactory.create(workflow_run=parent, signal_wait=True)
    )
    child = WorkflowRunFactory.create(child=True, parent=parent)
    parent.delete()
    assert not StepAttempt.objects.exists()
    assert not SignalDelivery.objects.filter(pk=delivery.pk).exists()
    child.refresh_from_db()
    assert child.parent_step_attempt_id is None
