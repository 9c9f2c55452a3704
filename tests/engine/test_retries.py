"""Retries of steps: when, how often, and what is left when they are used up."""

from __future__ import annotations

from datetime import timedelta

import pytest

from django_openworkflow import RetryPolicy, RunHandle, Step, workflow
from django_openworkflow.exceptions import StepFailed, WorkflowFailed
from django_openworkflow.models import WorkflowRun
from django_openworkflow.states import RunStatus
from django_openworkflow.testing import advance, run_until_idle
from tests.engine.passes import attempts_of, database_now, raiser, tick

pytestmark = pytest.mark.django_db

ONCE = RetryPolicy(maximum_attempts=1)
SLOW = RetryPolicy(initial_interval="1m")


class CardRefused(Exception):
    """What a payment provider says."""

    def __init__(self, number: int = 1) -> None:
        super().__init__(f"refusal {number}")


def failing_workflow(policy: RetryPolicy | None, calls: list[int]) -> RunHandle[None]:
    """Start a workflow whose only step always fails."""

    def charge() -> None:
        calls.append(1)
        raise CardRefused(len(calls))

    @workflow("charging")
    def charging(step: Step) -> None:
        if policy is None:
            step.run("charge", charge)
        else:
            step.run("charge", charge, retry_policy=policy)

    return charging.start()


# --- when ---------------------------------------------------------------------------------------


def test_the_pause_before_each_try_is_the_one_of_the_policy_by_the_databases_clock() -> None:
    handle = failing_workflow(None, [])
    for seconds in (1, 2, 4, 8, 16, 32, 64, 100, 100):
        pause, margin = timedelta(seconds=seconds), timedelta(seconds=30)
        before = database_now()
        assert run_until_idle() == 1
        run = handle.run
        assert run.available_at is not None
        assert before + pause <= run.available_at <= database_now() + pause
        assert (run.status, run.worker_id, run.started_at) == ("pending", None, None)
        if pause > margin:
            assert tick(pause - margin) == 0  # never early
            advance(margin)
        else:
            advance(pause)

    assert run_until_idle() == 1
    assert handle.status == "failed"


def test_a_step_is_tried_ten_times_by_default_and_then_the_run_fails() -> None:
    calls: list[int] = []
    handle = failing_workflow(None, calls)
    for _ in range(20):
        tick("100s")

    assert len(calls) == 10
    assert handle.status == "failed"
    assert [attempt.status for attempt in attempts_of(handle)] == ["failed"] * 10
    assert handle.run.failures == 1  # of the workflow; the step's are its attempts


def test_a_policy_of_three_attempts_is_three_attempts() -> None:
    calls: list[int] = []
    failing_workflow(RetryPolicy(maximum_attempts=3, initial_interval="5s"), calls)
    for _ in range(10):
        tick("5m")

    assert len(calls) == 3


def test_an_unlimited_policy_goes_on() -> None:
    calls: list[int] = []
    handle = failing_workflow(RetryPolicy(maximum_attempts=0, initial_interval="1m"), calls)
    for _ in range(15):
        tick("2m")

    assert len(calls) == 15
    assert handle.status == "pending"


def test_a_step_that_recovers_goes_on_where_it_was() -> None:
    calls = []

    def flaky() -> str:
        calls.append(1)
        if len(calls) < 3:
            raise CardRefused
        return "charged"

    @workflow("flaky")
    def charging(step: Step) -> str:
        return step.run("charge", flaky)

    handle = charging.start()
    for pause in ("0s", "1s", "2s"):
        tick(pause)

    assert handle.result(timeout=0) == "charged"
    assert handle.run.error is None
    statuses = [attempt.status for attempt in attempts_of(handle)]
    assert statuses == ["failed", "failed", "completed"]


# --- what is left -------------------------------------------------------------------------------


def test_the_runs_error_is_the_steps_own_error() -> None:
    handle = failing_workflow(ONCE, [])
    run_until_idle()

    error = handle.run.error
    assert error == attempts_of(handle)[0].error
    assert (error["name"], error["message"]) == ("CardRefused", "refusal 1")
    assert "raise CardRefused" in error["stack"]
    with pytest.raises(WorkflowFailed, match=r"^Workflow charging failed: CardRefused: refusal 1$"):
        handle.result(timeout=0)


def test_between_tries_the_run_shows_the_last_error() -> None:
    handle = failing_workflow(SLOW, [])
    run_until_idle()

    assert handle.run.error["message"] == "refusal 1"


def test_a_step_that_has_failed_for_good_can_be_caught_and_stays_failed() -> None:
    calls = []
    caught: list[StepFailed] = []

    def charge() -> None:
        calls.append(1)
        raise CardRefused

    @workflow("compensating")
    def compensating(step: Step) -> str:
        try:
            step.run("charge", charge, retry_policy=ONCE)
        except StepFailed as error:
            caught.append(error)
        step.sleep("pause", "1h")
        return step.run("refund", lambda: "refunded")

    handle = compensating.start()
    run_until_idle()
    tick("1h")

    assert handle.result(timeout=0) == "refunded"
    assert calls == [1]
    assert [str(error) for error in caught] == [
        'Step "charge" failed after 1 attempt: CardRefused: refusal 1'
    ] * 2
    assert caught[1].error == caught[0].error
    assert (caught[1].step_name, caught[1].attempts) == ("charge", 1)
    assert isinstance(caught[0].__cause__, CardRefused)


def test_two_steps_have_a_budget_each() -> None:
    calls: list[str] = []

    def fail(name: str) -> None:
        calls.append(name)
        raise CardRefused

    @workflow("two")
    def two(step: Step) -> None:
        for name in ("a", "b"):
            try:
                step.run(name, fail, name, retry_policy=RetryPolicy(maximum_attempts=2))
            except StepFailed:
                continue

    handle = two.start()
    for _ in range(5):
        tick("1m")

    assert calls == ["a", "a", "b", "b"]
    assert handle.status == "completed"


# --- what never uses up a try -------------------------------------------------------------------


def test_sleeps_deploys_and_dead_workers_never_use_up_a_try() -> None:
    calls: list[int] = []
    policy = RetryPolicy(maximum_attempts=4, initial_interval="1m")

    @workflow("patient")
    def patient(step: Step) -> None:
        for _ in range(3):
            step.sleep("pause", "1h")
        calls.append(1)
        step.run("charge", raiser(CardRefused()), retry_policy=policy)

    handle = patient.start()
    for _ in range(4):
        tick("1h")
    assert len(calls) == 1
    for interrupt in (lose_worker, release, deploy_without_the_code):
        interrupt(handle)
        tick("5m")

    assert len(calls) == 4
    assert len(attempts_of(handle)) == 3 + 4
    assert handle.status == "failed"
    assert handle.run.failures == 1


def lose_worker(handle: RunHandle[None]) -> None:
    """Leave a run behind as a worker does that died holding it."""
    WorkflowRun.objects.filter(pk=handle.id).update(
        status=RunStatus.RUNNING, worker_id="dead:worker", available_at=database_now()
    )


def release(handle: RunHandle[None]) -> None:
    """Leave a run behind as a worker does that drains."""
    WorkflowRun.objects.filter(pk=handle.id).update(
        status=RunStatus.RUNNING, available_at=database_now()
    )


def deploy_without_the_code(handle: RunHandle[None]) -> None:
    """Let workers find the run that do not know its version; they put it back."""
    runs = WorkflowRun.objects.filter(pk=handle.id)
    runs.update(version="2", available_at=database_now())
    assert run_until_idle() == 0
    assert handle.run.deferrals == 1
    runs.update(version=None)


@pytest.mark.parametrize("policy", [3, "3", {"maximum_attempts": 3}], ids=repr)
def test_a_policy_that_is_none_is_refused_before_the_body(policy: object) -> None:
    calls: list[int] = []
    handle = failing_workflow(policy, calls)  # type: ignore[arg-type]
    run_until_idle()

    assert calls == []
    assert handle.run.error["message"].startswith("retry_policy must be a RetryPolicy, not ")
