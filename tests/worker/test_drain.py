"""Stopping: what runs is finished and written down, nothing new begins, nobody is blamed."""

from __future__ import annotations

import sys
import threading
from datetime import timedelta
from itertools import count
from types import FrameType
from typing import Any

import pytest

from django_openworkflow import RunHandle, Step, Workflow, clock, workflow
from django_openworkflow.models import StepAttempt, WorkerProcess, WorkflowRun
from django_openworkflow.worker.worker import Worker
from tests.worker.workers import (
    PATIENCE_SECONDS,
    Gate,
    attempts_of,
    make_worker,
    run_to_end,
    wait_until,
    work_until_idle,
    working,
)

_SHORTLY = threading.Event()


def released(handle: RunHandle[Any]) -> WorkflowRun:
    """Return a run that must have been handed on: due, without a worker, and not blamed."""
    run = handle.run
    assert (run.status, run.worker_id) == ("running", None)
    assert run.available_at is not None
    assert run.available_at <= clock.read("default")
    assert (run.takeovers, run.crashes, run.failures, run.error) == (0, 0, 0, None)
    return run


@pytest.fixture
def restless() -> Workflow[..., None]:
    """Return a workflow that goes from step to step without end: it stops when it is drained."""

    @workflow("restless")
    def restless(step: Step) -> None:
        while True:
            step.run("again", _SHORTLY.wait, 0.02)

    defined: Workflow[..., None] = restless
    return defined


def wait_until_drained(handle: RunHandle[Any]) -> None:
    """Return once a restless run was released: by then the worker has told all of its runs."""
    wait_until(lambda: handle.run.worker_id is None, "the release of the restless run")


def test_a_step_in_flight_is_finished_and_recorded_and_no_other_one_begins(
    restless: Workflow[..., None],
) -> None:
    gate, late = Gate(), Gate()

    @workflow("two-steps")
    def two_steps(step: Step) -> str:
        return step.run("first", gate.body) + step.run("second", late.body, " too")

    handle = two_steps.start()
    with gate, late:
        with working() as worker:
            gate.wait_until_entered()
            other = restless.start()
            wait_until(lambda: attempts_of(other), "a restless run")
            worker.request_stop()
            wait_until_drained(other)
            gate.open()
        released(handle)
        assert attempts_of(handle) == [("first", "completed")]
        assert late.calls == 0
        other.cancel()
        late.open()
        work_until_idle()

    assert handle.result(timeout=0) == "done too"
    assert (gate.calls, late.calls) == (1, 1)
    run = handle.run
    assert (run.takeovers, run.crashes, run.attempts) == (0, 0, 2)


def test_a_run_that_would_complete_or_sleep_next_is_handed_on_or_ended_but_never_lost(
    restless: Workflow[..., None],
) -> None:
    gates = Gate(), Gate()

    @workflow("ending")
    def ending(step: Step) -> str:
        return step.run("only", gates[0].body)

    @workflow("sleeping")
    def sleeping(step: Step) -> None:
        step.run("only", gates[1].body)
        step.sleep("pause", "1h")

    ended, asleep = ending.start(), sleeping.start()
    with gates[0], gates[1], working() as worker:
        for gate in gates:
            gate.wait_until_entered()
        other = restless.start()
        wait_until(lambda: attempts_of(other), "a restless run")
        worker.request_stop()
        wait_until_drained(other)
        for gate in gates:
            gate.open()

    assert ended.result(timeout=0) == "done"
    released(asleep)
    assert attempts_of(asleep) == [("only", "completed")]


def test_a_step_that_fails_while_the_worker_drains_keeps_its_pause(
    restless: Workflow[..., None],
) -> None:
    gate = Gate()

    def fail() -> None:
        gate.body()
        raise ValueError

    @workflow("failing")
    def failing(step: Step) -> None:
        step.run("fail", fail)

    handle = failing.start()
    before = clock.read("default")
    with gate, working() as worker:
        gate.wait_until_entered()
        other = restless.start()
        wait_until(lambda: attempts_of(other), "a restless run")
        worker.request_stop()
        wait_until_drained(other)
        gate.open()

    run = handle.run
    assert attempts_of(handle) == [("fail", "failed")]
    assert (run.worker_id, run.failures, run.crashes) == (None, 0, 0)
    assert run.available_at is not None
    assert run.available_at >= before + timedelta(seconds=1)


def test_a_step_that_outlives_the_grace_time_is_handed_on_and_written_by_nobody() -> None:
    gate = Gate()

    @workflow("stuck")
    def stuck(step: Step) -> str:
        return step.run("wait", gate.body)

    handle = stuck.start()
    with gate:
        with working(grace_seconds=0.1):
            gate.wait_until_entered()
        released(handle)
        assert attempts_of(handle) == [("wait", "running")]
        assert not WorkerProcess.objects.exists()
    wait_until(
        lambda: not any(t.name == "openworkflow-0" for t in threading.enumerate()),
        "the end of the body that was left behind",
    )

    released(handle)
    assert attempts_of(handle) == [("wait", "running")]
    work_until_idle()
    assert handle.result(timeout=0) == "done"
    assert gate.calls == 2
    assert StepAttempt.objects.get().interruptions == 1


def test_a_body_that_asks_learns_that_its_grace_time_is_over() -> None:
    answers: list[bool] = []
    gate = Gate()

    @workflow("polite")
    def polite(step: Step) -> None:
        def body() -> None:
            gate.body()
            answers.append(step.cancel_requested)

        step.run("ask", body)

    polite.start()
    with gate, working(grace_seconds=0.05):
        gate.wait_until_entered()
    wait_until(lambda: answers, "the answer")

    assert answers == [True]


def test_a_stop_that_was_asked_for_before_the_start_is_not_forgotten() -> None:
    @workflow("untouched")
    def untouched(step: Step) -> None:
        return None

    handle = untouched.start()
    worker = make_worker()
    worker.request_stop()
    run_to_end(worker)

    assert (handle.status, worker.executed) == ("pending", 0)


def test_an_idle_worker_stops_at_once_and_twice_is_no_harm() -> None:
    with working(poll_seconds=(5.0, 5.0)) as worker:
        wait_until(WorkerProcess.objects.exists, "the worker's row")
        worker.request_stop()
        worker.request_stop()
        wait_until(lambda: not WorkerProcess.objects.exists(), "the end of the worker")


def test_a_round_can_be_stopped_in_the_middle(restless: Workflow[..., None]) -> None:
    handle = restless.start()
    worker = make_worker()
    thread = threading.Thread(target=worker.run, kwargs={"once": True})
    thread.start()
    wait_until(lambda: attempts_of(handle), "the first step")
    worker.request_stop()
    thread.join(20)

    assert not thread.is_alive()
    released(handle)


def lines_until_stopped(worker: Worker, nth: int) -> int:
    """Run a worker, and stop it from within its first pause, before the nth line that it executes.

    That is how a signal handler comes: in the thread that works, whatever this one holds. Returns
    how many lines the pause has; whoever asks for more of them stops the worker at its end.
    """
    lines = 0

    def trace(frame: FrameType, event: str, _value: object) -> Any:
        nonlocal lines
        if lines < 0 or "_wait" not in callers_of(frame):
            return trace
        if event == "line":
            lines += 1
        is_over = event == "return" and frame.f_code is Worker._wait.__code__
        if is_over or lines == nth:
            worker.request_stop()
            sys.settrace(None)
            found.append(lines)
            lines = -1
        return trace

    found: list[int] = []

    def work() -> None:
        sys.settrace(trace)
        try:
            worker.run()
        finally:
            sys.settrace(None)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(PATIENCE_SECONDS)
    assert not thread.is_alive(), f"a stop at line {nth} of the pause was never heard of"
    return found[0]


def callers_of(frame: FrameType | None) -> list[str]:
    """Return the names of the worker's methods that a frame belongs to."""
    names = []
    while frame is not None:
        if isinstance(frame.f_locals.get("self"), Worker):
            names.append(frame.f_code.co_name)
        frame = frame.f_back
    return names


def test_a_signal_may_come_at_any_moment_of_a_pause() -> None:
    for nth in count(1):
        if lines_until_stopped(make_worker(poll_seconds=(0.001, 0.001)), nth) < nth:
            break
    assert nth > 5
