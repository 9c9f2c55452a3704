"""Transaction steps against a cancel, a drain and a lost lease: whoever commits first counts."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Final

import pytest
from django.contrib.auth.models import Group
from django.db import connection, transaction

from django_openworkflow import RetryPolicy, RunHandle, Step, clock, workflow
from django_openworkflow.models import StepAttempt, WorkflowRun
from tests.races.rivals import OpenTransaction, Rival, requires_row_locks, rivals
from tests.worker.conftest import opened  # noqa: F401 - closes what a worker's threads opened
from tests.worker.workers import (
    Gate,
    attempts_of,
    wait_for_end,
    wait_until,
    work_until_idle,
    working,
)

pytestmark = pytest.mark.django_db(transaction=True)

ONCE: Final = RetryPolicy(maximum_attempts=1)


class Held:
    """A body that writes, waits inside for leave, and then returns or raises."""

    def __init__(self, gate: Gate, *, raises: bool = False) -> None:
        self._gate = gate
        self._raises = raises

    def __call__(self) -> str:
        Group.objects.create(name=f"try {self._gate.calls}")
        self._gate.body()
        if self._raises:
            message = "after the write"
            raise ValueError(message)
        return "held"


def start_holding(
    kind: str, body: Callable[[], str], later: list[str], policy: RetryPolicy = ONCE
) -> RunHandle[Any]:
    """Start a run with this body as a step of this kind, and a step after it."""

    @workflow("holding")
    def holding(step: Step) -> str:
        call = step.run if kind == "run" else step.transaction
        result: str = call("held", body, retry_policy=policy)
        step.run("later", later.append, "later")
        return result

    return holding.start()


def the_attempt(handle: RunHandle[Any]) -> StepAttempt:
    return StepAttempt.objects.get(workflow_run=handle.id, step_name="held")


# --- cancel -------------------------------------------------------------------------------------


@requires_row_locks
def test_a_cancel_that_commits_first_takes_the_writes_back() -> None:
    later: list[str] = []
    with Gate() as gate:
        handle = start_holding("transaction", Held(gate), later)
        with working():
            gate.wait_until_entered()
            handle.cancel()
            gate.open()

    assert handle.status == "canceled"
    assert not Group.objects.exists()
    assert later == []
    assert the_attempt(handle).status != "completed"


@requires_row_locks
def test_the_attempt_that_a_cancel_rolled_back_is_not_said_to_be_running_for_ever() -> None:
    with Gate() as gate:
        handle = start_holding("transaction", Held(gate), [])
        with working():
            gate.wait_until_entered()
            handle.cancel()
            gate.open()

    attempt = the_attempt(handle)
    assert (attempt.status, attempt.output, attempt.is_late) == ("failed", None, True)
    assert attempt.finished_at is not None


@requires_row_locks
@pytest.mark.parametrize("kind", ["run", "transaction"])
def test_a_body_that_raises_after_the_cancel_leaves_its_error_on_the_attempt(kind: str) -> None:
    """The outcome of the step in flight is kept, whatever its kind and whatever it is."""
    steps: list[Step] = []
    with Gate() as gate:
        body = Held(gate, raises=True)

        @workflow("holding")
        def holding(step: Step) -> None:
            steps.append(step)
            call = step.run if kind == "run" else step.transaction
            call("held", body, retry_policy=ONCE)

        handle = holding.start()
        with working():
            gate.wait_until_entered()
            handle.cancel()
            wait_until(lambda: steps[0].cancel_requested, "the news of the cancel")
            gate.open()

    assert handle.status == "canceled"
    attempt = the_attempt(handle)
    assert (attempt.status, attempt.is_late) == ("failed", True)
    assert attempt.error["message"] == "after the write"


def test_a_cancel_that_commits_later_keeps_what_was_committed() -> None:
    later: list[str] = []
    canceled: list[str] = []

    def body() -> str:
        Group.objects.create(name="kept")
        transaction.on_commit(lambda: canceled.append(handle.cancel().status))
        return "done"

    handle = start_holding("transaction", body, later)
    work_until_idle()

    assert (handle.status, canceled, later) == ("canceled", ["canceled"], [])
    assert Group.objects.get().name == "kept"
    assert (the_attempt(handle).status, the_attempt(handle).output) == ("completed", "done")
    assert the_attempt(handle).is_late is False


@requires_row_locks
def test_the_commit_of_a_body_waits_for_an_open_cancel_and_heeds_how_it_ends() -> None:
    """A cancel that is rolled back never was: the step commits as if nothing had happened."""
    with Gate() as gate, rivals("caller") as (caller,):
        handle = start_holding("transaction", Held(gate), [])
        with working():
            gate.wait_until_entered()
            with Undecided(caller, handle) as cancel:
                gate.open()
                wait_until(lambda: waits_for_lock(cancel), "the wait for the cancel")
                assert not Group.objects.exists()
            wait_for_end(handle)

    assert handle.result(timeout=0) == "held"
    assert Group.objects.count() == 1


class Undecided:
    """A cancel in another connection, open until the block ends, then rolled back."""

    def __init__(self, caller: Rival, handle: RunHandle[Any]) -> None:
        self.pid = caller.pid
        self._open = OpenTransaction(caller, handle.cancel)

    def __enter__(self) -> Undecided:
        return self

    def __exit__(self, *_error: object) -> None:
        self._open.end(commit=False)


def waits_for_lock(cancel: Undecided) -> bool:
    """Whether somebody waits for what the cancel has locked."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE %s = ANY (pg_blocking_pids(pid))",
            [cancel.pid],
        )
        return bool(cursor.fetchone()[0])


# --- drain, lost lease --------------------------------------------------------------------------

_SHORTLY: Final = threading.Event()


def start_restless() -> RunHandle[Any]:
    """Start a run that goes from step to step without end: it stops when it is drained."""

    @workflow("restless")
    def restless(step: Step) -> None:
        while True:
            step.run("again", _SHORTLY.wait, 0.02)

    return restless.start()


@requires_row_locks
@pytest.mark.parametrize("raises", [False, True], ids=["returns", "raises"])
@pytest.mark.parametrize("kind", ["run", "transaction"])
def test_a_worker_that_drains_records_how_the_step_in_flight_ended(
    kind: str, *, raises: bool
) -> None:
    later: list[str] = []
    policy = RetryPolicy(initial_interval="1h", maximum_interval="1h", maximum_attempts=2)
    with Gate() as gate:
        handle = start_holding(kind, Held(gate, raises=raises), later, policy)
        restless = start_restless()
        with working() as worker:
            gate.wait_until_entered()
            wait_until(lambda: attempts_of(restless), "the restless run")
            worker.request_stop()
            wait_until(lambda: restless.run.worker_id is None, "the news of the drain")
            gate.open()

    assert attempts_of(handle) == [("held", "failed" if raises else "completed")]
    assert later == []
    assert handle.run.worker_id is None
    assert Group.objects.count() == (0 if raises and kind == "transaction" else 1)


@requires_row_locks
def test_a_worker_that_has_lost_its_lease_commits_nothing() -> None:
    """Two bodies of one step run at once: the one whose claim is the latest counts."""
    later: list[str] = []
    with Gate() as gate:
        handle = start_holding("transaction", Held(gate), later)
        with working(lease_seconds=60):
            gate.wait_until_entered()
            claim = WorkflowRun.objects.filter(pk=handle.id, worker_id=handle.run.worker_id)

            def is_taken_over() -> bool:
                claim.update(available_at=clock.read("default"))  # again: a heartbeat may extend it
                return gate.calls == 2

            wait_until(is_taken_over, "the second body")
            gate.open()
            wait_for_end(handle)

    assert handle.result(timeout=0) == "held"
    assert later == ["later"]
    assert Group.objects.count() == 1
    assert handle.run.takeovers == 1
