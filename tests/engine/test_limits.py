"""Ends that no code asked for: the step limit, the deadline, the poison pill, missing code."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from django_openworkflow import RetryPolicy, Step, workflow
from django_openworkflow.exceptions import WorkflowFailed
from django_openworkflow.models import StepAttempt, WorkflowRun
from django_openworkflow.registry import registry
from django_openworkflow.states import StepStatus
from django_openworkflow.testing import advance, run_until_idle
from tests.engine.passes import attempts_of, database_now, noting, raiser, tick
from tests.factories import StepAttemptFactory, WorkflowRunFactory

if TYPE_CHECKING:
    from pytest_django import Settings

pytestmark = pytest.mark.django_db

SECOND = timedelta(seconds=1)


# --- step limit ---------------------------------------------------------------------------------


def limit_error(count: int) -> dict[str, Any]:
    """Return the error that the original stores."""
    return {
        "name": "StepLimitExceededError",
        "message": f"Exceeded the step limit of 3 attempts (current count: {count})",
        "code": "STEP_LIMIT_EXCEEDED",
        "limit": 3,
        "stepCount": count,
    }


@pytest.fixture
def _three_steps(settings: Settings) -> None:
    settings.OPENWORKFLOW = {"STEP_LIMIT": 3}


@pytest.mark.usefixtures("_three_steps")
def test_an_endless_loop_of_steps_ends_at_the_limit_even_if_its_error_is_swallowed() -> None:
    calls: list[int] = []

    @workflow("endless", retry_policy=RetryPolicy(maximum_attempts=0))
    def endless(step: Step) -> str:
        for number in range(10):
            try:
                step.run("more", noting(calls, number))
            except Exception:
                return "swallowed"
        return "never"

    handle = endless.start()
    run_until_idle()

    assert calls == [0, 1, 2]
    assert (handle.status, handle.run.error) == ("failed", limit_error(3))
    assert len(attempts_of(handle)) == 3


@pytest.mark.usefixtures("_three_steps")
def test_as_many_steps_as_the_limit_allows_are_no_trouble() -> None:
    @workflow("busy")
    def busy(step: Step) -> str:
        step.run("a", lambda: None)
        step.sleep("b", "1h")
        step.run("c", lambda: None)
        return "done"

    handle = busy.start()
    run_until_idle()
    tick("1h")

    assert handle.result(timeout=0) == "done"


@pytest.mark.usefixtures("_three_steps")
def test_failed_attempts_and_sleeps_count_against_the_limit() -> None:
    calls: list[int] = []

    def fail() -> None:
        calls.append(1)
        raise ValueError

    @workflow("failing")
    def failing(step: Step) -> None:
        step.sleep("pause", "1s")
        step.run("fail", fail)

    handle = failing.start()
    for _ in range(6):
        tick("100s")

    assert len(calls) == 2
    assert handle.run.error == limit_error(3)


@pytest.mark.usefixtures("_three_steps")
def test_a_history_beyond_the_limit_fails_the_run_before_any_code() -> None:
    calls: list[int] = []

    @workflow("process-order")
    def process_order(step: Step) -> None:
        calls.append(1)

    run = WorkflowRunFactory.create()
    for _ in range(4):
        StepAttemptFactory.create(workflow_run=run, completed=True)
    run_until_idle()
    run.refresh_from_db()

    assert (run.status, run.error, calls) == ("failed", limit_error(4), [])


# --- deadline -----------------------------------------------------------------------------------


def test_a_run_past_its_deadline_fails_without_ever_starting() -> None:
    calls: list[int] = []

    @workflow("late")
    def late(step: Step) -> None:
        calls.append(1)

    handle = late.using(deadline_at="1h").start()
    advance("1h")
    run_until_idle()

    assert (handle.status, calls) == ("failed", [])
    assert handle.run.error == {"message": "Workflow run deadline exceeded"}
    with pytest.raises(WorkflowFailed, match=r"^Workflow late failed: Workflow run deadline exc"):
        handle.result(timeout=0)


def test_a_sleeping_run_fails_at_its_deadline_and_its_sleep_is_closed() -> None:
    @workflow("sleeper")
    def sleeper(step: Step) -> None:
        step.sleep("pause", "2h")

    handle = sleeper.using(deadline_at="1h").start()
    run_until_idle()
    assert handle.status == "running"
    tick("1h")

    assert handle.run.error == {"message": "Workflow run deadline exceeded"}
    assert [attempt.status for attempt in attempts_of(handle)] == ["failed"]


def test_a_child_that_misses_its_deadline_wakes_its_parent() -> None:
    parent = WorkflowRunFactory.create(parked=True, workflow_name="parent-elsewhere")
    child = WorkflowRunFactory.create(
        child=True, parent=parent, parked=True, deadline_at=datetime.now(UTC) - SECOND
    )
    before = database_now()
    run_until_idle()
    parent.refresh_from_db()
    child.refresh_from_db()

    assert child.status == "failed"
    # No worker knows the parent's workflow here: it was woken, found due, and put back.
    assert (parent.deferrals, parent.status) == (1, "pending")
    assert parent.available_at is not None
    assert parent.available_at < before + timedelta(minutes=1)


def test_a_retry_that_would_come_after_the_deadline_fails_with_the_original_error() -> None:
    hourly = RetryPolicy(initial_interval="1h", maximum_interval="1h")

    @workflow("hurried")
    def hurried(step: Step) -> None:
        step.run("charge", raiser(ValueError("no money")), retry_policy=hourly)

    handle = hurried.using(deadline_at="59m").start()
    run_until_idle()

    assert handle.status == "failed"
    assert (handle.run.error["name"], handle.run.error["message"]) == ("ValueError", "no money")


def test_a_retry_of_the_workflow_after_the_deadline_fails_with_the_original_error() -> None:
    hourly = RetryPolicy(maximum_attempts=0, initial_interval="1h", maximum_interval="1h")

    @workflow("hurried", retry_policy=hourly)
    def hurried(step: Step) -> None:
        raise KeyError

    handle = hurried.using(deadline_at="59m").start()
    run_until_idle()

    assert (handle.status, handle.run.error["name"]) == ("failed", "KeyError")


def test_a_run_that_fails_when_its_deadline_has_passed_fails_for_its_deadline() -> None:
    @workflow("slow")
    def slow(step: Step) -> None:
        step.run("work", lambda: advance("2h"))
        raise KeyError

    handle = slow.using(deadline_at="1h").start()
    run_until_idle()

    assert handle.run.error == {"message": "Workflow run deadline exceeded"}


def test_a_deadline_at_the_end_of_the_calendar_is_far_away() -> None:
    end = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)

    @workflow("patient")
    def patient(step: Step) -> None:
        step.run("fail", raiser(ValueError()))

    handle = patient.using(deadline_at=end).start()
    run_until_idle()

    assert (handle.status, handle.run.deadline_at) == ("pending", end)


# --- poison pill --------------------------------------------------------------------------------


def test_a_run_that_keeps_losing_its_worker_is_stopped_after_five_times() -> None:
    calls: list[int] = []

    @workflow("process-order")
    def process_order(step: Step) -> None:
        calls.append(1)

    run = WorkflowRunFactory.create(expired=True, crashes=4, takeovers=4)
    run_until_idle()
    run.refresh_from_db()

    assert (run.status, run.crashes, calls) == ("failed", 5, [])
    assert run.error == {
        "name": "PoisonPill",
        "message": "The workflow run lost its worker 5 times without progress",
    }


def test_a_run_that_lost_its_worker_less_often_is_taken_over() -> None:
    @workflow("process-order")
    def process_order(step: Step) -> str:
        return "done"

    run = WorkflowRunFactory.create(expired=True, crashes=3, takeovers=3)
    run_until_idle()
    run.refresh_from_db()

    assert (run.status, run.takeovers, run.failures) == ("completed", 4, 0)


def test_one_that_may_not_crash_at_all_is_stopped_the_first_time(settings: Settings) -> None:
    settings.OPENWORKFLOW = {"MAX_CRASHES": 1}
    registry_knows_process_order()
    run = WorkflowRunFactory.create(expired=True)
    run_until_idle()
    run.refresh_from_db()

    assert run.error["message"] == "The workflow run lost its worker once without progress"


def registry_knows_process_order() -> None:
    """Define the workflow of the factories."""

    @workflow("process-order")
    def process_order(step: Step) -> None:
        return None


def test_progress_forgives_earlier_crashes() -> None:
    @workflow("process-order")
    def process_order(step: Step) -> None:
        step.run("a", lambda: None)
        step.sleep("pause", "1h")

    run = WorkflowRunFactory.create(expired=True, crashes=3)
    run_until_idle()
    run.refresh_from_db()

    assert (run.crashes, run.takeovers) == (0, 1)
    assert StepAttempt.objects.filter(status=StepStatus.COMPLETED).count() == 1


# --- missing code -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "words"),
    [
        (None, 'Workflow "gone" is not registered'),
        ("2", 'Workflow "gone" (version: 2) is not registered'),
    ],
)
def test_a_run_whose_code_is_missing_waits_with_growing_pauses_and_costs_nothing(
    version: str | None, words: str
) -> None:
    with registry.isolated():

        @workflow("gone", version=version)
        def gone(step: Step) -> str:
            return "back"

        handle = gone.start()
    for seconds in (5, 10, 20, 40, 80, 160, 300, 300):
        before, pause = database_now(), timedelta(seconds=seconds)
        assert run_until_idle() == 0
        run = handle.run
        assert (run.status, run.error, run.worker_id) == ("pending", {"message": words}, None)
        assert (run.attempts, run.failures, run.crashes) == (0, 0, 0)
        assert run.available_at is not None
        assert before + pause <= run.available_at <= database_now() + pause
        advance(pause)

    registry.register(gone)
    run_until_idle()
    assert handle.result(timeout=0) == "back"
    assert (handle.run.error, handle.run.attempts, handle.run.deferrals) == (None, 1, 0)


def test_a_run_of_another_version_is_never_executed_by_this_one() -> None:
    @workflow("versioned", version="2")
    def versioned(step: Step) -> str:
        return "wrong code"

    for version in (None, "1", "22"):
        WorkflowRunFactory.create(workflow_name="versioned", version=version)
    run_until_idle()

    assert WorkflowRun.objects.pending().count() == 3
