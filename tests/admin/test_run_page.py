"""The page of a run: what it shows, to whom, and what it keeps to itself."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib import admin
from django.utils.formats import date_format

from django_openworkflow import Step, workflow
from django_openworkflow.admin.payloads import MASK, masked
from django_openworkflow.models import StepAttempt, WorkflowRun
from tests.admin.addresses import on_run, url
from tests.admin.rows import make_attempt, make_delivery, make_run
from tests.factories import link_child

if TYPE_CHECKING:
    from django.test import Client

pytestmark = pytest.mark.django_db

TRACE = 'Traceback (most recent call last):\n  File "shop.py", line 7, in charge\nTimeout: slow'


@pytest.fixture
def runs_admin(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The class that is registered; what a test sets on it is undone."""
    return type(admin.site.get_model_admin(WorkflowRun))


def page_of(client: Client, run: WorkflowRun) -> str:
    return client.get(on_run("change", run)).content.decode()


def text_of(markup: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", markup))


def test_it_tells_what_a_run_is(viewer: Client) -> None:
    run = make_run(parked=True, version="3", idempotency_key="order-7", input={"order": 7})
    make_attempt(workflow_run=run, signal_wait=True, step_name="approve")
    text = text_of(page_of(viewer, run))
    for words in ("Sleeping", str(run.pk), "order-7", "v3", "Waits for signal approval", "approve"):
        assert words in text
    assert "&quot;order&quot; : 7" in text
    assert "No output yet." in text


def test_it_tells_when_a_run_may_begin(viewer: Client) -> None:
    at = datetime(2999, 12, 31, 18, tzinfo=UTC)
    scheduled = text_of(page_of(viewer, make_run(available_at=at)))
    assert f"Not before {date_format(at, 'DATETIME_FORMAT')}" in scheduled
    assert "Duration – Claims" in scheduled  # noqa: RUF001
    retrying = text_of(page_of(viewer, make_run(retrying=True)))
    assert "Not before" in retrying
    for traits in ({}, {"running": True}, {"parked": True}, {"completed": True}):
        assert "Not before" not in text_of(page_of(viewer, make_run(**traits))), traits


def test_a_try_on_another_day_tells_the_day(viewer: Client) -> None:
    noon = datetime(2026, 11, 22, 12, 30, 15, tzinfo=UTC)
    run = make_run(running=True, started_at=noon)
    for days in (0, 3):
        began_at = noon + timedelta(days=days)
        make_attempt(workflow_run=run, completed=True, started_at=began_at, finished_at=began_at)
    times = re.findall(r"attempt 1 · (.*?) ·", text_of(page_of(viewer, run)))
    assert times == ["12:30:15", "11/25/2026 12:30:15"]


def test_it_tells_why_a_run_failed(viewer: Client) -> None:
    error = {"name": "Timeout", "message": "slow", "stack": TRACE}
    run = make_run(failed=True, error=error)
    make_attempt(workflow_run=run, failed=True, step_name="charge", error=error)
    text = text_of(page_of(viewer, run))
    assert text.count("Timeout: slow") >= 3
    assert "line 7, in charge" in text


def test_it_shows_signals_outputs_and_what_happened_to_attempts(viewer: Client) -> None:
    run = make_run(parked=True)
    wait = make_attempt(workflow_run=run, signal_wait=True, completed=True, interruptions=2)
    make_delivery(step_attempt=wait, data={"approved": "by eva"})
    make_attempt(workflow_run=run, completed=True, output=["done"], is_late=True)
    text = text_of(page_of(viewer, run))
    assert "by eva" in text
    assert "&quot;done&quot;" in text
    assert "interrupted 2 times" in text
    assert "ended after the cancel" in text


def test_a_wait_that_the_end_of_its_run_closed_is_no_failure(viewer: Client) -> None:
    run = make_run(parked=True)
    make_attempt(workflow_run=run, sleep=True, step_name="nap")
    run.cancel()
    page = page_of(viewer, run)
    assert "closed when the run ended" in text_of(page)
    assert "retry" not in text_of(page)
    assert "ow-badge-failed" not in page
    assert 'class="ow-bar ow-bar-canceled"' in page.partition(">nap<")[2].partition("</tr>")[0]


def test_what_a_retry_set_aside_says_so(viewer: Client) -> None:
    run = make_run(failed=True)
    make_attempt(workflow_run=run, sleep=True, failed=True)
    make_attempt(workflow_run=run, failed=True)
    type(run).objects.retry(run.pk)
    page = page_of(viewer, run)
    assert text_of(page).count("set aside by a retry") == 2
    assert page.count("ow-badge-failed") == 2


def test_parent_and_children_are_linked_both_ways(viewer: Client) -> None:
    parent = make_run(parked=True, workflow_name="parent")
    child = make_run(child=True, parent=parent, running=True, workflow_name="below")
    cleanup = make_run(cleanup_of=parent, workflow_name="parent:cleanup")
    above, below = page_of(viewer, parent), page_of(viewer, child)
    assert above.count(f'href="{on_run("change", child)}"') >= 3  # facts, timeline, attempt
    assert f'href="{on_run("change", cleanup)}"' in above
    assert f'href="{on_run("change", parent)}"' in below
    assert f'href="{on_run("change", parent)}"' in page_of(viewer, cleanup)


def test_relatives_that_do_not_exist_for_a_user_are_not_linked(
    viewer: Client, runs_admin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent = make_run(parked=True, workflow_name="secret-parent")
    child = make_run(child=True, parent=parent, running=True)
    secret = make_run(child=True, parent=child, running=True, workflow_name="secret-child")
    link_child(StepAttempt._base_manager.get(child_runs=secret), secret)
    everything = runs_admin.get_queryset
    hidden = {parent.pk, secret.pk}
    monkeypatch.setattr(
        runs_admin,
        "get_queryset",
        lambda self, request: everything(self, request).exclude(pk__in=hidden),
    )
    page = page_of(viewer, child)
    assert "secret" not in page
    assert viewer.get(on_run("change", parent)).status_code == 302
    assert viewer.get(on_run("live_run", parent)).status_code == 404
    attempts = viewer.get(url("changelist", model="stepattempt")).content.decode()
    assert "secret" not in attempts


# --- secrets --------------------------------------------------------------------------------------


def test_secrets_are_masked_by_the_names_they_are_kept_under() -> None:
    from django_openworkflow.admin.payloads import HIDDEN_KEYS

    for key in (
        "password",
        "Password",
        "api_key",
        "apiKey",
        "API-KEY",
        "card_token",
        "accessToken",
        "client.secret",
        "privateKey",
        "credentials",
        "Authorization",
        "db_passwd",
    ):
        assert masked({key: "x"}, HIDDEN_KEYS) == {key: MASK}, key
    harmless = {
        "tokenizer": 1,
        "secretary": 2,
        "key": 3,
        "passenger": 4,
        "compass": 5,
        "token": None,
    }
    assert masked(harmless, HIDDEN_KEYS) == harmless
    assert masked([{"a": {"token": {"x": 1}}}], HIDDEN_KEYS) == [{"a": {"token": MASK}}]


def test_no_page_shows_a_masked_value(viewer: Client) -> None:
    secret = {"password": "hunter2", "inner": [{"apiToken": "hunter2"}]}
    run = make_run(completed=True, input=secret, output=secret)
    attempt = make_attempt(workflow_run=run, completed=True, output=secret)
    wait = make_attempt(workflow_run=run, signal_wait=True, completed=True)
    delivery = make_delivery(step_attempt=wait, data=secret)
    for address in (
        on_run("change", run),
        on_run("live_run", run),
        url("change", attempt.pk, model="stepattempt"),
        url("change", delivery.pk, model="signaldelivery"),
    ):
        page = viewer.get(address).content.decode()
        assert "hunter2" not in page
        assert MASK in page


def test_a_project_says_what_is_shown(
    viewer: Client, runs_admin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs_admin, "redact_payload", lambda *_args: {"all": "gone"})
    monkeypatch.setattr(
        runs_admin, "redact_text", lambda *args: args[-1].replace("evangeline", "E.")
    )
    error = {"name": "Oops", "message": "evangeline was here", "stack": f"{TRACE} evangeline"}
    run = make_run(failed=True, input={"name": "evangeline"}, error=error)
    attempt = make_attempt(workflow_run=run, failed=True, error=error)
    assert "gone" in page_of(viewer, run)
    for address in (on_run("change", run), url("change", attempt.pk, model="stepattempt")):
        page = viewer.get(address).content.decode()
        assert "evangeline" not in page


def test_payloads_can_take_a_permission(
    viewer: Client, operator: Client, runs_admin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs_admin, "payload_permission", "django_openworkflow.cancel_workflowrun")
    error = {"name": "Oops", "message": "short", "stack": "the-stack"}
    run = make_run(failed=True, input="the-input", output="the-output", error=error)
    attempt = make_attempt(workflow_run=run, completed=True, output="the-step")
    wait = make_attempt(workflow_run=run, signal_wait=True, completed=True)
    delivery = make_delivery(step_attempt=wait, data="the-signal")
    addresses = (
        on_run("change", run),
        on_run("live_run", run),
        url("change", attempt.pk, model="stepattempt"),
        url("change", delivery.pk, model="signaldelivery"),
        url("start_run") + f"?again={run.pk}",
    )
    secrets = ("the-input", "the-output", "the-step", "the-signal", "the-stack")
    seen = [client.get(one).content.decode() for client in (viewer, operator) for one in addresses]
    for_viewer, for_operator = "".join(seen[: len(addresses)]), "".join(seen[len(addresses) :])
    assert not [secret for secret in secrets if secret in for_viewer]
    assert [secret for secret in secrets if secret in for_operator] == list(secrets)
    assert "Oops: short" in for_viewer


def test_a_masked_input_is_not_offered_to_be_started_again(operator: Client) -> None:
    run = make_run(workflow_name="process-order", version="2", input={"password": "hunter2"})
    page = operator.get(url("start_run") + f"?again={run.pk}").content.decode()
    assert "hunter2" not in page
    assert MASK not in page
    assert "The input holds hidden values: type it again." in page


def test_a_masked_input_does_not_change_the_workflow_to_be_started_again(operator: Client) -> None:
    @workflow("a-first-one")
    def a_first_one(step: Step) -> None: ...

    secret = make_run(workflow_name="process-order", version="2", input={"password": "hunter2"})
    plain = make_run(workflow_name="process-order", version="2", input={"order_id": 1})
    for run, initial in ((secret, None), (plain, '{\n  "order_id": 1\n}')):
        response = operator.get(url("start_run") + f"?again={run.pk}")
        page = response.content.decode()
        chosen = '<option value="[&quot;process-order&quot;, &quot;2&quot;]" selected>'
        assert page.count(chosen) == 1
        assert page.count("selected>") == 1
        assert response.context["form"].initial["input"] == initial
        assert ("hidden values" in page) == (initial is None)
