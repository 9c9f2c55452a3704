"""The gallery: made-up runs that the database takes and workers can go on with."""

from __future__ import annotations

from collections import Counter
from io import StringIO
from typing import TYPE_CHECKING

import pytest
from django.core.management import call_command

from django_openworkflow.admin.badges import run_state
from django_openworkflow.models import StepAttempt, WorkerProcess, WorkflowRun
from django_openworkflow.states import RunStatus
from django_openworkflow.testing import run_until_idle
from testproject.office import gallery
from testproject.office.workflows import nightly_report, onboard_customer, welcome_mail

if TYPE_CHECKING:
    from django.test import Client

pytestmark = pytest.mark.django_db


def test_there_is_a_run_of_every_state() -> None:
    gallery.hang(runs=40)
    states = Counter(run_state(run) for run in WorkflowRun.objects.all())
    assert set(states) == {
        RunStatus.PENDING,
        RunStatus.RUNNING,
        RunStatus.SLEEPING,
        RunStatus.COMPLETED,
        RunStatus.FAILED,
        RunStatus.CANCELED,
    }
    assert WorkflowRun.objects.filter(parent_step_attempt__isnull=False).count() == 1
    assert StepAttempt.objects.filter(child_workflow_run__isnull=False).count() == 1


def test_a_new_gallery_takes_the_place_of_the_old_one_and_of_nothing_else() -> None:
    other = WorkflowRun._base_manager.create(workflow_name="mine")
    gallery.hang(runs=5)
    first = WorkflowRun.objects.count()
    gallery.hang(runs=5)
    assert WorkflowRun.objects.count() == first
    assert WorkflowRun.objects.filter(pk=other.pk).exists()
    assert WorkerProcess.objects.filter(host="gallery").count() == 1


def test_a_worker_goes_on_with_what_is_pending() -> None:
    gallery.hang(runs=0)
    due = WorkflowRun.objects.due().pending().for_workflow(nightly_report.name)
    ids = list(due.values_list("pk", flat=True))
    assert len(ids) == 6
    run_until_idle()
    ended = WorkflowRun.objects.filter(pk__in=ids, status=RunStatus.COMPLETED)
    assert [run.output for run in ended] == [{"total": 1}] * 6


def test_the_workflows_do_what_they_say() -> None:
    mail = welcome_mail.start(email="eva@example.com")
    customer = onboard_customer.start_input({"email": "eva@example.com"})
    run_until_idle()
    assert mail.run.step_attempts.filter(step_name="write").get().output == 25
    assert run_state(customer.run) == RunStatus.SLEEPING


def test_the_command_names_the_showpieces() -> None:
    out = StringIO()
    call_command("seedadmin", runs=3, stdout=out)
    assert [line.split()[0] for line in out.getvalue().splitlines()] == [
        "running",
        "failed",
        "canceled",
        "completed",
    ]
    before = WorkflowRun.objects.count()
    call_command("seedadmin", runs=50, if_empty=True, stdout=StringIO())
    assert WorkflowRun.objects.count() == before


def test_the_admin_shows_it(admin_client: Client) -> None:
    for run in gallery.hang(runs=10):
        page = admin_client.get(f"/admin/django_openworkflow/workflowrun/{run.pk}/change/")
        assert page.status_code == 200
        assert run.workflow_name in page.content.decode()
