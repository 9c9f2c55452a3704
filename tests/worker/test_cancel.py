"""A cancel, or another worker, while a body runs: it learns of it, and writes nothing more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from django_openworkflow import RunHandle, Step, clock, workflow
from django_openworkflow.exceptions import RunCanceled
from django_openworkflow.models import StepAttempt, WorkflowRun
from django_openworkflow.states import RunStatus
from tests.factories import StepAttemptFactory, WorkflowRunFactory
from tests.worker.workers import (
    SHORT_LEASE_SECONDS,
    Gate,
    attempts_of,
    steal,
    wait_for_end,
    wait_until,
    work_until_idle,
    working,
)


def rows_of(handle: RunHandle[Any]) -> list[Any]:
    """Return all that is stored of a run."""
    return [
        list(WorkflowRun.objects.filter(pk=handle.id).values()),
        list(StepAttempt.objects.filter(workflow_run=handle.id).values()),
    ]


def wait_until_wanted_no_more(step: Step) -> bool:
    """Wait inside a body until its step says that nobody wants it."""
    wait_until(lambda: step.cancel_requested, "word of the cancel")
    return True


# --- canceled -----------------------------------------------------------------------------------


def cancel_in_mid_body(body: Callable[[Step], object]) -> tuple[StepAttempt, list[int]]:
    """Cancel a run while its body runs; return the attempt, and the steps that came later."""
    late: list[int] = []

    @workflow("long")
    def long(step: Step) -> None:
        step.run("body", body, step)
        step.run("late", late.append, 1)

    handle = long.start()
    with working(lease_seconds=SHORT_LEASE_SECONDS):
        wait_until(lambda: attempts_of(handle), "the body")
        handle.cancel(reason="enough", actor="ada")
        canceled = rows_of(handle)[0]
        wait_until(lambda: attempts_of(handle) != [("body", "running")], "the kept outcome")
    assert rows_of(handle)[0] == canceled  # the run as the cancel left it
    return StepAttempt.objects.get(), late


def test_a_running_body_learns_of_a_cancel_and_its_result_is_kept() -> None:
    def finish(step: Step) -> str:
        wait_until_wanted_no_more(step)
        return "finished all the same"

    attempt, late = cancel_in_mid_body(finish)

    assert (attempt.status, attempt.output) == ("completed", "finished all the same")
    assert late == []


def test_a_running_body_that_asks_ends_with_the_cancel_and_that_is_kept() -> None:
    raised: list[type[BaseException]] = []

    def ask(step: Step) -> None:
        wait_until_wanted_no_more(step)
        try:
            step.raise_if_canceled()
        except BaseException as error:
            raised.append(type(error))
            raise

    attempt, late = cancel_in_mid_body(ask)

    assert (attempt.status, (attempt.error or {})["name"]) == ("failed", "RunCanceled")
    assert (raised, late) == ([RunCanceled], [])


def test_a_run_canceled_between_two_steps_starts_no_further_one() -> None:
    gate = Gate()
    late: list[int] = []

    @workflow("long")
    def long(step: Step) -> None:
        step.run("first", lambda: None)
        gate.body()
        step.run("late", late.append, 1)

    handle = long.start()
    with gate, working():
        gate.wait_until_entered()
        handle.cancel()
        gate.open()

    assert late == []
    assert (handle.status, attempts_of(handle)) == ("canceled", [("first", "completed")])


# --- lost ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("fails", [True, False])
def test_a_zombie_whose_run_has_another_worker_writes_nothing(*, fails: bool) -> None:
    gate = Gate()
    late: list[int] = []

    def body() -> None:
        gate.body()
        if fails:
            raise ValueError

    @workflow("stolen")
    def stolen(step: Step) -> None:
        step.run("body", body)
        step.run("late", late.append, 1)

    handle = stolen.start()
    with gate:
        with working(lease_seconds=600):
            gate.wait_until_entered()
            runs = WorkflowRun.objects.filter(pk=handle.id)
            runs.update(worker_id="thief:token")
            before = rows_of(handle)
            gate.open()
        assert rows_of(handle) == before
    assert late == []


def test_a_body_whose_run_has_another_worker_is_told_so() -> None:
    told: list[bool] = []

    @workflow("stolen")
    def stolen(step: Step) -> None:
        step.run("body", lambda: told.append(wait_until_wanted_no_more(step)))

    handle = stolen.start()
    with working(lease_seconds=SHORT_LEASE_SECONDS):
        wait_until(lambda: attempts_of(handle), "the body")
        steal(handle)
        wait_until(lambda: told, "the answer")

    assert (handle.status, handle.run.worker_id) == ("running", "thief:token")


def test_a_run_whose_deadline_passes_in_mid_step_has_failed_for_good() -> None:
    told: list[bool] = []

    @workflow("late")
    def late(step: Step) -> str:
        step.run("body", lambda: told.append(wait_until_wanted_no_more(step)))
        return "too late"

    handle = late.start()
    with working(lease_seconds=SHORT_LEASE_SECONDS):
        wait_until(lambda: attempts_of(handle), "the body")
        WorkflowRun.objects.filter(pk=handle.id).update(deadline_at=clock.read("default"))
        wait_for_end(handle)
        failed = rows_of(handle)[0]
        wait_until(lambda: told, "the answer")

    assert rows_of(handle)[0] == failed
    assert handle.run.error == {"message": "Workflow run deadline exceeded"}


# --- held and taken over ------------------------------------------------------------------------


def test_a_body_longer_than_its_lease_is_not_executed_twice() -> None:
    gate = Gate()

    @workflow("long")
    def long(step: Step) -> str:
        return step.run("body", gate.body)

    handle = long.start()
    with gate, working(lease_seconds=4.5), working(lease_seconds=4.5):
        gate.wait_until_entered()
        first = handle.run.available_at
        assert first is not None
        # The first lease is over, by the database's clock, and the body still runs.
        wait_until(lambda: clock.read("default") > first, "the end of the first lease")
        wait_until(lambda: (handle.run.available_at or first) > first, "a heartbeat")
        gate.open()
        wait_for_end(handle)

    assert handle.result(timeout=0) == "done"
    assert (gate.calls, handle.run.takeovers, handle.run.attempts) == (1, 0, 1)


def test_the_runs_of_a_dead_worker_are_taken_over_when_their_lease_ends() -> None:
    @workflow("process-order")
    def process_order(step: Step) -> str:
        return step.run("charge", lambda: "charged")

    expired = WorkflowRunFactory.create(expired=True)
    soon = WorkflowRunFactory.create(running=True)
    left = StepAttemptFactory.create(workflow_run=expired, step_name="charge")
    with working():
        wait_for_end(RunHandle(expired.pk))
        soon.refresh_from_db()
        assert soon.status == "running"  # its lease still holds
        WorkflowRun.objects.filter(pk=soon.pk).update(available_at=clock.read("default"))
        wait_for_end(RunHandle(soon.pk))
    left.refresh_from_db()

    assert (left.status, left.output, left.interruptions) == ("completed", "charged", 1)
    for run in (expired, soon):
        run.refresh_from_db()
        assert (run.status, run.takeovers, run.failures) == (RunStatus.COMPLETED, 1, 0)


def test_a_run_that_loses_every_worker_is_stopped_and_others_go_on() -> None:
    @workflow("process-order")
    def process_order(step: Step) -> None:
        return None

    poison = WorkflowRunFactory.create(expired=True, crashes=4)
    good = process_order.start()
    with working():
        wait_for_end(good, RunHandle(poison.pk))
    poison.refresh_from_db()

    assert (good.status, poison.status) == ("completed", "failed")
    assert poison.error["name"] == "PoisonPill"
    assert work_until_idle().executed == 0
