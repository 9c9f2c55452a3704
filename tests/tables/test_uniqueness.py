"""What there may be only one of: a step's result, a wait's delivery, an id."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.db.models.functions import Now

from django_openworkflow.models import SignalDelivery, StepAttempt
from django_openworkflow.states import StepStatus
from tests.factories import SignalDeliveryFactory, StepAttemptFactory
from tests.tables.refusals import COMPLETED_ONCE, DELIVERY_ONCE, refused_by
from tests.tables.rows import FACTORIES, each_model, insert

if TYPE_CHECKING:
    from django.db import models

pytestmark = pytest.mark.django_db


class TestOneResultPerStep:
    @pytest.mark.parametrize("first", ["completed", "succeeded_legacy"])
    @pytest.mark.parametrize("second", [StepStatus.COMPLETED, StepStatus.SUCCEEDED])
    def test_a_second_result_is_refused(self, first: str, second: StepStatus) -> None:
        done = StepAttemptFactory.create(step_name="charge", **{first: True})
        late = StepAttemptFactory.create(step_name="charge", workflow_run=done.workflow_run)
        with refused_by(*COMPLETED_ONCE):
            StepAttempt.objects.filter(pk=late.pk).update(status=second, finished_at=Now())

    def test_a_second_result_is_refused_as_a_new_row(self) -> None:
        done = StepAttemptFactory.create(step_name="charge", completed=True)
        again = StepAttemptFactory.build(
            step_name="charge", completed=True, workflow_run=done.workflow_run
        )
        with refused_by(*COMPLETED_ONCE):
            StepAttempt.objects.bulk_create([again])

    @pytest.mark.parametrize("other", [{}, {"failed": True}])
    def test_tries_without_a_result_may_be_many(self, other: dict[str, bool]) -> None:
        done = StepAttemptFactory.create(step_name="charge", completed=True)
        for _ in range(3):
            StepAttemptFactory.create(step_name="charge", workflow_run=done.workflow_run, **other)
        assert StepAttempt.objects.filter(step_name="charge").count() == 4

    def test_a_result_that_a_retry_has_set_aside_does_not_count(self) -> None:
        done = StepAttemptFactory.create(step_name="charge", completed=True)
        StepAttempt.objects.filter(pk=done.pk).update(superseded_at=Now())
        again = StepAttemptFactory.create(
            step_name="charge", completed=True, workflow_run=done.workflow_run
        )
        with refused_by(*COMPLETED_ONCE):
            StepAttempt.objects.filter(pk=done.pk).update(superseded_at=None)
        assert again.superseded_at is None

    def test_other_steps_and_other_runs_are_free(self) -> None:
        done = StepAttemptFactory.create(step_name="charge", completed=True)
        StepAttemptFactory.create(
            step_name="charge:1", completed=True, workflow_run=done.workflow_run
        )
        StepAttemptFactory.create(step_name="charge", completed=True)
        assert StepAttempt.objects.completed().count() == 3


class TestOneDeliveryPerWait:
    def test_a_second_delivery_is_refused(self) -> None:
        delivery = SignalDeliveryFactory.create()
        again = SignalDeliveryFactory.build(
            step_attempt=delivery.step_attempt, workflow_run=delivery.workflow_run
        )
        with refused_by(*DELIVERY_ONCE):
            SignalDelivery.objects.bulk_create([again])

    def test_the_original_s_conflict_clause_finds_it(self) -> None:
        """The original names exactly these columns; a deferred constraint would not do for it."""
        delivery = SignalDeliveryFactory.create()
        inserted = 0
        for _ in range(2):
            fresh = SignalDeliveryFactory.build(
                step_attempt=delivery.step_attempt, workflow_run=delivery.workflow_run
            )
            inserted += insert(
                SignalDelivery,
                {
                    "namespace_id": "default",
                    "id": fresh.pk,
                    "signal": "approval",
                    "workflow_run_id": delivery.workflow_run_id,
                    "step_attempt_id": delivery.step_attempt_id,
                },
                suffix="ON CONFLICT (namespace_id, step_attempt_id) DO NOTHING",
            )
        assert inserted == 0
        assert SignalDelivery.objects.count() == 1

    def test_one_signal_reaches_many_waits(self) -> None:
        first, second = SignalDeliveryFactory.create_batch(2, signal="go")
        assert first.step_attempt_id != second.step_attempt_id


@each_model
def test_an_id_is_used_once(model: type[models.Model]) -> None:
    row, other = FACTORIES[model].create_batch(2)
    table = model._meta.db_table
    with refused_by(f"{table}_pkey", f"{table}.id"):
        model._base_manager.filter(pk=other.pk).update(id=row.pk)
