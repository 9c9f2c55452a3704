"""Retries: backoff that never overflows, budgets, deadlines, and policies that make no sense."""

from __future__ import annotations

import math
from dataclasses import FrozenInstanceError
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_openworkflow.exceptions import InvalidDuration, InvalidInput
from django_openworkflow.retries import (
    STEP_ATTEMPTS,
    UNREGISTERED,
    WORKFLOW_ATTEMPTS,
    RetryPolicy,
    decide,
)

NOW = datetime(2026, 1, 31, 8, tzinfo=UTC)
SECOND = timedelta(seconds=1)


# --- the policy itself --------------------------------------------------------------------------


def test_defaults_are_those_of_the_original() -> None:
    assert RetryPolicy() == RetryPolicy(
        initial_interval="1s",
        backoff_coefficient=2,
        maximum_interval="100s",
        maximum_attempts=None,
    )
    assert (STEP_ATTEMPTS, WORKFLOW_ATTEMPTS) == (10, 1)


def test_a_policy_cannot_change_under_the_runs_that_share_it() -> None:
    with pytest.raises(FrozenInstanceError):
        RetryPolicy().maximum_attempts = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    "coefficient",
    [0, 0.5, -1, math.nan, math.inf, -math.inf, True, "2", None, 2j, 10**400],
)
def test_a_coefficient_that_shrinks_or_is_no_number_is_refused(coefficient: Any) -> None:
    with pytest.raises(InvalidInput, match=r"^RetryPolicy\.backoff_coefficient must be a finite"):
        RetryPolicy(backoff_coefficient=coefficient)


@pytest.mark.parametrize("attempts", [-1, True, False, 1.0, math.nan, "3", [], -(10**400)])
def test_attempts_that_are_no_count_are_refused(attempts: Any) -> None:
    with pytest.raises(InvalidInput, match=r"^RetryPolicy\.maximum_attempts must be a whole"):
        RetryPolicy(maximum_attempts=attempts)


@pytest.mark.parametrize("field", ["initial_interval", "maximum_interval"])
@pytest.mark.parametrize("interval", ["soon", "-1s", "1001y", -SECOND, 5, math.nan, None, True])
def test_an_interval_that_is_no_duration_is_refused_by_name(field: str, interval: Any) -> None:
    with pytest.raises(InvalidDuration, match=rf"^RetryPolicy\.{field}: "):
        RetryPolicy(**{field: interval})


def test_a_refusal_shows_the_value() -> None:
    with pytest.raises(InvalidInput) as caught:
        RetryPolicy(maximum_attempts=-1)
    assert str(caught.value) == (
        "RetryPolicy.maximum_attempts must be a whole number, 0 (unlimited) or more, or None, "
        "not -1"
    )


# --- backoff ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "failures", "milliseconds"),
    [
        # from the tests of the original's core/backoff.test.ts
        (RetryPolicy(maximum_interval="10s"), 0, 1000),
        (RetryPolicy(initial_interval="250ms", backoff_coefficient=3), 1, 250),
        (RetryPolicy(initial_interval="750ms", backoff_coefficient=1), 9, 750),
        (RetryPolicy(backoff_coefficient=3, maximum_interval="5s"), 4, 5000),
        (RetryPolicy(initial_interval="100ms", maximum_interval="60s"), 10_000, 60_000),
        # and ours
        (RetryPolicy(), -5, 1000),
        (RetryPolicy(), 7, 64_000),
        (RetryPolicy(), 8, 100_000),
        (RetryPolicy(backoff_coefficient=1.5), 3, 2250),
        (RetryPolicy(initial_interval="10m", maximum_interval="1m"), 1, 60_000),
        (RetryPolicy(initial_interval=SECOND, maximum_interval=2 * SECOND), 5, 2000),
        (RetryPolicy(maximum_interval="0s"), 5, 0),
        (UNREGISTERED, 1, 5000),
        (UNREGISTERED, 6, 160_000),
        (UNREGISTERED, 7, 300_000),
    ],
)
def test_the_pause_grows_up_to_its_maximum(
    policy: RetryPolicy, failures: int, milliseconds: int
) -> None:
    assert policy.delay(failures) == timedelta(milliseconds=milliseconds)


@pytest.mark.parametrize("failures", [1025, 10**6, 10**18, 10**400])
def test_no_number_of_failures_overflows_the_pause(failures: int) -> None:
    assert RetryPolicy().delay(failures) == 100 * SECOND
    assert RetryPolicy(backoff_coefficient=1e308).delay(failures) == 100 * SECOND
    assert RetryPolicy(backoff_coefficient=1).delay(failures) == SECOND
    assert RetryPolicy(initial_interval="0s").delay(failures) == timedelta()


@given(st.integers(0, 1000), st.floats(1, 1e308), st.integers(0, 1000), st.integers(-10, 10**20))
def test_a_pause_lies_between_its_bounds_and_never_shrinks(
    initial: int, coefficient: float, maximum: int, failures: int
) -> None:
    policy = RetryPolicy(
        initial_interval=f"{initial}s",
        backoff_coefficient=coefficient,
        maximum_interval=f"{maximum}s",
    )
    pause = policy.delay(failures)
    assert min(initial, maximum) * SECOND <= pause <= maximum * SECOND
    assert pause <= policy.delay(failures + 1)


# --- the budget ---------------------------------------------------------------------------------


def test_without_a_number_the_default_of_the_place_counts() -> None:
    policy = RetryPolicy()
    assert policy.allows(9, default_attempts=STEP_ATTEMPTS)
    assert not policy.allows(10, default_attempts=STEP_ATTEMPTS)
    assert not policy.allows(1, default_attempts=WORKFLOW_ATTEMPTS)
    assert policy.allows(10**9, default_attempts=0)


def test_its_own_number_counts_before_the_default() -> None:
    policy = RetryPolicy(maximum_attempts=3)
    assert policy.allows(2, default_attempts=1)
    assert not policy.allows(3, default_attempts=10)
    assert not policy.allows(10**9, default_attempts=0)


def test_zero_is_unlimited() -> None:
    assert RetryPolicy(maximum_attempts=0).allows(10**9, default_attempts=1)


# --- the decision -------------------------------------------------------------------------------


def decided(
    failures: int = 1, *, policy: RetryPolicy | None = None, seconds_left: float | None = None
) -> timedelta | None:
    deadline_at = None if seconds_left is None else NOW + timedelta(seconds=seconds_left)
    return decide(
        policy or RetryPolicy(),
        failures,
        default_attempts=STEP_ATTEMPTS,
        now=NOW,
        deadline_at=deadline_at,
    )


def test_tries_again_after_the_pause() -> None:
    assert decided(1) == SECOND
    assert decided(9) == 100 * SECOND


def test_gives_up_when_the_attempts_are_used_up() -> None:
    assert decided(10) is None
    assert decided(11) is None


@pytest.mark.parametrize("seconds_left", [-1, 0, 0.5, 1])
def test_gives_up_when_the_next_attempt_would_miss_the_deadline(seconds_left: float) -> None:
    assert decided(1, seconds_left=seconds_left) is None


def test_tries_again_just_before_the_deadline() -> None:
    assert decided(1, seconds_left=1.000001) == SECOND


def test_without_a_pause_the_deadline_itself_is_too_late() -> None:
    policy = RetryPolicy(initial_interval="0s")
    assert decided(policy=policy, seconds_left=0) is None
    assert decided(policy=policy, seconds_left=0.000001) == timedelta()


def test_the_end_of_the_calendar_does_not_overflow() -> None:
    end = datetime.max.replace(tzinfo=UTC)
    policy = RetryPolicy(initial_interval="1000y", maximum_interval="1000y")
    assert decide(policy, 1, default_attempts=0, now=end, deadline_at=end) is None
    assert decide(policy, 1, default_attempts=0, now=NOW, deadline_at=end) == timedelta(
        days=365_250
    )
