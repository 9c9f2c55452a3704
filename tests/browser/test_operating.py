"""People at work: they sign in, start, watch, cancel, retry and signal what a worker executes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from django.contrib.auth import get_user_model

from django_openworkflow import RunHandle, Step, workflow
from django_openworkflow.models import WorkflowRun
from tests.browser.pages import LOOKS, PATIENCE_SECONDS, url
from tests.factories import WorkflowRunFactory
from tests.worker.processes import MANAGE, database_url
from tests.worker.workers import Gate, attempts_of, wait_for_end, wait_until, working

if TYPE_CHECKING:
    from typing import Any

    from tests.browser.conftest import Enter

MOBILE_DARK = LOOKS[-1]


def a_run(**columns: Any) -> WorkflowRun:
    """Make a row."""
    run: WorkflowRun = WorkflowRunFactory.create(**columns)
    return run


@contextmanager
def worker_process(*arguments: str) -> Iterator[None]:
    """Let ``manage.py runworker`` work, in a process of its own."""
    process = subprocess.Popen(  # noqa: S603 - our own command
        [sys.executable, str(MANAGE), "runworker", *arguments],
        env={**os.environ, "DATABASE_URL": database_url()},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.terminate()
        assert process.wait(PATIENCE_SECONDS) == 0


def test_an_operator_signs_in_and_starts_a_run_that_a_worker_process_executes(
    enter: Enter,
) -> None:
    get_user_model().objects.create_superuser("ada", password="s3same-open")  # noqa: S106
    visitor = enter(log_in=False)
    page = visitor.visit("/admin/django_openworkflow/workflowrun/")
    page.get_by_label("Username").fill("ada")
    page.get_by_label("Password").fill("s3same-open")
    with page.expect_navigation():
        page.get_by_role("button", name="Log in").click()
    with worker_process("--queues", "reports"):
        visitor.press("Start a run")
        page.get_by_label("Workflow", exact=True).select_option(label="nightly-report (1)")
        page.get_by_label("Input").fill('{"amounts": [1, 2')
        visitor.submit()
        assert "This is not valid JSON" in page.locator(".errorlist").inner_text()
        page.get_by_label("Input").fill('{"amounts": [1, 2, 39]}')
        visitor.submit()
        [message] = visitor.messages()
        assert message.startswith("Started workflow run ")
        visitor.wait_for_badge("Completed")
        visitor.wait_for_steps("add-up", "publish")
        assert "42" in page.locator("#ow-output pre").inner_text()
    run = WorkflowRun.objects.get()
    assert (run.status, run.output) == ("completed", {"total": 42})
    assert "Started." in page.locator("#ow-audit").inner_text()


def test_a_run_is_canceled_by_its_button_while_its_step_is_in_flight(enter: Enter) -> None:
    gate = Gate()

    @workflow("long")
    def long(step: Step) -> None:
        step.run("first", gate.body)
        step.run("never", lambda: None)

    handle = long.start()
    visitor = enter()
    with gate, working():
        gate.wait_until_entered()
        page = visitor.see(handle)
        visitor.wait_for_badge("Running")
        visitor.press("Cancel run")
        assert handle.status == "running"  # the question changes nothing
        page.get_by_label("Reason").fill("wrong <b>address</b>")
        visitor.submit()
        assert visitor.messages() == ["Canceled 1 workflow run."]
        visitor.wait_for_badge("Canceled")
        gate.open()
        wait_until(lambda: attempts_of(handle) == [("first", "completed")], "the kept outcome")
    run = handle.run
    assert (run.status, run.cancel_actor, run.cancel_source) == ("canceled", "ada", "admin")
    assert run.cancel_reason == "wrong <b>address</b>"
    audit = page.locator("#ow-audit").inner_text()
    assert "Canceled in the admin by ada." in audit
    assert "wrong <b>address</b>" in audit
    assert page.get_by_text("Retry run").count() == 1


def test_a_row_has_a_button_too_and_leads_back_to_the_list(enter: Enter) -> None:
    run = a_run(workflow_name="unwanted")
    visitor = enter()
    page = visitor.visit(url("changelist") + "?status=pending")
    with page.expect_navigation():
        page.get_by_role("link", name="Cancel run: unwanted").click()
    visitor.submit()
    assert visitor.messages() == ["Canceled 1 workflow run."]
    assert "status=pending" in page.url
    assert WorkflowRun.objects.get(pk=run.pk).status == "canceled"


def test_a_mixed_selection_is_canceled_as_the_database_has_it_then(enter: Enter) -> None:
    states = ("running", "parked", "completed", "failed", "canceled")
    runs = {state: a_run(workflow_name=f"is-{state}", **{state: True}) for state in states}
    runs["pending"] = a_run(workflow_name="is-pending")
    left_alone = a_run(workflow_name="left-alone")
    visitor = enter()
    page = visitor.visit(url("changelist"))
    for run in runs.values():
        page.locator(f"input.action-select[value='{run.pk}']").check()
    visitor.choose_action("Cancel selected workflow runs")
    groups = page.locator(".ow-group").all_inner_texts()
    assert [text.split("\n")[0].rsplit(maxsplit=1)[1] for text in groups] == ["3", "2", "1"]
    assert "left-alone" not in page.locator("#content").inner_text()
    # One of them ends while the question is on the screen.
    WorkflowRun.objects.filter(pk=runs["pending"].pk).update(
        status="completed", available_at=None, finished_at=runs["pending"].created_at
    )
    page.get_by_label("Reason").fill("the shop closes")
    visitor.press("Yes, cancel them")
    assert visitor.messages() == [
        "Canceled 2 workflow runs.",
        "Skipped 3 already finished: 2 completed, 1 failed.",
        "1 already canceled.",
    ]
    statuses = dict(WorkflowRun.objects.values_list("workflow_name", "status"))
    assert statuses == {
        "is-running": "canceled",
        "is-parked": "canceled",
        "is-completed": "completed",
        "is-failed": "failed",
        "is-canceled": "canceled",
        "is-pending": "completed",
        "left-alone": "pending",
    }
    assert WorkflowRun.objects.get(pk=left_alone.pk).cancel_reason == ""


def test_a_failed_run_is_retried_and_seen_to_complete(enter: Enter) -> None:
    healed: list[int] = []

    @workflow("fragile")
    def fragile(step: Step) -> str:
        step.run("before", lambda: 1)
        if not healed:
            message = "the card reader is off"
            raise ValueError(message)
        return "paid"

    handle = fragile.start()
    visitor = enter(MOBILE_DARK)
    with working():
        wait_for_end(handle)
        page = visitor.see(handle)
        assert "the card reader is off" in page.locator("#ow-error").inner_text()
        healed.append(1)
        visitor.press("Retry run")
        page.get_by_label("Reason").fill("switched on")
        visitor.submit()
        [message] = visitor.messages()
        assert message.endswith("is pending again.")
        visitor.wait_for_badge("Completed")
        assert "paid" in page.locator("#ow-output").inner_text()
    assert attempts_of(handle) == [("before", "completed")]


def test_a_signal_reaches_the_run_that_waits_for_it(enter: Enter) -> None:
    @workflow("approval")
    def approval(step: Step) -> object:
        signal = step.wait_for_signal("approval:7")
        return signal.data if signal else None

    handle: RunHandle[Any] = approval.start()
    visitor = enter()
    with working():
        wait_until(lambda: attempts_of(handle), "the wait")
        page = visitor.see(handle)
        visitor.wait_for_badge("Sleeping")
        visitor.press("Send signal")
        assert page.get_by_label("Signal", exact=True).input_value() == "approval:7"
        page.get_by_label("Data").fill('{"by": "ada"}')
        visitor.submit()
        assert visitor.messages() == ["1 workflow run received the signal."]
        visitor.wait_for_badge("Completed")
    assert handle.run.output == {"by": "ada"}


def test_the_timeline_grows_while_somebody_looks_and_rests_when_told_to(enter: Enter) -> None:
    gates = [Gate(), Gate(), Gate()]

    @workflow("steps")
    def steps(step: Step) -> None:
        for number, gate in enumerate(gates):
            step.run(f"step-{number}", gate.body)

    handle = steps.start()
    visitor = enter()
    with gates[0], gates[1], gates[2], working():
        gates[0].wait_until_entered()
        page = visitor.see(handle)
        page.evaluate("window.isTheSamePage = true")
        visitor.wait_for_steps("step-0")
        gates[0].open()
        visitor.wait_for_steps("step-0", "step-1")
        pause = page.get_by_role("button", name="Pause live updates")
        pause.click()
        gates[1].open()
        gates[2].wait_until_entered()
        with page.expect_response("**/live/**"):
            page.get_by_role("button", name="Resume live updates").click()
            assert visitor.steps() == ["step-0", "step-1"]
        visitor.wait_for_steps("step-0", "step-1", "step-2")
        gates[2].open()
        visitor.wait_for_badge("Completed")
        assert page.evaluate("window.isTheSamePage") is True
        pause.wait_for(state="hidden")


def test_the_list_and_the_overview_follow_what_happens(enter: Enter) -> None:
    visitor = enter()
    page = visitor.visit(url("changelist"))
    page.get_by_text("0 workflow runs").wait_for()
    run = a_run(workflow_name="newcomer")
    page.locator("#ow-list").get_by_text("newcomer").wait_for()
    with working() as worker:
        visitor.visit(url("overview"))
        page.locator("#ow-workers").get_by_text(worker.name).wait_for()
        assert page.locator("#ow-card-pending .ow-big").inner_text() == "1"
        WorkflowRun.objects.cancel(run)
        page.locator("#ow-card-pending .ow-big").get_by_text("0").wait_for()


def test_the_keyboard_is_enough_to_cancel(enter: Enter) -> None:
    run = a_run()
    visitor = enter()
    page = visitor.see(run)
    button = page.locator("#ow-button-cancel_run")
    button.focus()
    assert button.evaluate("element => getComputedStyle(element).outlineStyle") != "none"
    with page.expect_navigation():
        page.keyboard.press("Enter")
    page.get_by_label("Reason").focus()
    page.keyboard.type("by keyboard")
    for _ in range(2):
        page.keyboard.press("Tab")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    assert visitor.messages() == ["Canceled 1 workflow run."]
    assert WorkflowRun.objects.get(pk=run.pk).cancel_reason == "by keyboard"


def test_who_may_only_look_has_nothing_to_press(enter: Enter) -> None:
    run = a_run()
    visitor = enter(permissions=["view_workflowrun"])
    page = visitor.see(run)
    assert page.locator(".ow-buttons a").count() == 0
    page = visitor.visit(url("changelist"))
    assert page.locator(".ow-row-button, select[name=action], #ow-start-link").count() == 0
