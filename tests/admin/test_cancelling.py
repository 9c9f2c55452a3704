"""Cancel one run, a selection, or all that match: the database decides, everything is recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.urls import resolve

from django_openworkflow.admin.cancelling import cancel_selected_runs
from django_openworkflow.models import WorkflowRun
from django_openworkflow.states import RunStatus
from tests.admin.addresses import bulk, messages_of, on_run, url, url_of
from tests.admin.conftest import refresh
from tests.admin.rows import make_run
from tests.factories import create_many

if TYPE_CHECKING:
    from django.test import Client, RequestFactory

pytestmark = pytest.mark.django_db
LIST = "changelist"


def post(client: Client, runs: list[WorkflowRun], query: str = "", **more: Any) -> Any:
    return client.post(url(LIST) + query, bulk(*runs, post="yes", **more))


# --- the question ---------------------------------------------------------------------------------


def test_the_action_is_offered_under_its_name(operator: Client) -> None:
    make_run()
    page = operator.get(url(LIST)).content.decode()
    assert '<option value="cancel_selected_runs">Cancel selected workflow runs</option>' in page


def test_the_question_shows_what_will_be_canceled_and_what_skipped(operator: Client) -> None:
    runs = [make_run(**{trait: True}) for trait in ("running", "parked", "completed")]
    before = list(WorkflowRun._base_manager.order_by("pk").values())
    response = operator.post(url(LIST), bulk(*runs, index="0"))
    assert response.status_code == 200
    groups = {str(group["title"]): group["count"] for group in response.context["groups"]}
    assert groups == {
        "Will be canceled": 2,
        "Will be skipped: already finished": 1,
        "Will be skipped: already canceled": 0,
    }
    page = response.content.decode()
    assert all(str(run.pk) in page for run in runs)
    assert '<input type="hidden" name="post" value="yes">' in page
    assert 'name="reason"' in page
    assert 'name="cascade"' in page
    assert list(WorkflowRun._base_manager.order_by("pk").values()) == before


def test_the_question_tells_what_decides(operator: Client) -> None:
    page = operator.post(url(LIST), bulk(make_run(running=True))).content.decode()
    assert "Are you sure? Runs that end before you confirm are skipped." in page


@pytest.mark.parametrize("select_across", ["0", "1"])
def test_nothing_is_asked_where_nothing_can_be_canceled(
    operator: Client, select_across: str
) -> None:
    runs = [make_run(completed=True), make_run(failed=True), make_run(canceled=True)]
    response = operator.post(url(LIST), bulk(*runs, select_across=select_across))
    groups = {str(group["title"]): group["count"] for group in response.context["groups"]}
    assert groups == {"Will be canceled": 0, "Already finished": 2, "Already canceled": 1}
    page = response.content.decode()
    assert "None of these can be canceled." in page
    assert all(str(run.pk) in page for run in runs)
    assert "Are you sure?" not in page
    assert 'id="ow-submit"' not in page
    assert f'id="ow-back" href="{url(LIST)}">Back</a>' in page


def test_no_leads_back_to_the_list_as_it_was(operator: Client) -> None:
    query = "?status=running"
    page = operator.post(url(LIST) + query, bulk(make_run(running=True))).content.decode()
    assert f'id="ow-back" href="{url(LIST)}{query}"' in page


def test_no_leads_back_to_the_run_on_whose_page_it_was_chosen(
    operator: Client, rf: RequestFactory
) -> None:
    """Django 6.1 offers the action there; before, it is only known what the action does."""
    run = make_run(running=True)
    page = on_run("change", run)
    request = rf.post(f"{page}?_changelist_filters=status%3Drunning", bulk(run))
    request.user = operator.get(page).wsgi_request.user
    request.resolver_match = resolve(page)
    runs_admin = admin.site.get_model_admin(WorkflowRun)
    response: Any = cancel_selected_runs(runs_admin, request, WorkflowRun.objects.all())
    back = f'id="ow-back" href="{page}?_changelist_filters=status%3Drunning"'
    assert back in response.render().content.decode()


def test_the_answer_that_the_question_asks_for_works(operator: Client) -> None:
    run = make_run(running=True)
    question = operator.post(url(LIST), bulk(run, index="0"))
    response = operator.post(url(LIST), dict(question.context["posted"]))
    assert response.status_code == 302
    assert refresh(run).status == RunStatus.CANCELED


@pytest.mark.parametrize("answer", ["", "no", "YES", "1"])
def test_only_yes_is_an_answer(operator: Client, answer: str) -> None:
    run = make_run(running=True)
    response = operator.post(url(LIST), bulk(run, post=answer))
    assert response.status_code == 200
    assert refresh(run).status == RunStatus.RUNNING


def test_a_reason_that_cannot_be_stored_is_refused_on_the_page(operator: Client) -> None:
    run = make_run(running=True)
    response = post(operator, [run], reason="nul \x00")
    assert "Null characters are not allowed." in response.content.decode()
    response = post(operator, [run], reason="x" * 1001)
    assert "at most 1000 characters" in response.content.decode()
    assert refresh(run).status == RunStatus.RUNNING


# --- the answer -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("traits", "expected"),
    [
        (["running"], [("success", "Canceled 1 workflow run.")]),
        (["running", "parked"], [("success", "Canceled 2 workflow runs.")]),
        (["scheduled", "sleeping_legacy"], [("success", "Canceled 2 workflow runs.")]),
        (["completed"], [("warning", "Skipped 1 already finished: 1 completed.")]),
        (["failed", "failed"], [("warning", "Skipped 2 already finished: 2 failed.")]),
        (["canceled"], [("warning", "1 already canceled.")]),
        (
            ["running", "completed", "completed", "failed", "canceled", "parked", "running"],
            [
                ("success", "Canceled 3 workflow runs."),
                ("warning", "Skipped 3 already finished: 2 completed, 1 failed."),
                ("warning", "1 already canceled."),
            ],
        ),
    ],
)
def test_each_outcome_is_told_in_the_exact_words(
    operator: Client, traits: list[str], expected: list[tuple[str, str]]
) -> None:
    runs = [make_run(**{trait: True}) for trait in traits]
    response = post(operator, runs)
    assert response.status_code == 302
    assert url_of(response) == url(LIST)
    assert messages_of(response) == expected


def test_actor_reason_and_source_are_kept_on_the_run(operator: Client) -> None:
    run = make_run(running=True)
    post(operator, [run], reason="They changed their mind")
    fresh = refresh(run)
    assert fresh.cancel_reason == "They changed their mind"
    assert fresh.cancel_actor == "view-cancel-retry-start-signal"
    assert fresh.cancel_source == "admin"
    assert fresh.worker_id is None
    assert fresh.available_at is None
    assert fresh.finished_at is not None


def test_what_was_canceled_has_a_log_entry_and_nothing_else_has(operator: Client) -> None:
    active, ended = make_run(running=True), make_run(completed=True)
    post(operator, [active, ended], reason="twice")
    (entry,) = LogEntry.objects.all()
    assert entry.object_id == str(active.pk)
    assert entry.change_message == "Canceled. Reason: twice"
    assert entry.user.get_username() == "view-cancel-retry-start-signal"
    assert entry.content_type is not None
    assert entry.content_type.model_class() is WorkflowRun


def test_without_a_record_there_is_no_cancel(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_args: object, **_options: object) -> None:
        message = "the log is full"
        raise RuntimeError(message)

    run = make_run(running=True)
    monkeypatch.setattr(type(LogEntry.objects), "log_actions", fail)
    with pytest.raises(RuntimeError, match="the log is full"):
        post(operator, [run])
    assert refresh(run).status == RunStatus.RUNNING


def test_child_runs_are_canceled_on_request_and_told(operator: Client) -> None:
    parent = make_run(parked=True)
    child = make_run(child=True, parent=parent, running=True)
    response = post(operator, [parent], cascade="on", reason="all of it")
    assert messages_of(response) == [
        ("success", "Canceled 1 workflow run."),
        ("success", "Also canceled 1 child run."),
    ]
    assert refresh(child).cancel_source == "cascade"
    entries = dict(LogEntry.objects.values_list("object_id", "change_message"))
    assert entries == {
        str(parent.pk): "Canceled. Reason: all of it",
        str(child.pk): "Canceled with the run above it. Reason: all of it",
    }


def test_child_runs_are_left_alone_otherwise(operator: Client) -> None:
    parent = make_run(parked=True)
    child = make_run(child=True, parent=parent, running=True)
    post(operator, [parent])
    assert refresh(child).status == RunStatus.RUNNING


# --- races ----------------------------------------------------------------------------------------


def test_a_run_that_ends_after_the_question_is_skipped(operator: Client) -> None:
    run = make_run(running=True)
    question = operator.post(url(LIST), bulk(run, index="0"))
    WorkflowRun._base_manager.filter(pk=run.pk).update(
        status=RunStatus.COMPLETED, available_at=None, finished_at=run.started_at
    )
    response = operator.post(url(LIST), dict(question.context["posted"]))
    assert messages_of(response) == [("warning", "Skipped 1 already finished: 1 completed.")]
    assert not LogEntry.objects.exists()


def test_a_run_that_was_canceled_after_the_question_keeps_its_first_reason(
    operator: Client,
) -> None:
    run = make_run(running=True)
    question = operator.post(url(LIST), bulk(run, index="0"))
    run.cancel(reason="first")
    response = operator.post(url(LIST), {**dict(question.context["posted"]), "reason": "second"})
    assert messages_of(response) == [("warning", "1 already canceled.")]
    assert refresh(run).cancel_reason == "first"


def test_a_selected_run_that_left_the_filter_is_canceled_all_the_same(operator: Client) -> None:
    run = make_run()
    WorkflowRun._base_manager.filter(pk=run.pk).update(status=RunStatus.RUNNING, worker_id="w:1")
    response = post(operator, [run], query="?status=pending")
    assert messages_of(response) == [("success", "Canceled 1 workflow run.")]
    assert url_of(response) == url(LIST) + "?status=pending"


# --- all that match -------------------------------------------------------------------------------


def test_all_that_match_a_filter_are_canceled_beyond_the_page(operator: Client) -> None:
    create_many(1_020, workflow_name="sync")
    others = create_many(3, workflow_name="other")
    query = "?workflow=sync"
    one = WorkflowRun._base_manager.filter(workflow_name="sync").first()
    assert one is not None
    ticked = bulk(one, index="0", select_across="1")
    question = operator.post(url(LIST) + query, ticked)
    assert question.context["groups"][0]["count"] == 1_020
    assert question.content.decode().count('name="_selected_action"') == 1
    response = operator.post(url(LIST) + query, dict(question.context["posted"]))
    assert messages_of(response) == [("success", "Canceled 1020 workflow runs.")]
    assert LogEntry.objects.count() == 1_020
    left = WorkflowRun.objects.active()
    assert set(left.values_list("pk", flat=True)) == {run.pk for run in others}


def test_all_that_match_counts_what_had_ended(operator: Client) -> None:
    create_many(2, running=True)
    create_many(3, completed=True)
    create_many(4, canceled=True)
    one = WorkflowRun._base_manager.first()
    assert one is not None
    response = post(operator, [one], select_across="1")
    assert messages_of(response) == [
        ("success", "Canceled 2 workflow runs."),
        ("warning", "Skipped 3 already finished: 3 completed."),
        ("warning", "4 already canceled."),
    ]


def test_a_selection_without_any_run_says_so(operator: Client) -> None:
    run = make_run()
    WorkflowRun._base_manager.all().delete()
    response = post(operator, [run])
    assert messages_of(response) == [("warning", "No workflow run was there to cancel.")]


# --- rights ---------------------------------------------------------------------------------------


def test_who_may_only_look_is_offered_no_action_and_refused_it(viewer: Client) -> None:
    run = make_run(running=True)
    assert "cancel_selected_runs" not in viewer.get(url(LIST)).content.decode()
    response = post(viewer, [run])
    assert refresh(run).status == RunStatus.RUNNING
    assert not LogEntry.objects.exists()
    assert response.status_code in {200, 302, 403}


def test_other_namespaces_do_not_exist(operator: Client) -> None:
    run = make_run(running=True, namespace_id="elsewhere")
    response = post(operator, [run])
    assert messages_of(response) == [("warning", "No workflow run was there to cancel.")]
    assert operator.get(on_run("cancel_run", run)).status_code == 302
    assert operator.post(on_run("cancel_run", run), {}).status_code == 302
    assert refresh(run).status == RunStatus.RUNNING


def test_runs_outside_of_get_queryset_do_not_exist(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, theirs = make_run(running=True), make_run(running=True)
    runs_admin = admin.site.get_model_admin(WorkflowRun)
    everything = type(runs_admin).get_queryset

    def narrowed(self: Any, request: Any) -> Any:
        return everything(self, request).exclude(pk=theirs.pk)

    monkeypatch.setattr(type(runs_admin), "get_queryset", narrowed)
    response = post(operator, [mine, theirs])
    assert messages_of(response) == [("success", "Canceled 1 workflow run.")]
    operator.post(on_run("cancel_run", theirs), {})
    response = post(operator, [mine], select_across="1")
    assert messages_of(response)[-1] == ("warning", "1 already canceled.")
    assert refresh(theirs).status == RunStatus.RUNNING


def test_a_selection_of_nonsense_is_a_bad_request(operator: Client) -> None:
    data = {**bulk(), "_selected_action": ["' OR 1=1"], "post": "yes"}
    assert operator.post(url(LIST), data).status_code == 400
