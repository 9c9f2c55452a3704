"""Child runs: the rows, the output, the options, and replays."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from django_openworkflow import RunHandle, Step, Workflow, workflow
from django_openworkflow.durations import one_year_after
from django_openworkflow.exceptions import InvalidInput
from django_openworkflow.models import StepAttempt, WorkflowRun
from django_openworkflow.store.base import ClaimRequest
from django_openworkflow.store.factory import store_for
from django_openworkflow.testing import run_until_idle
from tests.engine.passes import attempts_of, database_now, noting, step_names, tick
from tests.factories import StepAttemptFactory, WorkflowRunFactory
from tests.vocabulary.test_signals import due_at

pytestmark = pytest.mark.django_db


def order_report(step: Step, order_id: int) -> None:
    """Be a workflow's function without being a workflow."""


@pytest.fixture
def report() -> Workflow[[int], dict[str, int]]:
    """A child that takes an hour."""

    @workflow("report", version="3", queue="slow")
    def report(step: Step, order_id: int) -> dict[str, int]:
        step.sleep("work", "1h")
        return {"order": order_id}

    return report


def children_of(handle: RunHandle[Any]) -> list[WorkflowRun]:
    """Return a run's children, oldest first."""
    rows = WorkflowRun.objects.filter(parent_step_attempt__workflow_run=handle.id)
    return list(rows.order_by("created_at", "pk"))


def start_parent(child: Workflow[[int], dict[str, int]]) -> RunHandle[Any]:
    @workflow("parent")
    def parent(step: Step) -> list[Any]:
        return ["got", step.run_workflow(child, 7)]

    handle = parent.start()
    run_until_idle()
    return handle


@pytest.mark.parametrize("child", ["report", order_report, None], ids=["text", "function", "none"])
def test_what_is_no_workflow_is_refused_with_clear_words(child: Any) -> None:
    @workflow("parent")
    def parent(step: Step) -> None:
        step.run_workflow(child)

    handle = parent.start()
    run_until_idle()

    assert handle.run.error["name"] == "InvalidInput"
    assert handle.run.error["message"] == f"run_workflow() takes a workflow, not {child!r}"
    assert attempts_of(handle) == []


# --- the rows -----------------------------------------------------------------------------------


def test_parent_attempt_and_child_refer_to_each_other(
    report: Workflow[[int], dict[str, int]],
) -> None:
    handle = start_parent(report)

    (attempt,) = attempts_of(handle)
    (child,) = children_of(handle)
    assert (attempt.step_name, attempt.kind, attempt.status) == ("report", "workflow", "running")
    assert attempt.context.keys() == {"kind", "timeoutAt"}
    assert attempt.context["kind"] == "workflow"
    assert (attempt.child_workflow_run_namespace_id, attempt.child_workflow_run_id) == (
        "default",
        child.pk,
    )
    assert (child.parent_step_attempt_namespace_id, child.parent_step_attempt_id) == (
        "default",
        attempt.pk,
    )
    assert child.idempotency_key == f"__workflow:default:{attempt.pk}"
    assert (child.workflow_name, child.version, child.queue) == ("report", "3", "slow")
    assert (child.input, child.deadline_at) == ({"order_id": 7}, None)


def test_the_parent_waits_without_a_worker_for_a_calendar_year(
    report: Workflow[[int], dict[str, int]],
) -> None:
    before = database_now()
    handle = start_parent(report)
    run = handle.run
    (attempt,) = attempts_of(handle)

    assert (run.status, run.worker_id) == ("running", None)
    assert datetime.fromisoformat(attempt.context["timeoutAt"]) == run.available_at
    assert one_year_after(before) <= due_at(handle)
    assert due_at(handle) <= one_year_after(database_now()) + timedelta(milliseconds=1)


def test_the_childs_output_is_the_steps_output(report: Workflow[[int], dict[str, int]]) -> None:
    handle = start_parent(report)
    passes = tick("1h")

    assert passes == 2  # the child's, then the parent's
    (attempt,) = attempts_of(handle)
    assert (attempt.status, attempt.output) == ("completed", {"order": 7})
    assert handle.result(timeout=0) == ["got", {"order": 7}]
    assert children_of(handle)[0].status == "completed"


@pytest.mark.parametrize("output", [None, 0, False, "", [], {"a": None}])
def test_any_output_of_a_child_comes_through(output: object) -> None:
    @workflow("child")
    def child(step: Step) -> object:
        return output

    @workflow("parent")
    def parent(step: Step) -> list[Any]:
        first = step.run_workflow(child)
        step.sleep("pause", "1h")
        return [first]

    handle = parent.start()
    run_until_idle()
    is_null = StepAttempt.objects.filter(step_name="child", output__isnull=True).exists()
    tick("1h")

    assert is_null is (output is None)
    assert handle.result(timeout=0) == [output]


def test_a_child_wakes_its_parent_in_the_transaction_in_which_it_ends(
    report: Workflow[[int], dict[str, int]],
) -> None:
    handle = start_parent(report)
    WorkflowRun.objects.filter(pk=handle.id).update(queue="elsewhere")
    (child,) = children_of(handle)
    child.cancel()
    run = handle.run

    assert (run.status, run.worker_id) == ("running", None)
    assert due_at(handle) <= database_now()


# --- options ------------------------------------------------------------------------------------


def test_options_of_a_child(report: Workflow[[int], dict[str, int]]) -> None:
    ends_at = datetime(2999, 5, 17, 8, 0, tzinfo=UTC)

    @workflow("parent")
    def parent(step: Step) -> None:
        child = report.using(
            step_name="monthly",
            timeout=ends_at,
            available_at="2h",
            deadline_at="9h",
            priority=5,
            idempotency_key="ignored: a child's key is its step attempt's",
        )
        step.run_workflow(child, 7)

    handle = parent.start()
    run_until_idle()

    (attempt,) = attempts_of(handle)
    (child,) = children_of(handle)
    assert (attempt.step_name, attempt.context["timeoutAt"]) == (
        "monthly",
        "2999-05-17T08:00:00.000Z",
    )
    assert handle.run.available_at == ends_at
    assert child.priority == 5
    assert child.idempotency_key == f"__workflow:default:{attempt.pk}"
    assert child.available_at is not None
    assert child.deadline_at is not None
    lead = child.available_at - child.created_at
    assert timedelta(hours=2) <= lead < timedelta(hours=2, minutes=1)
    assert child.deadline_at - child.available_at == pytest.approx(
        timedelta(hours=7), abs=timedelta(seconds=1)
    )


def test_children_are_named_in_call_order_beside_all_other_steps() -> None:
    @workflow("child")
    def child(step: Step, number: int) -> int:
        return number

    @workflow("parent")
    def parent(step: Step) -> list[int]:
        step.run("child", lambda: None)
        return [step.run_workflow(child, number) for number in range(3)]

    handle = parent.start()
    run_until_idle()

    assert handle.result(timeout=0) == [0, 1, 2]
    assert step_names(handle) == ["child", "child:1", "child:2", "child:3"]


def test_wrong_arguments_of_a_child_are_refused_before_anything_is_saved(
    report: Workflow[[int], dict[str, int]],
) -> None:
    @workflow("parent")
    def parent(step: Step) -> None:
        with pytest.raises(InvalidInput):
            step.run_workflow(report)  # type: ignore[call-arg]
        step.run("report", lambda: None)  # the name is still free

    handle = parent.start()
    run_until_idle()

    assert handle.status == "completed"
    assert step_names(handle) == ["report"]
    assert children_of(handle) == []


# --- replays ------------------------------------------------------------------------------------


def test_replays_start_no_second_child_and_ask_the_first_one_only_once() -> None:
    bodies: list[str] = []

    @workflow("child")
    def child(step: Step) -> str:
        return step.run("body", noting(bodies, "child"))

    @workflow("parent")
    def parent(step: Step) -> str:
        step.sleep("before", "1h")
        output = step.run_workflow(child)
        for name in ("one", "two"):
            step.sleep(name, "1h")
        return output

    handle = parent.start()
    run_until_idle()
    for _ in range(3):
        tick("1h")

    assert handle.result(timeout=0) == "child"
    assert bodies == ["child"]
    assert len(children_of(handle)) == 1


def claim_and_die(workflow_name: str) -> None:
    """Claim a run as a worker that is never heard of again."""
    claimed = store_for("default").claim(
        ClaimRequest(
            worker_name="doomed", limit=1, lease_seconds=30, workflows=[(workflow_name, None)]
        )
    )
    assert len(claimed) == 1


def test_a_parent_whose_worker_died_before_its_child_was_started_starts_one() -> None:
    @workflow("child")
    def child(step: Step) -> str:
        return "done"

    @workflow("parent")
    def parent(step: Step) -> str:
        return step.run_workflow(child)

    handle = parent.start()
    claim_and_die("parent")
    assert run_until_idle() == 0
    tick("30s")

    assert handle.result(timeout=0) == "done"
    assert len(children_of(handle)) == 1


def test_a_parent_whose_worker_died_while_its_child_ran_goes_on_with_that_child() -> None:
    @workflow("child")
    def child(step: Step) -> str:
        return "done"

    @workflow("parent")
    def parent(step: Step) -> str:
        step.sleep("before", "1m")
        return step.run_workflow(child.using(available_at="1h"))

    handle = parent.start()
    run_until_idle()
    tick("1m")
    WorkflowRun.objects.filter(pk=handle.id).update(available_at=database_now())
    claim_and_die("parent")  # woken for nothing, and lost
    tick("1h")

    assert handle.result(timeout=0) == "done"
    assert len(children_of(handle)) == 1
    assert handle.run.crashes == 0  # progress was made since


@pytest.mark.parametrize("is_started", [False, True])
def test_an_attempt_that_another_client_left_without_its_child_gets_one(
    *, is_started: bool
) -> None:
    """The original inserts the attempt, the child and the link in three transactions."""

    @workflow("child")
    def child(step: Step) -> str:
        return "done"

    @workflow("parent")
    def parent(step: Step) -> str:
        return step.run_workflow(child)

    run = WorkflowRunFactory.create(workflow_name="parent")
    attempt = StepAttemptFactory.create(workflow_run=run, step_name="child", workflow=True)
    started: set[UUID | None] = set()
    if is_started:
        key = f"__workflow:default:{attempt.pk}"
        theirs = WorkflowRunFactory.create(workflow_name="child", idempotency_key=key)
        started.add(theirs.pk)
    run_until_idle()
    run.refresh_from_db()
    attempt.refresh_from_db()

    assert (run.status, run.output) == ("completed", "done")
    assert (attempt.status, attempt.output) == ("completed", "done")
    assert StepAttempt.objects.filter(workflow_run=run).count() == 1
    children = WorkflowRun.objects.filter(workflow_name="child")
    assert {each.pk for each in children} == (started or {attempt.child_workflow_run_id})
    assert children.get().idempotency_key == f"__workflow:default:{attempt.pk}"
