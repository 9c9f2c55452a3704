"""Take a run through its passes, and look at what they left behind."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, NoReturn, TypeVar

from django_openworkflow import RunHandle, clock
from django_openworkflow.models import StepAttempt
from django_openworkflow.testing import advance, run_until_idle

T = TypeVar("T")


def tick(duration: str | timedelta = "0s") -> int:
    """Let time pass, execute what is due then, and return how many passes that took."""
    advance(duration)
    return run_until_idle()


def attempts_of(handle: RunHandle[Any]) -> list[StepAttempt]:
    """Return a run's step attempts, oldest first."""
    return list(StepAttempt.objects.filter(workflow_run=handle.id).order_by("created_at", "pk"))


def step_names(handle: RunHandle[Any]) -> list[str]:
    """Return the durable names of a run's step attempts, oldest first."""
    return [attempt.step_name for attempt in attempts_of(handle)]


def is_parked(handle: RunHandle[Any]) -> bool:
    """Whether a run waits without a worker."""
    run = handle.run
    return run.worker_id is None and run.status in ("pending", "running")


def database_now() -> datetime:
    """Return the time as the engine has it."""
    return clock.read("default")


def raiser(error: BaseException) -> Callable[[], NoReturn]:
    """Return a step body that raises this error."""

    def body() -> NoReturn:
        raise error

    return body


def noting(calls: list[T], value: T) -> Callable[[], T]:
    """Return a step body that notes its call and returns this value."""

    def body() -> T:
        calls.append(value)
        return value

    return body
