"""A worker may serve another database than the one that starts go to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.contrib.auth.models import Group
from django.db import connections

from django_openworkflow import Step, workflow
from django_openworkflow.models import StepAttempt
from tests.factories import WorkflowRunFactory
from tests.worker.workers import work_until_idle

if TYPE_CHECKING:
    from pytest_django import Settings


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("is_broken", [True, False])
def test_a_transaction_step_is_one_with_the_database_of_its_run(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, *, is_broken: bool
) -> None:
    def write() -> None:
        Group.objects.create(name="written")
        if is_broken:
            message = "not so"
            raise ValueError(message)

    @workflow("elsewhere")
    def elsewhere(step: Step) -> None:
        step.transaction("write", write)

    run = WorkflowRunFactory.create(workflow_name="elsewhere")
    nowhere = {**connections.databases["default"], "ENGINE": "django.db.backends.dummy"}
    monkeypatch.setitem(connections.databases, "another", nowhere)
    settings.OPENWORKFLOW = {**settings.OPENWORKFLOW, "DATABASE": "another"}
    work_until_idle(using="default")
    run.refresh_from_db(using="default")
    attempt = StepAttempt.objects.using("default").earliest("created_at")
    if is_broken:
        assert (attempt.error["message"], Group.objects.count()) == ("not so", 0)
    else:
        assert (run.status, Group.objects.count()) == ("completed", 1)
