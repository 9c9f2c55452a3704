"""Parallel steps in a worker: they overlap in threads, and keep the promises of one thread."""

from __future__ import annotations

import threading
from collections import Counter
from contextvars import ContextVar
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import connection

from django_openworkflow import RetryPolicy, RunHandle, Step, workflow
from django_openworkflow.exceptions import StepFailed
from django_openworkflow.models import WorkflowRun
from django_openworkflow.testing import advance
from tests.vocabulary.test_parallel import bad
from tests.worker.conftest import opened  # noqa: F401 - closes what a worker's threads opened
from tests.worker.workers import (
    PATIENCE_SECONDS,
    Gate,
    attempts_of,
    wait_for_end,
    wait_until,
    work_until_idle,
    working,
)

pytestmark = pytest.mark.django_db(transaction=True)

ONCE = RetryPolicy(maximum_attempts=1)


def test_branches_overlap_each_in_a_thread_of_its_own() -> None:
    meeting = threading.Barrier(8)
    threads: set[int] = set()

    def body(number: int) -> int:
        meeting.wait(PATIENCE_SECONDS)  # nobody leaves before all are there
        threads.add(threading.get_ident())
        return number

    @workflow("fan")
    def fan(step: Step) -> list[int]:
        return step.gather(*[step.call("body", body, number) for number in range(8)])

    handle = fan.start()
    work_until_idle(concurrency=1)

    assert handle.result(timeout=0) == list(range(8))
    assert len(threads) == 8
    assert sorted(attempts_of(handle)) == [
        (name, "completed") for name in ("body", *[f"body:{number}" for number in range(1, 8)])
    ]


def test_more_branches_than_threads_all_run_once() -> None:
    counts: Counter[int] = Counter()
    mutex = threading.Lock()

    def body(number: int) -> int:
        with mutex:
            counts[number] += 1
        return number

    @workflow("fan")
    def fan(step: Step) -> list[int]:
        return step.gather(*[step.call("body", body, number) for number in range(150)])

    handle = fan.start()
    work_until_idle()

    assert handle.result(timeout=0) == list(range(150))
    assert counts == dict.fromkeys(range(150), 1)


def test_branches_use_the_database_and_leave_no_connection_behind() -> None:
    @workflow("fan")
    def fan(step: Step) -> list[int]:
        def body(name: str) -> int:
            Group.objects.create(name=name)
            return 1

        return step.gather(*[step.call("body", body, f"group {n}") for n in range(6)])

    handle = fan.start()
    work_until_idle()

    assert handle.result(timeout=0) == [1] * 6
    assert Group.objects.count() == 6


def test_branches_see_the_context_of_the_workflow() -> None:
    variable: ContextVar[str] = ContextVar("variable", default="unset")

    @workflow("fan")
    def fan(step: Step) -> list[str]:
        variable.set("set")
        return step.gather(*[step.call("body", variable.get) for _ in range(3)])

    handle = fan.start()
    work_until_idle()

    assert handle.result(timeout=0) == ["set"] * 3


def test_finished_branches_stay_finished_while_others_wait_fail_and_try_again() -> None:
    counts: Counter[str] = Counter()
    mutex = threading.Lock()
    policy = RetryPolicy(initial_interval="10m", maximum_interval="1h", maximum_attempts=2)

    def body(name: str) -> str:
        with mutex:
            counts[name] += 1
        return name

    def flaky(**_options: Any) -> str:
        if body("flaky") and counts["flaky"] == 1:
            raise KeyError
        return "flaky"

    @workflow("nap")
    def nap(step: Step) -> str:
        step.sleep("nap", "1h")
        return "rested"

    @workflow("fan")
    def fan(step: Step) -> list[Any]:
        results = step.gather(
            step.call("a", body, "a"),
            step.call("nap", nap),
            step.call("flaky", flaky, retry_policy=policy),
            step.call("bad", bad(KeyError("bad")), retry_policy=ONCE),
            step.call("b", body, "b"),
            return_exceptions=True,
        )
        return [str(type(each)) if isinstance(each, StepFailed) else each for each in results]

    handle = fan.start()
    for _ in range(3):
        work_until_idle()
        advance("30m")
    work_until_idle()

    assert handle.result(timeout=0) == ["a", "rested", "flaky", str(StepFailed), "b"]
    assert counts == {"a": 1, "b": 1, "flaky": 2}


def test_all_branches_are_joined_before_the_run_goes_on() -> None:
    """One fails at once; the other is still inside: the run must not end meanwhile."""
    with Gate() as gate:

        @workflow("fan")
        def fan(step: Step) -> None:
            step.gather(
                step.call("bad", bad(KeyError("bad")), retry_policy=ONCE),
                step.call("held", gate.body),
            )

        handle = fan.start()
        with working():
            gate.wait_until_entered()
            wait_until(lambda: ("bad", "failed") in attempts_of(handle), "the failure")
            assert handle.status == "running"
            gate.open()
            wait_for_end(handle)

    assert handle.status == "failed"
    assert sorted(attempts_of(handle)) == [("bad", "failed"), ("held", "completed")]


def canceled_while_held(gate: Gate, later: list[str]) -> RunHandle[Any]:
    """Cancel a run while one of its branches is in its body; let the body end then."""

    @workflow("fan")
    def fan(step: Step) -> None:
        step.gather(step.call("held", gate.body), step.call("quick", lambda: "quick"))
        step.run("later", later.append, "later")

    handle = fan.start()
    with working():
        gate.wait_until_entered()
        wait_until(lambda: ("quick", "completed") in attempts_of(handle), "the quick branch")
        handle.cancel()
        gate.open()
        wait_until(lambda: ("held", "completed") in attempts_of(handle), "the late outcome")
    return handle


def test_a_cancel_keeps_the_outcome_of_every_branch_in_flight_and_starts_nothing_more() -> None:
    later: list[str] = []
    with Gate() as gate:
        handle = canceled_while_held(gate, later)

    assert handle.status == "canceled"
    assert later == []
    assert sorted(attempts_of(handle)) == [("held", "completed"), ("quick", "completed")]
    assert WorkflowRun.objects.count() == 1


def test_a_branch_may_be_a_child_run_of_the_same_worker() -> None:
    """A parent holds no slot while it waits: one slot is enough for three generations."""

    @workflow("tree")
    def tree(step: Step, depth: int) -> int:
        if depth == 0:
            return 1
        return sum(step.gather(*[step.call("below", tree, depth - 1) for _ in range(3)]))

    handle = tree.start(2)
    work_until_idle(concurrency=1)
    if handle.status != "completed":  # idle is what is not due within a second
        work_until_idle(concurrency=1)

    assert handle.result(timeout=0) == 9
    assert WorkflowRun.objects.count() == 13
    assert connection.is_usable()
