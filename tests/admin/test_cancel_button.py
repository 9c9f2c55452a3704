"""Cancel one run by the button of its row or its page."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry

from django_openworkflow.models import WorkflowRun
from django_openworkflow.states import RunStatus
from tests.admin.addresses import messages_of, on_run, url, url_of
from tests.admin.conftest import refresh
from tests.admin.rows import make_run

if TYPE_CHECKING:
    from django.test import Client

pytestmark = pytest.mark.django_db
LIST = "changelist"


@pytest.mark.parametrize("trait", ["scheduled", "running", "parked", "sleeping_legacy", "retrying"])
def test_the_button_cancels_a_run(operator: Client, trait: str) -> None:
    run = make_run(**{trait: True})
    page = operator.get(on_run("change", run)).content.decode()
    assert f'href="{on_run("cancel_run", run)}"' in page
    response = operator.post(on_run("cancel_run", run), {"reason": "by button"})
    assert url_of(response) == on_run("change", run)
    assert messages_of(response) == [("success", "Canceled 1 workflow run.")]
    fresh = refresh(run)
    assert (fresh.status, fresh.cancel_reason) == (RunStatus.CANCELED, "by button")
    assert LogEntry.objects.get().change_message == "Canceled. Reason: by button"


@pytest.mark.parametrize(
    ("trait", "words"),
    [
        ("completed", "Skipped 1 already finished: 1 completed."),
        ("failed", "Skipped 1 already finished: 1 failed."),
        ("canceled", "1 already canceled."),
    ],
)
def test_a_run_that_has_ended_shows_no_button_and_cannot_be_canceled(
    operator: Client, trait: str, words: str
) -> None:
    run = make_run(**{trait: True})
    assert on_run("cancel_run", run) not in operator.get(on_run("change", run)).content.decode()
    page = operator.get(on_run("cancel_run", run))
    assert page.status_code == 200
    assert 'id="ow-not-available"' in page.content.decode()
    assert 'id="ow-submit"' not in page.content.decode()
    response = operator.post(on_run("cancel_run", run), {"reason": "too late"})
    assert messages_of(response) == [("warning", words)]
    assert refresh(run).status == run.status


def test_the_button_of_a_row_leads_back_to_the_list_as_it_was(operator: Client) -> None:
    run = make_run(running=True)
    query = "?status=running&workflow=process-order"
    page = operator.get(url(LIST) + query).content.decode()
    start = page.index(f'href="{on_run("cancel_run", run)}') + len('href="')
    address = page[start : page.index('"', start)].replace("&amp;", "&")
    response = operator.post(address, {})
    assert url_of(response) == url(LIST) + query
    assert refresh(run).status == RunStatus.CANCELED


def test_a_run_that_does_not_exist_leads_to_the_index(operator: Client) -> None:
    run = WorkflowRun(workflow_name="gone")
    response = operator.post(on_run("cancel_run", run), {})
    assert response.status_code == 302
    assert url_of(response) == "/admin/"


# --- Django 6.1's actions on the page of a run ----------------------------------------------------


@pytest.mark.skipif(not hasattr(admin, "ActionLocation"), reason="needs Django 6.1")
def test_the_action_is_on_the_page_of_a_run_too(operator: Client) -> None:
    run = make_run(running=True)
    page = on_run("change", run)
    assert 'value="cancel_selected_runs"' in operator.get(page).content.decode()
    data = {"CHANGE_FORM-action": "cancel_selected_runs", "_selected_action": str(run.pk)}
    question = operator.post(page, data)
    assert question.status_code == 200
    posted = dict(question.context["posted"])
    assert posted["CHANGE_FORM-action"] == "cancel_selected_runs"
    response = operator.post(page, {**posted, "reason": "from the page"})
    assert messages_of(response) == [("success", "Canceled 1 workflow run.")]
    assert url_of(response) == page
    assert refresh(run).cancel_reason == "from the page"


@pytest.mark.skipif(not hasattr(admin, "ActionLocation"), reason="needs Django 6.1")
def test_the_action_on_the_page_of_a_run_needs_the_permission(viewer: Client) -> None:
    run = make_run(running=True)
    data = {"CHANGE_FORM-action": "cancel_selected_runs", "_selected_action": str(run.pk)}
    assert viewer.post(on_run("change", run), {**data, "post": "yes"}).status_code == 403
    assert refresh(run).status == RunStatus.RUNNING
