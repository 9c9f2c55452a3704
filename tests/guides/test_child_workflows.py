"""The guide to child workflows."""

from __future__ import annotations

import pytest

from django_openworkflow import Step, Workflow, workflow
from django_openworkflow.exceptions import StepFailed, WorkflowFailed
from django_openworkflow.models import WorkflowRun
from django_openworkflow.testing import run_until_idle
from tests.guides.playing import later, outcome, saved

pytestmark = pytest.mark.django_db


@pytest.fixture
def report() -> Workflow[[str], str]:
    @workflow("report")
    def report(step: Step, month: str) -> str:
        if month == "smarch":
            message = "no such month"
            raise ValueError(message)
        step.sleep("think", "1h")
        return f"report of {month}"

    return report


@pytest.fixture
def close(report: Workflow[[str], str]) -> Workflow[[str], str]:
    @workflow("close")
    def close(step: Step, month: str) -> str:
        return step.run_workflow(report.using(step_name="wait", timeout="2h"), month)

    return close


def child() -> WorkflowRun:
    return WorkflowRun.objects.get(workflow_name="report")


def test_a_parent_waits_without_a_worker_for_the_output_of_its_child(
    close: Workflow[[str], str],
) -> None:
    handle = close.start("may")
    run_until_idle()

    assert (handle.status, handle.run.worker_id) == ("running", None)
    assert later(handle, "1h") == "report of may"


def test_the_step_and_the_child_refer_to_each_other(close: Workflow[[str], str]) -> None:
    handle = close.start("may")
    run_until_idle()
    (attempt,) = handle.run.step_attempts.all()

    assert (attempt.step_name, attempt.kind) == ("wait", "workflow")
    assert attempt.child_workflow_run == child()
    assert child().parent_step_attempt == attempt


def test_the_error_of_a_child_fails_its_parent(close: Workflow[[str], str]) -> None:
    with pytest.raises(WorkflowFailed, match="ValueError: no such month"):
        outcome(close.start("smarch"))


def test_the_failure_of_a_child_can_be_caught(report: Workflow[[str], str]) -> None:
    @workflow("anyhow")
    def anyhow(step: Step) -> str:
        try:
            return step.run_workflow(report, "smarch")
        except StepFailed as failure:
            return f"without: {failure.error['message']}"

    assert outcome(anyhow.start()) == "without: no such month"


def test_a_parent_does_not_wait_longer_than_its_timeout(report: Workflow[[str], str]) -> None:
    @workflow("hurry")
    def hurry(step: Step) -> str:
        return step.run_workflow(report.using(timeout="1m"), "may")

    handle = hurry.start()
    run_until_idle()

    with pytest.raises(WorkflowFailed, match="Timed out waiting for child workflow to complete"):
        later(handle, "1m")
    assert child().status == "running"


def test_a_canceled_child_fails_the_step_that_waits_for_it(close: Workflow[[str], str]) -> None:
    handle = close.start("may")
    run_until_idle()
    child().cancel()

    with pytest.raises(WorkflowFailed, match=f'child workflow run "{child().pk}" was canceled'):
        outcome(handle)


@pytest.mark.parametrize(("cascade", "status"), [(True, "canceled"), (False, "running")])
def test_a_cancel_reaches_children_when_it_is_told_to(
    close: Workflow[[str], str], *, cascade: bool, status: str
) -> None:
    handle = close.start("may")
    run_until_idle()
    handle.cancel(cascade=cascade)

    assert (handle.status, child().status) == ("canceled", status)


def test_a_step_starts_one_child_however_often_it_is_replayed() -> None:
    @workflow("report")
    def quick(step: Step) -> None: ...

    @workflow("twice")
    def twice(step: Step) -> None:
        step.run_workflow(quick)
        step.sleep("nap", "1h")

    handle = twice.start()
    run_until_idle()
    later(handle, "1h")

    assert child().status == "completed"
    assert saved(handle) == [("report", "completed"), ("nap", "completed")]
