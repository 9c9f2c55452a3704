"""Runs that wait for a child in the other language."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from django_openworkflow.exceptions import WorkflowFailed
from django_openworkflow.models import WorkflowRun
from tests.interop.conftest import days_to_wait, make_due
from tests.interop.test_runs import Sides, Start, begin_in_the_past

if TYPE_CHECKING:
    from django_openworkflow import RunHandle
    from tests.interop.node import Node

# The parent's side, and the workflow that only the other side executes.
PARENTS = (("py", "ts-script"), ("ts", "py-script"))
OTHER = {"py": "ts", "ts": "py"}
each_parent = pytest.mark.parametrize(("parent", "child"), PARENTS)


def child_of(handle: RunHandle[object]) -> WorkflowRun:
    return WorkflowRun.objects.get(parent_step_attempt__workflow_run=handle.id)


def begin(start: Start, sides: Sides, parent: str, child: str, *steps: object) -> RunHandle[object]:
    """Start a run that waits for a child, and execute it as far as that."""
    given = {"steps": list(steps)}
    handle = start("py", "script", ["child", child, given, "1h"], ["return", "z", 26])
    sides[parent]()
    wait = handle.run.step_attempts.get()
    run = child_of(handle)
    assert (wait.kind, wait.context["kind"]) == ("workflow", "workflow")
    assert (wait.child_workflow_run_id, wait.child_workflow_run_namespace_id) == (
        run.pk,
        run.namespace_id,
    )
    assert run.idempotency_key == f"__workflow:default:{wait.pk}"
    assert run.parent_step_attempt_namespace_id == "default"
    assert (run.status, run.workflow_name, run.input) == ("pending", child, given)
    assert (handle.status, handle.run.worker_id) == ("running", None)
    return handle


@each_parent
def test_a_child_of_the_other_side_answers(
    parent: str, child: str, start: Start, sides: Sides
) -> None:
    handle = begin(start, sides, parent, child, ["return", "a", {"n": 1}])
    sides[OTHER[parent]]()
    assert child_of(handle).status == "completed"
    sides[parent]()
    assert handle.result(timeout=10) == [[{"n": 1}], 26]


@each_parent
def test_the_error_of_a_child_is_the_parents(
    parent: str, child: str, start: Start, sides: Sides
) -> None:
    handle = begin(start, sides, parent, child, ["raise", "no luck"])
    sides[OTHER[parent]]()
    sides[parent]()
    error, cause = handle.run.error, child_of(handle).error
    assert (error["name"], error["message"]) == ("TypeError", "no luck")
    assert error["stack"] == cause["stack"]
    assert handle.run.step_attempts.get().error == error


@each_parent
@pytest.mark.parametrize("canceler", ["py", "ts"])
def test_a_canceled_child_fails_its_parent_and_is_named(
    parent: str, child: str, canceler: str, start: Start, sides: Sides, node: Node
) -> None:
    handle = begin(start, sides, parent, child, ["sleep", "nap", "1h"])
    run = child_of(handle)
    if canceler == "py":
        run.cancel()
    else:
        node.call("cancel", id=str(run.pk))
    sides[parent]()
    words = f'Workflow step "{child}" failed because child workflow run "{run.pk}" was canceled'
    assert handle.run.error["message"] == words
    with pytest.raises(WorkflowFailed, match=words):
        handle.result(timeout=10)


@each_parent
@pytest.mark.parametrize("late", ["same", "other"])
def test_a_child_that_is_late_fails_its_parent(
    parent: str, child: str, late: str, start: Start, sides: Sides
) -> None:
    handle = begin(start, sides, parent, child, ["sleep", "nap", "1h"])
    begin_in_the_past(handle.run.step_attempts.get())
    make_due(handle)
    sides[parent if late == "same" else OTHER[parent]]()
    assert handle.run.error["message"] == "Timed out waiting for child workflow to complete"
    assert child_of(handle).status in {"pending", "running"}


@each_parent
def test_a_wait_without_a_timeout_in_its_context_lasts_a_year(
    parent: str, child: str, start: Start, sides: Sides
) -> None:
    handle = begin(start, sides, parent, child, ["return", "a", 1])
    handle.run.step_attempts.update(context={"kind": "workflow", "timeoutAt": None})
    make_due(handle)
    sides[parent]()
    assert days_to_wait(handle) in {364, 365, 366}
    sides[OTHER[parent]]()
    sides[parent]()
    assert handle.result(timeout=10) == [[1], 26]


@each_parent
@pytest.mark.parametrize("begun", ["attempt", "child"])
def test_a_parent_that_died_before_the_link_goes_on(
    parent: str, child: str, begun: str, start: Start, sides: Sides
) -> None:
    """TypeScript writes the attempt, the child and the link in three transactions."""
    handle = begin(start, sides, parent, child, ["return", "a", 1])
    handle.run.step_attempts.update(child_workflow_run=None, child_workflow_run_namespace_id=None)
    if begun == "attempt":
        child_of(handle).delete()
    make_due(handle)
    for side in (parent, OTHER[parent], parent):
        sides[side]()
    assert handle.result(timeout=10) == [[1], 26]
    assert WorkflowRun.objects.count() == 2


@each_parent
def test_the_other_side_takes_over_a_parent_without_its_child(
    parent: str, child: str, start: Start, sides: Sides
) -> None:
    handle = begin(start, sides, parent, child, ["return", "a", 1])
    handle.run.step_attempts.update(child_workflow_run=None, child_workflow_run_namespace_id=None)
    child_of(handle).delete()
    make_due(handle)
    sides[OTHER[parent]]()
    assert handle.result(timeout=10) == [[1], 26]
    assert handle.run.step_attempts.filter(kind="workflow").count() == 1
