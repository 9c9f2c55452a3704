"""What the package's dashboard asks, answered through the views."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from django_openworkflow.models import WorkflowRun
from tests.factories import StepAttemptFactory, WorkflowRunFactory

if TYPE_CHECKING:
    from tests.interop.node import Node
    from tests.interop.test_runs import Sides, Start

RUN = {
    "namespaceId", "id", "workflowName", "version", "status", "idempotencyKey", "config", "context",
    "input", "output", "error", "attempts", "parentStepAttemptNamespaceId", "parentStepAttemptId",
    "workerId", "availableAt", "deadlineAt", "startedAt", "finishedAt", "createdAt", "updatedAt",
}  # fmt: skip
STEP = {
    "namespaceId", "id", "workflowRunId", "stepName", "kind", "status", "config", "context",
    "output", "error", "childWorkflowRunNamespaceId", "childWorkflowRunId", "startedAt",
    "finishedAt", "createdAt", "updatedAt",
}  # fmt: skip


def test_counts_have_the_five_statuses(node: Node) -> None:
    WorkflowRunFactory.create_batch(2)
    for trait in ("running", "parked", "sleeping_legacy", "completed", "succeeded_legacy"):
        WorkflowRunFactory.create(**{trait: True})
    WorkflowRunFactory.create(failed=True)
    WorkflowRunFactory.create(canceled=True)
    WorkflowRunFactory.create(namespace_id="other")
    counts = {"pending": 2, "running": 3, "completed": 2, "failed": 1, "canceled": 1}
    assert node.call("counts") == counts


def test_lists_filter_by_status_and_name(node: Node) -> None:
    failed = WorkflowRunFactory.create(failed=True)
    named = WorkflowRunFactory.create(workflow_name="reports")
    WorkflowRunFactory.create(workflow_name="reports", completed=True)
    WorkflowRunFactory.create(namespace_id="other")
    assert len(node.call("list")["data"]) == 3
    assert [run["id"] for run in node.call("list", status="failed")["data"]] == [str(failed.pk)]
    found = node.call("list", status="pending", workflowName="reports")["data"]
    assert [run["id"] for run in found] == [str(named.pk)]


def test_details_have_the_columns_of_the_original_and_no_others(
    node: Node, start: Start, sides: Sides
) -> None:
    handle = start("py", "script", ["return", "a", {"n": 1}], ["child", "ts-script", {"steps": []}])
    sides["py"]()
    run = node.call("get", id=str(handle.id))
    assert run.keys() == RUN
    assert (run["workflowName"], run["status"], run["workerId"]) == ("script", "running", None)
    function, child = node.call("steps", id=str(handle.id))["data"]
    assert function.keys() == child.keys() == STEP
    assert function["output"] == {"n": 1}
    assert node.call("get", id=child["childWorkflowRunId"])["parentStepAttemptId"] == child["id"]
    assert node.call("get", id=str(WorkflowRunFactory.build().pk)) is None


def test_its_cancel_button_works(node: Node) -> None:
    run = WorkflowRunFactory.create(parked=True)
    StepAttemptFactory.create(workflow_run=run, sleep=True)
    node.call("cancel", id=str(run.pk))
    assert WorkflowRun.objects.get(pk=run.pk).status == "canceled"


@pytest.mark.parametrize("limit", [1, 2, 7])
def test_pages_of_steps_go_both_ways(limit: int, node: Node) -> None:
    run = WorkflowRunFactory.create(running=True)
    steps = [str(StepAttemptFactory.create(workflow_run=run).pk) for _ in range(5)]
    page = node.call("steps", id=str(run.pk), limit=limit)
    seen = page["data"]
    while after := page["pagination"]["next"]:
        page = node.call("steps", id=str(run.pk), limit=limit, after=after)
        seen += page["data"]
    assert [step["id"] for step in seen] == steps
