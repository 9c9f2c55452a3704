"""Parallel steps in sync code: order, names, errors, and finished branches that stay finished."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from django_openworkflow import RetryPolicy, RunHandle, Step, workflow
from django_openworkflow.testing import advance, run_until_idle
from tests.engine.passes import attempts_of, database_now, raiser, step_names, tick
from tests.vocabulary.test_signals import due_at

pytestmark = pytest.mark.django_db

ONCE = RetryPolicy(maximum_attempts=1)


class Effects:
    """Counts what bodies do, over all passes, and how often the workflow function began."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.passes = 0

    def body(self, name: str) -> str:
        """Do something that can be counted."""
        self.counts[name] += 1
        return name

    def failing(self, name: str, times: int) -> Callable[..., str]:
        """Return a body that fails so many times before it does not."""

        def body() -> str:
            if self.body(name) and self.counts[name] <= times:
                message = f"{name} failed {self.counts[name]} times"
                raise ValueError(message)
            return name

        return body


def bad(error: Exception) -> Callable[..., Any]:
    """Return a body that raises this error."""
    return raiser(error)


@pytest.fixture
def effects() -> Effects:
    return Effects()


# --- results, names -----------------------------------------------------------------------------


def test_results_come_in_the_order_of_the_calls_and_so_do_names(effects: Effects) -> None:
    @workflow("fan")
    def fan(step: Step) -> list[Any]:
        step.run("a", lambda: None)
        calls = [step.call(name, effects.body, name) for name in ("b", "a", "a", "c")]
        return [*step.gather(*calls), step.run("a", lambda: "last")]

    handle = fan.start()
    run_until_idle()

    assert handle.result(timeout=0) == ["b", "a", "a", "c", "last"]
    assert step_names(handle) == ["a", "b", "a:1", "a:2", "c", "a:3"]
    assert effects.counts == {"a": 2, "b": 1, "c": 1}


def test_names_follow_the_order_in_gather_not_the_order_of_making(effects: Effects) -> None:
    @workflow("fan")
    def fan(step: Step) -> list[str]:
        first, second = (step.call("same", effects.body, name) for name in ("x", "y"))
        return step.gather(second, first)

    handle = fan.start()
    run_until_idle()

    assert handle.result(timeout=0) == ["y", "x"]
    assert [(each.step_name, each.output) for each in attempts_of(handle)] == [
        ("same", "y"),
        ("same:1", "x"),
    ]


def test_arguments_reach_the_body_but_not_the_engines_own_options() -> None:
    def body(*args: Any, **kwargs: Any) -> list[Any]:
        return [list(args), kwargs]

    @workflow("fan")
    def fan(step: Step) -> list[Any]:
        return step.gather(step.call("a", body, 1, 2, three=3, retry_policy=ONCE))

    handle = fan.start()
    run_until_idle()

    assert handle.result(timeout=0) == [[[1, 2], {"three": 3}]]


def test_nothing_to_gather_is_an_empty_list() -> None:
    @workflow("fan")
    def fan(step: Step) -> list[Any]:
        return step.gather()

    handle = fan.start()
    run_until_idle()

    assert handle.result(timeout=0) == []


def test_a_call_that_is_not_gathered_runs_nothing(effects: Effects) -> None:
    @workflow("fan")
    def fan(step: Step) -> None:
        step.call("lost", effects.body, "lost")

    handle = fan.start()
    run_until_idle()

    assert (handle.status, step_names(handle)) == ("completed", [])
    assert not effects.counts


def test_many_branches(effects: Effects) -> None:
    @workflow("fan")
    def fan(step: Step) -> list[str]:
        return step.gather(*[step.call("n", effects.body, str(n)) for n in range(100)])

    handle = fan.start()
    run_until_idle()

    assert handle.result(timeout=0) == [str(number) for number in range(100)]
    assert step_names(handle) == ["n", *[f"n:{number}" for number in range(1, 100)]]


# --- finished branches --------------------------------------------------------------------------


def start_with_waiter(effects: Effects) -> RunHandle[Any]:
    """Start a run with two quick branches around a child run that takes an hour."""

    @workflow("nap")
    def nap(step: Step) -> str:
        step.sleep("nap", "1h")
        return "rested"

    @workflow("fan")
    def fan(step: Step) -> list[str]:
        effects.passes += 1
        return step.gather(
            step.call("before", effects.body, "before"),
            step.call("nap", nap),
            step.call("after", effects.body, "after"),
        )

    handle = fan.start()
    run_until_idle()
    return handle


def test_a_branch_that_waits_lets_its_siblings_finish_and_they_never_run_again(
    effects: Effects,
) -> None:
    handle = start_with_waiter(effects)
    assert [(each.step_name, each.status) for each in attempts_of(handle)] == [
        ("before", "completed"),
        ("nap", "running"),
        ("after", "completed"),
    ]
    assert (handle.run.status, handle.run.worker_id) == ("running", None)
    tick("1h")

    assert handle.result(timeout=0) == ["before", "rested", "after"]
    assert effects.counts == {"before": 1, "after": 1}
    assert effects.passes == 2


def test_a_branch_that_fails_for_good_lets_its_siblings_finish(effects: Effects) -> None:
    @workflow("fan")
    def fan(step: Step) -> None:
        step.gather(
            step.call("bad", bad(ValueError("bad")), retry_policy=ONCE),
            step.call("good", effects.body, "good"),
        )

    handle = fan.start()
    run_until_idle()

    assert handle.run.error["message"] == "bad"
    assert [(each.step_name, each.status) for each in attempts_of(handle)] == [
        ("bad", "failed"),
        ("good", "completed"),
    ]
    assert effects.counts == {"good": 1}


def test_a_branch_that_is_tried_again_leaves_finished_siblings_alone(effects: Effects) -> None:
    policy = RetryPolicy(initial_interval="1m", maximum_attempts=4)

    @workflow("fan")
    def fan(step: Step) -> list[str]:
        effects.passes += 1
        return step.gather(
            step.call("first", effects.body, "first"),
            step.call("flaky", effects.failing("flaky", 3), retry_policy=policy),
            step.call("last", effects.body, "last"),
        )

    handle = fan.start()
    run_until_idle()
    for _ in range(3):
        tick("5m")

    assert handle.result(timeout=0) == ["first", "flaky", "last"]
    assert effects.counts == {"first": 1, "flaky": 4, "last": 1}
    assert effects.passes == 4
    assert handle.run.failures == 0


def test_each_branch_keeps_its_own_back_off(effects: Effects) -> None:
    """The quick one's tries must not become tries of the slow one."""
    slow = RetryPolicy(initial_interval="10m", maximum_interval="1h", maximum_attempts=3)
    quick = RetryPolicy(initial_interval="1m", backoff_coefficient=1, maximum_attempts=5)

    @workflow("fan")
    def fan(step: Step) -> list[str]:
        return step.gather(
            step.call("slow", effects.failing("slow", 1), retry_policy=slow),
            step.call("quick", effects.failing("quick", 4), retry_policy=quick),
        )

    handle = fan.start()
    run_until_idle()
    begun_at = database_now()
    seen = []
    while handle.status != "completed":
        advance(due_at(handle) - database_now())
        minutes = round((database_now() - begun_at).total_seconds() / 60)
        run_until_idle()
        seen.append((minutes, effects.counts["quick"], effects.counts["slow"]))

    assert seen == [(1, 2, 1), (2, 3, 1), (3, 4, 1), (4, 5, 1), (10, 5, 2)]
    assert handle.result(timeout=0) == ["slow", "quick"]


def test_a_wait_that_ends_first_leaves_a_back_off_as_long_as_it_is(effects: Effects) -> None:
    policy = RetryPolicy(initial_interval="10m", maximum_interval="1h", maximum_attempts=3)

    @workflow("nap")
    def nap(step: Step) -> None:
        step.sleep("nap", "4m")

    @workflow("fan")
    def fan(step: Step) -> None:
        step.gather(
            step.call("flaky", effects.failing("flaky", 1), retry_policy=policy),
            step.call("nap", nap),
        )

    handle = fan.start()
    run_until_idle()
    tick("4m")
    assert effects.counts == {"flaky": 1}
    assert handle.status == "pending"
    tick("5m")
    assert effects.counts == {"flaky": 1}
    tick("1m")
    assert (effects.counts, handle.status) == ({"flaky": 2}, "completed")
