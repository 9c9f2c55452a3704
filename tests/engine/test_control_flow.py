"""User code that swallows what the engine raises changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from django_openworkflow import RetryPolicy, Step, workflow
from django_openworkflow.exceptions import RunCanceled
from django_openworkflow.models import WorkflowRun
from django_openworkflow.testing import run_until_idle
from tests.engine.passes import attempts_of, step_names, tick

pytestmark = pytest.mark.django_db


def catches_exceptions(act: Callable[[], None]) -> None:
    """Swallow every ``Exception``."""
    try:
        act()
    except Exception:
        return


def catches_everything(act: Callable[[], None]) -> None:
    """Swallow everything, control flow included."""
    try:
        act()
    except:  # noqa: E722 - what careless user code does
        return


def returns_in_finally(act: Callable[[], None]) -> None:
    """Swallow everything by leaving through ``finally``."""
    try:
        act()
    finally:
        return  # noqa: B012 - what careless user code does


SWALLOWERS = [catches_exceptions, catches_everything, returns_in_finally]


@pytest.fixture(params=SWALLOWERS, ids=lambda swallower: swallower.__name__)
def swallow(request: pytest.FixtureRequest) -> Callable[[Callable[[], None]], None]:
    """Return one of the ways in which user code swallows exceptions."""
    swallower: Callable[[Callable[[], None]], None] = request.param
    return swallower


def test_a_park_is_no_error_that_code_for_errors_would_see() -> None:
    """What an ``except Exception`` does about a failure must not be done about a sleep."""
    seen: list[Exception] = []

    @workflow("careful")
    def careful(step: Step) -> None:
        try:
            step.sleep("pause", "1h")
        except Exception as error:
            seen.append(error)

    careful.start()
    run_until_idle()
    assert seen == []


def test_a_swallowed_sleep_still_sleeps(swallow: Callable[[Callable[[], None]], None]) -> None:
    passes: list[int] = []

    @workflow("careless")
    def careless(step: Step) -> int:
        passes.append(1)
        swallow(lambda: step.sleep("pause", "1h"))
        return len(passes)

    handle = careless.start()
    run_until_idle()
    assert handle.status == "running"
    assert handle.run.worker_id is None
    tick("1h")

    assert handle.result(timeout=0) == 2


def test_a_swallowed_retry_is_still_a_retry(
    swallow: Callable[[Callable[[], None]], None],
) -> None:
    calls: list[int] = []

    def flaky() -> None:
        calls.append(1)
        if len(calls) == 1:
            raise ValueError

    policy = RetryPolicy(initial_interval="1m")

    @workflow("careless")
    def careless(step: Step) -> str:
        swallow(lambda: step.run("flaky", flaky, retry_policy=policy))
        return "done"

    handle = careless.start()
    run_until_idle()
    assert handle.status == "pending"
    tick("1m")

    assert handle.result(timeout=0) == "done"
    assert len(calls) == 2


def test_after_a_swallowed_sleep_no_other_step_starts(
    swallow: Callable[[Callable[[], None]], None],
) -> None:
    calls: list[int] = []

    @workflow("careless")
    def careless(step: Step) -> str:
        swallow(lambda: step.sleep("pause", "1h"))
        swallow(lambda: step.run("too-early", calls.append, 1))
        swallow(lambda: step.sleep("second", "2h"))
        return "too early"

    handle = careless.start()
    run_until_idle()

    assert calls == []
    assert step_names(handle) == ["pause"]
    assert handle.status == "running"


def test_an_error_raised_in_place_of_a_sleep_does_not_fail_the_run() -> None:
    @workflow("converting")
    def converting(step: Step) -> str:
        try:
            step.sleep("pause", "1h")
        except BaseException as control:
            raise ValueError from control
        return "done"

    handle = converting.start()
    run_until_idle()
    assert (handle.status, handle.run.error) == ("running", None)
    tick("1h")

    assert handle.result(timeout=0) == "done"


def test_a_swallowed_cancel_still_ends_the_run(
    swallow: Callable[[Callable[[], None]], None],
) -> None:
    calls: list[str] = []

    def cancel_myself(step: Step) -> None:
        WorkflowRun.objects.cancel(step.info.id, reason="enough")

    @workflow("stubborn")
    def stubborn(step: Step) -> str:
        swallow(lambda: step.run("cancel", cancel_myself, step))
        swallow(lambda: step.run("next", calls.append, "too late"))
        return "completed all the same"

    handle = stubborn.start()
    run_until_idle()

    assert calls == []
    run = handle.run
    assert (run.status, run.output, run.error, run.cancel_reason) == (
        "canceled",
        None,
        None,
        "enough",
    )
    (attempt,) = attempts_of(handle)
    assert attempt.status == "completed"  # what was in flight is kept


def test_cleaning_up_with_finally_runs_when_a_cancel_is_noticed() -> None:
    cleaned: list[type[Any] | None] = []

    @workflow("tidy")
    def tidy(step: Step) -> None:
        try:
            step.run("cancel", WorkflowRun.objects.cancel, step.info.id)
        except RunCanceled as error:
            cleaned.append(type(error))
            raise
        finally:
            cleaned.append(None)

    handle = tidy.start()
    run_until_idle()

    assert cleaned == [RunCanceled, None]
    assert handle.status == "canceled"


def test_workflow_code_that_never_calls_a_step_cannot_complete_a_canceled_run() -> None:
    @workflow("silent")
    def silent(step: Step) -> str:
        WorkflowRun.objects.cancel(step.info.id)
        return "completed all the same"

    handle = silent.start()
    run_until_idle()

    assert (handle.status, handle.run.output) == ("canceled", None)


def test_raise_if_canceled_lets_a_run_go_on_that_nobody_canceled() -> None:
    @workflow("polite")
    def polite(step: Step) -> bool:
        step.raise_if_canceled()
        return step.cancel_requested

    handle = polite.start()
    run_until_idle()

    assert handle.result(timeout=0) is False
