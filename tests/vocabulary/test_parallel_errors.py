"""Parallel steps in sync code: whose error is raised, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from django_openworkflow import RetryPolicy, Step, workflow
from django_openworkflow.exceptions import InvalidInput, StepCallRefused, StepFailed
from django_openworkflow.testing import run_until_idle
from tests.engine.passes import attempts_of, noting, step_names, tick
from tests.vocabulary.test_parallel import Effects, bad

pytestmark = pytest.mark.django_db

ONCE = RetryPolicy(maximum_attempts=1)


@pytest.fixture
def effects() -> Effects:
    return Effects()


# --- errors -------------------------------------------------------------------------------------


def test_the_first_error_in_order_is_raised_and_wins_over_branches_that_wait(
    effects: Effects,
) -> None:
    caught: list[str] = []

    @workflow("nap")
    def nap(step: Step) -> None:
        step.sleep("nap", "1h")

    @workflow("fan")
    def fan(step: Step) -> str:
        try:
            step.gather(
                step.call("nap", nap),
                step.call("one", bad(KeyError("one")), retry_policy=ONCE),
                step.call("two", bad(KeyError("two")), retry_policy=ONCE),
                step.call("good", effects.body, "good"),
            )
        except StepFailed as error:
            caught.append(error.step_name)
        return step.run("after", effects.body, "after")

    handle = fan.start()
    run_until_idle()

    assert handle.result(timeout=0) == "after"
    assert caught == ["one"]
    assert effects.counts == {"good": 1, "after": 1}


def test_with_return_exceptions_errors_take_the_place_of_results_in_every_replay(
    effects: Effects,
) -> None:
    found: list[list[str]] = []

    @workflow("fan")
    def fan(step: Step) -> int:
        results = step.gather(
            step.call("one", bad(KeyError("one")), retry_policy=ONCE),
            step.call("good", effects.body, "good"),
            step.call("two", bad(ValueError("two")), retry_policy=ONCE),
            return_exceptions=True,
        )
        found.append([str(result) for result in results])
        assert [type(result) for result in results] == [StepFailed, str, StepFailed]
        step.sleep("pause", "1h")
        return len(results)

    handle = fan.start()
    run_until_idle()
    tick("1h")

    assert handle.result(timeout=0) == 3
    assert (
        found
        == [
            [
                "Step \"one\" failed after 1 attempt: KeyError: 'one'",
                "good",
                'Step "two" failed after 1 attempt: ValueError: two',
            ]
        ]
        * 2
    )
    assert effects.counts == {"good": 1}


def test_with_return_exceptions_a_branch_that_waits_is_waited_for(effects: Effects) -> None:
    @workflow("nap")
    def nap(step: Step) -> str:
        step.sleep("nap", "1h")
        return "rested"

    @workflow("fan")
    def fan(step: Step) -> list[str]:
        results = step.gather(
            step.call("bad", bad(KeyError("bad")), retry_policy=ONCE),
            step.call("nap", nap),
            return_exceptions=True,
        )
        return [type(results[0]).__name__, results[1]]

    handle = fan.start()
    run_until_idle()
    assert handle.status == "running"
    tick("1h")

    assert handle.result(timeout=0) == ["StepFailed", "rested"]
    assert len([each for each in attempts_of(handle) if each.step_name == "bad"]) == 1


# --- refused ------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [len, "name", None, ("a", len), noting([], 1)])
def test_gather_takes_calls_only(effects: Effects, wrong: Any) -> None:
    @workflow("fan")
    def fan(step: Step) -> None:
        step.gather(step.call("good", effects.body, "good"), wrong)

    handle = fan.start()
    run_until_idle()

    assert handle.run.error["name"] == InvalidInput.__name__
    assert handle.run.error["message"] == (
        f"gather() takes what step.call() returns, not {type(wrong).__name__}"
    )
    assert (effects.counts, step_names(handle)) == ({}, [])


@pytest.mark.parametrize("inner", ["gather", "run", "sleep", "wait_for_signal", "send_signal"])
def test_a_step_inside_the_body_of_a_branch_is_refused(effects: Effects, inner: str) -> None:
    @workflow("fan")
    def fan(step: Step) -> None:
        def body(**_options: Any) -> None:
            if inner == "gather":
                step.gather(step.call("inner", effects.body, "inner"))
            elif inner == "run":
                step.run("inner", effects.body, "inner")
            elif inner == "sleep":
                step.sleep("inner", "1h")
            else:
                getattr(step, inner)("inner")

        step.gather(
            step.call("outer", body, retry_policy=ONCE),
            step.call("good", effects.body, "good"),
        )

    handle = fan.start()
    run_until_idle()

    assert handle.run.error["name"] == StepCallRefused.__name__
    assert handle.run.error["message"] == (
        'Step "inner" was called inside the body of step "outer"'
    )
    assert (effects.counts, step_names(handle)) == ({"good": 1}, ["outer", "good"])
