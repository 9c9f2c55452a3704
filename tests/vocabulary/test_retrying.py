"""``retry()``: a failed or canceled run goes on where it stood, with fresh budgets."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import transaction

from django_openworkflow import RetryPolicy, RunHandle, Step, Workflow, signals, workflow
from django_openworkflow.exceptions import RunNotFound, RunNotRetryable
from django_openworkflow.models import StepAttempt, WorkflowRun
from django_openworkflow.testing import run_until_idle
from tests.engine.passes import attempts_of, noting, tick
from tests.factories import WorkflowRunFactory

pytestmark = pytest.mark.django_db

ONCE = RetryPolicy(maximum_attempts=1)


class Flaky:
    """A body that fails so many times."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self.calls <= self.failures:
            message = f"failure {self.calls}"
            raise LookupError(message)
        return "found"


def run_and_retry(handle: RunHandle[Any]) -> WorkflowRun:
    """Execute what is due, retry the run, and return it as it is then."""
    run_until_idle()
    return WorkflowRun.objects.retry(handle.id)


@pytest.fixture
def retried() -> Iterator[list[WorkflowRun]]:
    """Collect the runs that ``run_retried`` is sent for."""
    found: list[WorkflowRun] = []

    def receive(sender: Any, run: WorkflowRun, **_facts: Any) -> None:
        found.append(run)

    signals.run_retried.connect(receive, weak=False)
    yield found
    signals.run_retried.disconnect(receive)


# --- what it does -------------------------------------------------------------------------------


def looking(flaky: Flaky, calls: list[str]) -> Workflow[[], str]:
    @workflow("looking")
    def looking(step: Step) -> str:
        step.run("before", noting(calls, "before"))
        return step.run("look", flaky, retry_policy=ONCE)

    return looking


def test_a_failed_run_goes_on_after_its_completed_steps() -> None:
    calls: list[str] = []
    handle = looking(Flaky(1), calls).start()
    run = run_and_retry(handle)

    assert (run.status, run.error, run.failures, run.crashes) == ("pending", None, 0, 0)
    assert (run.finished_at, run.started_at, run.worker_id) == (None, None, None)
    run_until_idle()
    assert (handle.result(timeout=0), calls) == ("found", ["before"])
    assert [(row.step_name, row.status) for row in attempts_of(handle)] == [
        ("before", "completed"),
        ("look", "failed"),
        ("look", "completed"),
    ]


def test_the_budget_of_a_step_is_fresh() -> None:
    flaky = Flaky(5)
    policy = RetryPolicy(maximum_attempts=3, initial_interval="1m", maximum_interval="1h")

    @workflow("looking")
    def looking(step: Step) -> str:
        return step.run("look", flaky, retry_policy=policy)

    handle = looking.start()
    for _ in range(3):
        tick("10m")
    assert (handle.status, flaky.calls) == ("failed", 3)
    WorkflowRun.objects.retry(handle.id)
    run_until_idle()
    assert (handle.status, flaky.calls) == ("pending", 4)  # the first of three
    tick("1m")
    tick("2m")

    assert (handle.result(timeout=0), flaky.calls) == ("found", 6)


def test_the_budget_of_the_workflow_is_fresh() -> None:
    flaky = Flaky(3)

    @workflow("flaky", retry_policy=RetryPolicy(maximum_attempts=2, initial_interval="1m"))
    def careless(step: Step) -> str:
        return flaky()

    handle = careless.start()
    tick("0s")
    tick("1m")
    assert (handle.status, flaky.calls) == ("failed", 2)
    run_and_retry(handle)
    run_until_idle()
    assert handle.status == "pending"
    tick("1m")

    assert handle.result(timeout=0) == "found"


def test_a_failure_that_was_caught_is_looked_into_again_before_the_steps_after_it() -> None:
    calls: list[str] = []
    flaky, end = Flaky(1), Flaky(1)

    @workflow("careful")
    def careful(step: Step) -> str:
        try:
            found = step.run("look", flaky, retry_policy=ONCE)
        except Exception:
            found = "nothing"
        step.run("note", noting(calls, "note"))
        step.run("end", end, retry_policy=ONCE)
        return found

    handle = careful.start()
    run_and_retry(handle)
    run_until_idle()

    assert handle.status == "completed"
    assert (flaky.calls, end.calls, calls) == (2, 2, ["note"])


def test_a_canceled_run_goes_on_and_its_waits_begin_anew() -> None:
    @workflow("waiting")
    def waiting(step: Step) -> None:
        step.sleep("pause", "10h")

    handle = waiting.start()
    run_until_idle()
    tick("9h")
    handle.cancel(reason="rain", actor="ada")
    run = WorkflowRun.objects.retry(handle.id)
    assert (run.cancel_reason, run.cancel_actor, run.cancel_source) == ("", "", "")
    run_until_idle()
    tick("9h")
    assert handle.status == "running"  # the first sleep would be over for long
    tick("1h")

    assert handle.status == "completed"
    assert [row.status for row in attempts_of(handle)] == ["failed", "completed"]


def test_a_child_that_was_canceled_is_started_anew() -> None:
    @workflow("child")
    def child(step: Step) -> str:
        step.sleep("pause", "1h")
        return "grown"

    @workflow("parent")
    def parent(step: Step) -> str:
        return step.run_workflow(child)

    handle = parent.start()
    run_until_idle()
    WorkflowRun.objects.cancel(WorkflowRun.objects.get(workflow_name="child"))
    run_until_idle()
    assert handle.status == "failed"
    WorkflowRun.objects.retry(handle.id)
    run_until_idle()
    tick("1h")

    assert handle.result(timeout=0) == "grown"
    children = WorkflowRun.objects.filter(workflow_name="child").order_by("pk")
    assert [run.status for run in children] == ["canceled", "completed"]


@pytest.mark.parametrize(("passes", "is_lifted"), [("2h", True), ("0s", False)])
def test_a_deadline_is_lifted_only_when_it_has_passed(passes: str, *, is_lifted: bool) -> None:
    flaky = Flaky(1)

    @workflow("looking")
    def looking(step: Step) -> str:
        return step.run("look", flaky, retry_policy=ONCE)

    handle = looking.using(deadline_at="1h").start()
    run_until_idle()
    assert handle.status == "failed"
    tick(passes)
    run = WorkflowRun.objects.retry(handle.id)
    run_until_idle()

    assert (run.deadline_at is None, handle.status) == (is_lifted, "completed")


def test_a_run_can_be_given_by_its_id_its_text_or_itself() -> None:
    for given in (lambda run: run, lambda run: run.pk, lambda run: str(run.pk)):
        run = WorkflowRunFactory.create(failed=True)
        assert WorkflowRun.objects.retry(given(run)).status == "pending"


# --- refused ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trait", "status"),
    [
        ("scheduled", "pending"),
        ("running", "running"),
        ("parked", "running"),
        ("sleeping_legacy", "sleeping"),
        ("completed", "completed"),
        ("succeeded_legacy", "succeeded"),
    ],
)
def test_only_failed_and_canceled_runs_can_be_retried(trait: str, status: str) -> None:
    run = WorkflowRunFactory.create(**{trait: True})
    before = WorkflowRun.objects.filter(pk=run.pk).values().get()
    with pytest.raises(RunNotRetryable) as caught:
        WorkflowRun.objects.retry(run)

    assert str(caught.value) == f"Cannot retry workflow run {run.pk} with status {status}"
    assert (caught.value.run_id, caught.value.status) == (run.pk, status)
    assert WorkflowRun.objects.filter(pk=run.pk).values().get() == before


@pytest.mark.parametrize("missing", [uuid.UUID(int=7), str(uuid.UUID(int=7)), "nonsense"])
def test_a_run_that_does_not_exist_cannot_be_retried(missing: uuid.UUID | str) -> None:
    with pytest.raises(RunNotFound, match=f"^Workflow run {missing} does not exist$"):
        WorkflowRun.objects.retry(missing)


# --- transactions -------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_the_signal_is_sent_once_after_the_commit(retried: list[WorkflowRun]) -> None:
    run = WorkflowRunFactory.create(failed=True)
    with transaction.atomic():
        WorkflowRun.objects.retry(run)
        assert retried == []

    assert [(found.pk, found.status) for found in retried] == [(run.pk, "pending")]


@pytest.mark.django_db(transaction=True)
def test_a_rollback_undoes_it_and_no_signal_is_sent(retried: list[WorkflowRun]) -> None:
    handle = looking(Flaky(1), []).start()
    run_until_idle()
    rows = StepAttempt.objects.filter(workflow_run=handle.id).order_by("pk")
    before = [list(WorkflowRun.objects.values()), list(rows.values())]
    with transaction.atomic():
        WorkflowRun.objects.retry(handle.id)
        transaction.set_rollback(True)

    assert [list(WorkflowRun.objects.values()), list(rows.values())] == before
    assert retried == []


@pytest.mark.django_db(transaction=True)
def test_async_code_retries_as_sync_code_does() -> None:
    failed = WorkflowRunFactory.create(failed=True)
    canceled = WorkflowRunFactory.create(canceled=True)
    assert async_to_sync(WorkflowRun.objects.all().aretry)(failed.pk).status == "pending"
    assert async_to_sync(canceled.aretry)().status == "pending"
