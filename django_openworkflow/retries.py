"""When to try again: the retry policy, its backoff, and the decision after a failure.

Source: the original's ``core/backoff.ts`` and ``core/workflow-definition.ts``.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django_openworkflow.durations import describe_value, to_timedelta
from django_openworkflow.exceptions import InvalidDuration, InvalidInput

STEP_ATTEMPTS: Final = 10
WORKFLOW_ATTEMPTS: Final = 1


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how soon to try again after a failure.

    ``maximum_attempts`` counts the first attempt too; 0 is unlimited, None is the default of where
    the policy is used: 10 for a step, 1 for a workflow. The pause starts at ``initial_interval``,
    grows by ``backoff_coefficient`` with each failure, and never exceeds ``maximum_interval``.

    Raises:
        InvalidInput: a value is out of range; the sentence names the field. ``InvalidDuration``
            for the intervals. The original replaces such values by defaults without a word.
    """

    initial_interval: str | timedelta = "1s"
    backoff_coefficient: float = 2
    maximum_interval: str | timedelta = "100s"
    maximum_attempts: int | None = None

    def __post_init__(self) -> None:
        """Refuse here, where the mistake is, what would fail later in a worker."""
        _check_interval("initial_interval", self.initial_interval)
        _check_coefficient(self.backoff_coefficient)
        _check_interval("maximum_interval", self.maximum_interval)
        _check_attempts(self.maximum_attempts)

    def delay(self, failures: int) -> timedelta:
        """Return the pause after that many failures; 0 counts as 1.

        Source: the original's ``computeBackoffDelayMs``.
        """
        initial, maximum = to_timedelta(self.initial_interval), to_timedelta(self.maximum_interval)
        if not initial:
            return timedelta()
        # A float base: an int would grow without bounds instead of overflowing.
        exponent = min(max(0, failures - 1), sys.maxsize)
        try:
            return min(initial * float(self.backoff_coefficient) ** exponent, maximum)
        except OverflowError:
            return maximum

    def allows(self, failures: int, *, default_attempts: int) -> bool:
        """Tell whether another attempt may follow that many failures."""
        limit = default_attempts if self.maximum_attempts is None else self.maximum_attempts
        return limit == 0 or failures < limit


def decide(
    policy: RetryPolicy,
    failures: int,
    *,
    default_attempts: int,
    now: datetime,
    deadline_at: datetime | None,
) -> timedelta | None:
    """Return the pause before the next attempt, or None to give up.

    Gives up when the attempts are used up, and when the next one would not start before the
    deadline. Both times must be aware.

    Source: the original's ``computeFailedWorkflowRunUpdate``.
    """
    if not policy.allows(failures, default_attempts=default_attempts):
        return None
    delay = policy.delay(failures)
    # A difference of times cannot overflow, ``now + delay`` can. A deadline that has passed
    # leaves less than nothing, so it needs no question of its own.
    if deadline_at is not None and delay >= deadline_at - now:
        return None
    return delay


def _check_interval(field: str, value: str | timedelta) -> None:
    try:
        to_timedelta(value)
    except InvalidDuration as error:
        problem = f"RetryPolicy.{field}: {error}"
        raise InvalidDuration(problem) from None


def _check_coefficient(value: object) -> None:
    # The upper bound refuses infinity and integers that no float can hold; NaN fails any bound.
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not 1 <= value <= sys.float_info.max
    ):
        problem = (
            f"RetryPolicy.backoff_coefficient must be a finite number, 1 or more, "
            f"not {describe_value(value)}"
        )
        raise InvalidInput(problem)


def _check_attempts(value: object) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        problem = (
            f"RetryPolicy.maximum_attempts must be a whole number, 0 (unlimited) or more, or "
            f"None, not {describe_value(value)}"
        )
        raise InvalidInput(problem)


_DEFAULT: Final = RetryPolicy()
# For runs whose workflow this deployment does not know: another one may. Source: ``worker.ts``.
UNREGISTERED: Final = RetryPolicy(initial_interval="5s", maximum_interval="5m", maximum_attempts=0)


def checked_policy(given: object) -> RetryPolicy:
    """Return the policy given, the default policy for None.

    Raises:
        InvalidInput: it is something else.
    """
    if given is None:
        return _DEFAULT
    if not isinstance(given, RetryPolicy):
        message = f"retry_policy must be a RetryPolicy, not {type(given).__name__}"
        raise InvalidInput(message)
    return given
