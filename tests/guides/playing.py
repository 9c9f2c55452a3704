"""What the tests of the guides do to runs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

from django_openworkflow import RetryPolicy, RunHandle
from django_openworkflow.models import StepAttempt
from django_openworkflow.testing import advance, run_until_idle

T = TypeVar("T")

ONCE = RetryPolicy(maximum_attempts=1)


def outcome(handle: RunHandle[T]) -> T:
    """Execute what is due and return the run's output, or raise why there is none."""
    run_until_idle()
    return handle.result(timeout=0)


def later(handle: RunHandle[T], duration: str | timedelta) -> T:
    """Let time pass and return the run's output, or raise why there is none."""
    advance(duration)
    return outcome(handle)


def saved(handle: RunHandle[object]) -> list[tuple[str, str]]:
    """Return the names and states of a run's step attempts, in replay order."""
    rows = StepAttempt.objects.filter(workflow_run=handle.id).in_order()
    return list(rows.values_list("step_name", "status"))


def failing(times: int, then: T) -> Callable[[], T]:
    """Return a body that raises this often before it returns."""
    left = [ConnectionError("no answer")] * times

    def body() -> T:
        if left:
            raise left.pop()
        return then

    return body
