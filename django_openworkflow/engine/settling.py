"""Decide what is written at the end of a pass: pure, the same for sync and async runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from django_openworkflow.engine.control import Release, Suspend
from django_openworkflow.exceptions import (
    InvalidPayload,
    NonDeterministicWorkflow,
    StepFailed,
    StepLimitExceeded,
)
from django_openworkflow.retries import UNREGISTERED, WORKFLOW_ATTEMPTS, RetryPolicy, decide
from django_openworkflow.serialization import describe_error, encode, encode_error, plain_error
from django_openworkflow.store.operations import (
    RunCompleted,
    RunFailed,
    RunParked,
    RunReleased,
    RunRescheduled,
)

if TYPE_CHECKING:
    from datetime import timedelta

    from django_openworkflow.engine.execution import Execution
    from django_openworkflow.store.operations import RunOperation

_DEADLINE_EXCEEDED: Final = "Workflow run deadline exceeded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Returned:
    """The workflow's function returned this."""

    value: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Raised:
    """The workflow's function raised this."""

    error: BaseException


def settle(
    execution: Execution, policy: RetryPolicy, result: Returned | Raised
) -> RunOperation | None:
    """Return what to write. What ended the pass early wins over what user code made of that."""
    if execution.stopped is not None:
        return _stopped(execution, execution.stopped)
    if isinstance(result, Raised):
        if execution.is_unwanted:
            return None  # what code makes of being told to stop is no failure of the workflow
        return _raised(execution, policy, result.error)
    if unread := execution.history.unread():
        message = f'The workflow returned, but step "{unread[0]}" in its history never came'
        return _put_back(execution, NonDeterministicWorkflow(message))
    return _returned(execution, result.value)


def _stopped(execution: Execution, stopped: BaseException) -> RunOperation | None:
    lease = execution.claimed.lease
    if isinstance(stopped, Suspend):
        return _suspended(execution, stopped)
    if isinstance(stopped, Release):
        return RunReleased(lease=lease)
    if isinstance(stopped, StepLimitExceeded):
        return _failed(execution, _limit_error(stopped))
    if isinstance(stopped, NonDeterministicWorkflow):
        return _put_back(execution, stopped)
    return None  # the run is somebody else's by now


def _suspended(execution: Execution, suspend: Suspend) -> RunOperation:
    lease = execution.claimed.lease
    if suspend.retry is None:
        return RunParked(lease=lease, wake_at=suspend.wake_at, waits=suspend.waits)
    return RunRescheduled(
        lease=lease,
        error=suspend.retry.error,
        delay=suspend.retry.delay,
        is_failure=False,
        wake_at=suspend.wake_at,
    )


def _put_back(execution: Execution, error: NonDeterministicWorkflow) -> RunOperation:
    """Keep a run that does not fit its code until the code fits: a fix usually repairs it."""
    delay = UNREGISTERED.delay(min(execution.claimed.attempts, 10))
    return RunRescheduled(
        lease=execution.claimed.lease, error=describe_error(error), delay=delay, is_failure=False
    )


def _returned(execution: Execution, value: Any) -> RunOperation:
    claimed = execution.claimed
    try:
        text = encode(value, what=f'output of workflow "{claimed.workflow_name}"')
    except InvalidPayload as error:
        return _failed(execution, describe_error(error))
    return RunCompleted(lease=claimed.lease, parent_run_id=claimed.parent_run_id, output=text)


def _raised(execution: Execution, policy: RetryPolicy, error: BaseException) -> RunOperation:
    if isinstance(error, StepFailed):
        # The step's own policy has decided already. Source: the original's ``execution.ts``.
        return _failed(execution, encode_error(error.error))
    if isinstance(error, StepLimitExceeded):
        return _failed(execution, _limit_error(error))
    text = describe_error(error)
    delay = _retry_delay(execution, policy)
    if delay is None:
        return _failed(execution, text)
    lease = execution.claimed.lease
    return RunRescheduled(lease=lease, error=text, delay=delay, is_failure=True)


def _retry_delay(execution: Execution, policy: RetryPolicy) -> timedelta | None:
    return decide(
        policy,
        execution.claimed.failures + 1,
        default_attempts=WORKFLOW_ATTEMPTS,
        now=execution.now,
        deadline_at=execution.claimed.deadline_at,
    )


def _failed(execution: Execution, error: str) -> RunFailed:
    claimed = execution.claimed
    if claimed.deadline_at is not None and execution.now >= claimed.deadline_at:
        error = plain_error(_DEADLINE_EXCEEDED)
    return RunFailed(lease=claimed.lease, parent_run_id=claimed.parent_run_id, error=error)


def _limit_error(error: StepLimitExceeded) -> str:
    """Return the error object of the original. Source: its ``step-history.ts``."""
    return plain_error(
        str(error),
        name="StepLimitExceededError",
        code="STEP_LIMIT_EXCEEDED",
        limit=error.limit,
        stepCount=error.count,
    )
