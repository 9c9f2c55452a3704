"""How children end otherwise: failed, canceled; and what a cancel does to them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from django_openworkflow import RetryPolicy, RunHandle, Step, Workflow, workflow
from django_openworkflow.exceptions import StepFailed
from django_openworkflow.models import StepAttempt, WorkflowRun
from django_openworkflow.testing import run_until_idle
from tests.engine.passes import attempts_of, database_now, raiser, tick
from tests.vocabulary.test_children import children_of

pytestmark = pytest.mark.django_db

ONCE = RetryPolicy(maximum_attempts=1)


def define_parent(child: Workflow[[], Any], **options: Any) -> Workflow[[], Any]:
    """Define a workflow that does nothing but run this child."""

    @workflow("parent")
    def parent(step: Step) -> Any:
        return step.run_workflow(child.using(**options))

    return parent


def start_parent(child: Workflow[[], Any], **options: Any) -> RunHandle[Any]:
    handle = define_parent(child, **options).start()
    run_until_idle()
    return handle


@pytest.fixture
def slow() -> Workflow[[], str]:
    """A child that takes an hour."""

    @workflow("slow")
    def slow(step: Step) -> str:
        step.sleep("work", "1h")
        return "slow output"

    return slow


# --- failed -------------------------------------------------------------------------------------


def test_the_error_object_of_a_failed_child_is_copied() -> None:
    @workflow("child")
    def child(step: Step) -> None:
        step.run("charge", raiser(ValueError("card declined")), retry_policy=ONCE)

    handle = start_parent(child)
    (failed,) = children_of(handle)
    (attempt,) = attempts_of(handle)

    assert failed.status == "failed"
    assert (failed.error["name"], failed.error["message"]) == ("ValueError", "card declined")
    assert "card declined" in failed.error["stack"]
    assert (attempt.status, attempt.output) == ("failed", None)
    assert attempt.error == failed.error
    assert handle.run.error == failed.error


def test_extra_keys_of_a_childs_error_are_copied_too(slow: Workflow[[], str]) -> None:
    error = {"message": "no", "code": 7, "details": [None, {"ä": 1}]}
    handle = start_parent(slow)
    WorkflowRun.objects.filter(workflow_name="slow").update(
        status="failed", error=error, available_at=None, finished_at=database_now()
    )
    WorkflowRun.objects.filter(pk=handle.id).update(available_at=database_now())
    run_until_idle()

    assert attempts_of(handle)[0].error == error


@pytest.mark.parametrize("error", [None, {}])
def test_a_child_that_failed_without_an_error_is_named(
    slow: Workflow[[], str], error: object
) -> None:
    handle = start_parent(slow)
    (child,) = children_of(handle)
    WorkflowRun.objects.filter(pk=child.pk).update(
        status="failed", error=error, available_at=None, finished_at=database_now()
    )
    WorkflowRun.objects.filter(pk=handle.id).update(available_at=database_now())
    run_until_idle()

    assert handle.run.error["message"] == f'Child workflow run "{child.pk}" failed'


def test_a_failed_child_is_final_for_the_parent_and_can_be_caught() -> None:
    caught: list[tuple[str, int, str]] = []
    tries: list[int] = []

    @workflow("child")
    def child(step: Step) -> None:
        tries.append(1)
        raise KeyError

    @workflow("parent", retry_policy=RetryPolicy(maximum_attempts=5))
    def parent(step: Step) -> str:
        try:
            step.run_workflow(child)
        except StepFailed as error:
            caught.append((error.step_name, error.attempts, error.error["name"]))
        step.sleep("pause", "1h")
        return "went on"

    handle = parent.start()
    run_until_idle()
    tick("1h")

    assert handle.result(timeout=0) == "went on"
    assert caught == [("child", 1, "KeyError")] * 2
    assert tries == [1]


def test_a_child_is_tried_as_often_as_its_own_policy_says_while_the_parent_waits() -> None:
    tries: list[int] = []

    @workflow("child", retry_policy=RetryPolicy(initial_interval="1m", maximum_attempts=3))
    def child(step: Step) -> str:
        tries.append(1)
        if len(tries) < 3:
            raise KeyError(len(tries))
        return "third time"

    handle = start_parent(child)
    for _ in range(2):
        assert (handle.status, handle.run.worker_id) == ("running", None)
        tick("2m")

    assert handle.result(timeout=0) == "third time"
    assert handle.run.attempts == 2  # one pass before, one after


def test_a_child_that_fails_by_its_deadline_wakes_its_parent(slow: Workflow[[], str]) -> None:
    handle = start_parent(slow, deadline_at="10m")
    tick("10m")

    message = "Workflow run deadline exceeded"
    assert children_of(handle)[0].error == {"message": message}
    assert attempts_of(handle)[0].error == {"message": message}
    assert (handle.status, handle.run.error) == ("failed", {"message": message})


def test_a_child_that_is_a_poison_pill_wakes_its_parent(slow: Workflow[[], str]) -> None:
    handle = start_parent(slow)
    WorkflowRun.objects.filter(workflow_name="slow").update(
        worker_id="dead", available_at=database_now() - timedelta(seconds=1), crashes=4
    )
    run_until_idle()

    assert handle.run.error["name"] == "PoisonPill"


# --- canceled -----------------------------------------------------------------------------------


def test_a_canceled_child_fails_the_step_with_a_message_that_names_it(
    slow: Workflow[[], str],
) -> None:
    handle = start_parent(slow, step_name="monthly report")
    (child,) = children_of(handle)
    child.cancel()
    run_until_idle()

    message = (
        f'Workflow step "monthly report" failed because child workflow run "{child.pk}" '
        "was canceled"
    )
    (attempt,) = attempts_of(handle)
    assert (attempt.status, attempt.error["message"]) == ("failed", message)
    assert (handle.status, handle.run.error["message"]) == ("failed", message)


def test_a_cancel_without_cascade_leaves_the_child_to_itself(slow: Workflow[[], str]) -> None:
    handle = start_parent(slow)
    handle.cancel()
    tick("1h")

    (child,) = children_of(handle)
    assert (child.status, child.output) == ("completed", "slow output")
    assert handle.status == "canceled"
    (attempt,) = attempts_of(handle)
    assert (attempt.status, attempt.output) == ("failed", None)  # closed by the cancel


def test_a_cascade_cancels_the_whole_tree_and_no_body_runs_any_more() -> None:
    bodies: list[int] = []

    @workflow("tree")
    def tree(step: Step, depth: int) -> None:
        if depth:
            calls = [step.call(f"branch-{number}", tree, depth - 1) for number in range(3)]
            step.gather(*calls)
        step.sleep("pause", "1h")
        step.run("body", bodies.append, depth)

    handle = tree.start(2)
    run_until_idle()
    assert WorkflowRun.objects.active().count() == 13
    outcome = WorkflowRun.objects.filter(pk=handle.id).cancel_active(cascade=True, reason="over")

    assert outcome.canceled == [handle.id]
    assert len(outcome.children_canceled) == 12
    assert not WorkflowRun.objects.active().exists()
    assert not StepAttempt.objects.filter(status="running").exists()
    tick("1h")
    assert bodies == []
    reasons = WorkflowRun.objects.values_list("cancel_reason", "cancel_source").distinct()
    assert sorted(reasons) == [("over", "api"), ("over", "cascade")]


def test_a_cascade_leaves_what_has_ended_alone(slow: Workflow[[], str]) -> None:
    @workflow("quick")
    def quick(step: Step) -> str:
        return "quick output"

    @workflow("parent")
    def parent(step: Step) -> None:
        step.gather(step.call("quick", quick), step.call("slow", slow))

    handle = parent.start()
    run_until_idle()
    handle.cancel(cascade=True)

    assert {run.workflow_name: run.status for run in WorkflowRun.objects.all()} == {
        "parent": "canceled",
        "quick": "completed",
        "slow": "canceled",
    }
