"""The guide to retries."""

from __future__ import annotations

import pytest

from django_openworkflow import RetryPolicy, Step, workflow
from django_openworkflow.exceptions import (
    InvalidInput,
    RunNotRetryable,
    StepFailed,
    WorkflowFailed,
)
from django_openworkflow.models import WorkflowRun
from django_openworkflow.testing import advance, run_until_idle
from tests.guides.playing import ONCE, failing, later, outcome, saved

pytestmark = pytest.mark.django_db


def test_a_step_that_fails_is_tried_again_after_a_pause() -> None:
    body = failing(1, "at last")
    policy = RetryPolicy(initial_interval="1m")

    @workflow("ask")
    def ask(step: Step) -> str:
        return step.run("ask", body, retry_policy=policy)

    handle = ask.start()
    run_until_idle()

    assert (handle.status, handle.run.error["message"]) == ("pending", "no answer")
    assert later(handle, "1m") == "at last"
    assert saved(handle) == [("ask", "failed"), ("ask", "completed")]


def test_pauses_grow_up_to_the_longest() -> None:
    policy = RetryPolicy(initial_interval="1s", backoff_coefficient=3, maximum_interval="10s")

    assert [policy.delay(n).total_seconds() for n in (1, 2, 3, 4)] == [1, 3, 9, 10]


@pytest.mark.parametrize(("policy", "tries"), [(None, 10), (RetryPolicy(maximum_attempts=3), 3)])
def test_a_step_has_ten_attempts_unless_its_policy_says_otherwise(
    policy: RetryPolicy | None, tries: int
) -> None:
    body = failing(99, None)

    @workflow("ask")
    def ask(step: Step) -> None:
        step.run("ask", body, retry_policy=policy)  # type: ignore[arg-type]

    handle = ask.start()
    while handle.status != "failed":
        run_until_idle()
        advance("100s")

    assert saved(handle) == [("ask", "failed")] * tries


def test_attempts_without_a_limit() -> None:
    body = failing(12, "at last")

    @workflow("ask")
    def ask(step: Step) -> str:
        return step.run("ask", body, retry_policy=RetryPolicy(maximum_attempts=0))

    handle = ask.start()
    for _ in range(12):
        run_until_idle()
        advance("100s")

    assert outcome(handle) == "at last"


def test_a_step_that_has_failed_for_good_can_be_caught() -> None:
    body = failing(1, None)

    @workflow("ask")
    def ask(step: Step) -> str:
        try:
            step.run("ask", body, retry_policy=ONCE)
        except StepFailed as failure:
            return f"{failure.step_name}: {failure.error['message']}"
        return "answered"

    assert outcome(ask.start()) == "ask: no answer"


def test_a_step_that_is_not_caught_fails_the_run_whatever_the_workflow_may_try() -> None:
    body = failing(1, None)

    @workflow("ask", retry_policy=RetryPolicy(maximum_attempts=5))
    def ask(step: Step) -> None:
        step.run("ask", body, retry_policy=ONCE)

    with pytest.raises(WorkflowFailed, match="ConnectionError: no answer"):
        outcome(ask.start())


def test_a_workflow_is_tried_once_by_default() -> None:
    body = failing(1, None)

    @workflow("ask")
    def ask(step: Step) -> None:
        body()

    with pytest.raises(WorkflowFailed):
        outcome(ask.start())


def test_a_workflow_that_is_tried_again_keeps_its_steps() -> None:
    calls: list[int] = []
    body = failing(2, "done")

    @workflow("ask", retry_policy=RetryPolicy(maximum_attempts=3))
    def ask(step: Step) -> str:
        step.run("note", calls.append, 1)
        return body()

    handle = ask.start()
    run_until_idle()
    advance("1s")
    run_until_idle()

    assert later(handle, "2s") == "done"
    assert calls == [1]


def test_sleeps_use_up_no_attempt() -> None:
    @workflow("nap", retry_policy=RetryPolicy(maximum_attempts=2))
    def nap(step: Step) -> str:
        for _ in range(4):
            step.sleep("nap", "1s")
        return "awake"

    handle = nap.start()
    for _ in range(4):
        run_until_idle()
        advance("1s")

    assert outcome(handle) == "awake"


def test_a_failed_run_is_retried_after_its_completed_steps() -> None:
    calls: list[int] = []
    body = failing(1, "done")

    @workflow("ask")
    def ask(step: Step) -> str:
        step.run("note", calls.append, 1)
        return step.run("ask", body, retry_policy=ONCE)

    handle = ask.start()
    run_until_idle()
    assert handle.status == "failed"
    WorkflowRun.objects.retry(handle.id)

    assert outcome(handle) == "done"
    assert calls == [1]
    with pytest.raises(RunNotRetryable, match="with status completed"):
        handle.run.retry()


def test_a_policy_that_makes_no_sense_is_refused_where_it_is_written() -> None:
    with pytest.raises(InvalidInput, match="maximum_attempts"):
        RetryPolicy(maximum_attempts=-1)
