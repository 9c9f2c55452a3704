"""The guide to deadlines."""

from __future__ import annotations

import pytest

from django_openworkflow import RetryPolicy, Step, Workflow, workflow
from django_openworkflow.exceptions import WorkflowFailed
from django_openworkflow.models import WorkflowRun
from django_openworkflow.store.factory import store_for
from django_openworkflow.store.sweeps import fail_overdue
from django_openworkflow.testing import advance, run_until_idle
from tests.guides.playing import failing, later, outcome

pytestmark = pytest.mark.django_db


@pytest.fixture
def deliver() -> Workflow[[], str]:
    @workflow("deliver")
    def deliver(step: Step) -> str:
        step.sleep("road", "1h")
        return "delivered"

    return deliver


def test_a_run_that_ends_in_time_is_not_disturbed(deliver: Workflow[[], str]) -> None:
    handle = deliver.using(deadline_at="2h").start()
    run_until_idle()

    assert later(handle, "1h") == "delivered"


def test_a_run_that_misses_its_deadline_fails(deliver: Workflow[[], str]) -> None:
    handle = deliver.using(deadline_at="30m").start()
    run_until_idle()

    with pytest.raises(WorkflowFailed, match="Workflow run deadline exceeded"):
        later(handle, "30m")


def test_a_run_whose_deadline_has_passed_never_begins() -> None:
    calls: list[int] = []

    @workflow("note")
    def note(step: Step) -> None:
        calls.append(1)

    handle = note.using(deadline_at="1m").start()
    advance("1m")
    run_until_idle()

    assert (handle.status, calls) == ("failed", [])


def test_a_retry_that_would_come_too_late_does_not_take_place() -> None:
    body = failing(9, None)

    @workflow("ask")
    def ask(step: Step) -> None:
        step.run("ask", body, retry_policy=RetryPolicy(initial_interval="1m"))

    with pytest.raises(WorkflowFailed, match="no answer"):
        outcome(ask.using(deadline_at="30s").start())


def test_the_body_in_flight_at_the_deadline_keeps_its_outcome() -> None:
    def slow() -> str:
        advance("1h")
        assert len(fail_overdue(store_for("default"))) == 1  # as a worker does meanwhile
        return "done"

    calls: list[int] = []

    @workflow("slow")
    def working(step: Step) -> None:
        step.run("slow", slow)
        step.run("next", calls.append, 1)

    handle = working.using(deadline_at="30m").start()
    run_until_idle()

    (attempt,) = handle.run.step_attempts.all()
    assert (handle.status, attempt.status, attempt.output) == ("failed", "completed", "done")
    assert calls == []


def test_a_child_has_no_deadline_of_its_parent(deliver: Workflow[[], str]) -> None:
    @workflow("parent")
    def parent(step: Step) -> str:
        return step.run_workflow(deliver)

    handle = parent.using(deadline_at="30m").start()
    run_until_idle()
    advance("30m")
    run_until_idle()

    child = WorkflowRun.objects.get(workflow_name="deliver")
    assert (handle.status, child.status, child.deadline_at) == ("failed", "running", None)


def test_a_retry_lifts_a_deadline_that_has_passed(deliver: Workflow[[], str]) -> None:
    handle = deliver.using(deadline_at="30m").start()
    run_until_idle()
    advance("30m")
    run_until_idle()
    handle.run.retry()
    run_until_idle()

    assert later(handle, "1h") == "delivered"
