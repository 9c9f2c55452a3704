"""Retries of the workflow's own code, counted apart from those of its steps."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from django_openworkflow import RetryPolicy, Step, workflow
from django_openworkflow.exceptions import StepFailed
from django_openworkflow.testing import advance, run_until_idle
from tests.engine.passes import attempts_of, database_now, noting, raiser, tick

pytestmark = pytest.mark.django_db

THREE = RetryPolicy(maximum_attempts=3, initial_interval="10s", backoff_coefficient=3)


class Mistake(Exception):
    """An error of the workflow's own code."""


def test_a_workflow_that_raises_fails_at_once_by_default() -> None:
    @workflow("careless")
    def careless(step: Step) -> None:
        raise Mistake

    handle = careless.start()
    assert run_until_idle() == 1

    run = handle.run
    assert (run.status, run.failures, run.worker_id) == ("failed", 1, None)
    assert run.error["name"] == "Mistake"
    assert run.finished_at is not None


def test_a_workflow_is_tried_again_by_its_policy_without_repeating_its_steps() -> None:
    calls: list[str] = []

    @workflow("careless", retry_policy=THREE)
    def careless(step: Step) -> None:
        step.run("charge", noting(calls, "charged"))
        raise Mistake

    handle = careless.start()
    for failures, seconds in ((1, 10), (2, 30)):
        before = database_now()
        run_until_idle()
        run = handle.run
        pause = timedelta(seconds=seconds)
        assert (run.status, run.failures, run.worker_id) == ("pending", failures, None)
        assert run.error["name"] == "Mistake"
        assert run.available_at is not None
        assert before + pause <= run.available_at <= database_now() + pause
        advance(pause)

    assert run_until_idle() == 1
    assert (handle.status, handle.run.failures) == ("failed", 3)
    assert calls == ["charged"]


def test_a_workflow_that_recovers_leaves_no_error_behind() -> None:
    passes: list[int] = []

    @workflow("lucky", retry_policy=THREE)
    def lucky(step: Step) -> str:
        passes.append(1)
        if len(passes) == 1:
            raise Mistake
        return "done"

    handle = lucky.start()
    run_until_idle()
    tick("10s")

    assert handle.result(timeout=0) == "done"
    assert (handle.run.error, handle.run.failures) == (None, 1)


def test_sleeps_and_step_retries_never_use_up_a_try_of_the_workflow() -> None:
    passes: list[int] = []
    bodies: list[int] = []

    def flaky() -> None:
        bodies.append(1)
        if len(bodies) < 4:
            raise Mistake

    @workflow("patient", retry_policy=THREE)
    def patient(step: Step) -> None:
        step.sleep("pause", "1h")
        step.sleep("pause", "1h")
        step.run("flaky", flaky)
        passes.append(1)
        raise Mistake

    handle = patient.start()
    for _ in range(12):
        tick("1h")

    assert len(bodies) == 4
    assert len(passes) == 3
    assert (handle.status, handle.run.failures) == ("failed", 3)


def test_a_step_that_gave_up_fails_the_run_whatever_the_workflow_may_try() -> None:
    # The step's own policy has decided, as in the original.
    passes: list[int] = []

    @workflow("careless", retry_policy=THREE)
    def careless(step: Step) -> None:
        passes.append(1)
        step.run("charge", raiser(Mistake()), retry_policy=RetryPolicy(maximum_attempts=1))

    handle = careless.start()
    run_until_idle()

    assert (handle.status, len(passes)) == ("failed", 1)


def test_an_error_made_of_a_failed_step_follows_the_policy_of_the_workflow() -> None:
    @workflow("wrapping", retry_policy=THREE)
    def wrapping(step: Step) -> None:
        try:
            step.run("charge", raiser(Mistake()), retry_policy=RetryPolicy(maximum_attempts=1))
        except StepFailed as error:
            raise Mistake from error

    handle = wrapping.start()
    run_until_idle()

    assert (handle.status, handle.run.failures) == ("pending", 1)
    assert len(attempts_of(handle)) == 1
    assert 'Step "charge" failed after 1 attempt' in handle.run.error["stack"]


@pytest.mark.parametrize("raised", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()], ids=repr)
def test_an_exit_in_workflow_code_fails_the_run_and_not_the_worker(raised: BaseException) -> None:
    @workflow("leaving")
    def leaving(step: Step) -> None:
        raise raised

    @workflow("staying")
    def staying(step: Step) -> str:
        return "still here"

    left, stayed = leaving.start(), staying.start()
    run_until_idle()

    assert left.run.error["name"] == type(raised).__name__
    assert stayed.result(timeout=0) == "still here"


@pytest.mark.parametrize("output", [1j, {1: 2}, float("nan"), "nul\x00", {"set"}], ids=repr)
def test_an_output_that_cannot_be_stored_fails_the_run_without_a_retry(output: Any) -> None:
    @workflow("hostile", retry_policy=THREE)
    def hostile(step: Step) -> Any:
        return output

    handle = hostile.start()
    run_until_idle()

    assert handle.status == "failed"
    assert handle.run.error["name"] == "InvalidPayload"
    assert handle.run.error["message"].startswith(
        'The output of workflow "hostile" cannot be stored'
    )
