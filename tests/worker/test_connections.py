"""The connections of user code in a worker: healthy, bounded, and nobody else's trouble."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from django.contrib.auth.models import Group
from django.db import IntegrityError, connection, transaction

from django_openworkflow import RetryPolicy, Step, workflow
from django_openworkflow.models import WorkflowRun
from tests.races.rivals import requires_row_locks
from tests.worker.workers import (
    PATIENCE_SECONDS,
    Gate,
    attempts_of,
    backend_pid,
    is_alive,
    make_worker,
    run_to_end,
    wait_for_end,
    wait_until,
    work_until_idle,
    working,
)

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

ONCE = RetryPolicy(maximum_attempts=1)


def terminate(pid: int) -> None:
    """Kill one connection."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s)", [pid])
    wait_until(lambda: not is_alive(pid), "the end of the connection")


# --- killed connections -------------------------------------------------------------------------


@requires_row_locks
def test_a_connection_killed_during_a_long_step_is_replaced_before_the_next_one() -> None:
    pids: list[int] = []
    gate = Gate()

    @workflow("two-steps")
    def two_steps(step: Step) -> list[int]:
        pids.append(step.run("first", backend_pid))
        step.run("long", gate.body)
        return [*pids, step.run("second", backend_pid, retry_policy=ONCE)]

    handle = two_steps.start()
    with gate, working(concurrency=1):
        gate.wait_until_entered()
        terminate(pids[0])
        # A connection that answered is trusted for a second: the step is longer than that.
        begun = time.monotonic()
        wait_until(lambda: time.monotonic() > begun + 1.1, "a second to pass")
        gate.open()
        wait_for_end(handle)

    first, second = handle.result(timeout=0)
    assert first == pids[0] != second


@requires_row_locks
def test_a_connection_killed_between_two_runs_is_replaced() -> None:
    @workflow("asking")
    def asking(step: Step) -> int:
        return step.run("pid", backend_pid, retry_policy=ONCE)

    with working(concurrency=1):
        earlier = asking.start()
        wait_for_end(earlier)
        pid = earlier.result(timeout=0)
        terminate(pid)
        later = asking.start()
        wait_for_end(later)

    assert later.result(timeout=0) != pid


@requires_row_locks
def test_a_connection_killed_inside_a_body_is_replaced_for_the_next_try() -> None:
    def kill_myself() -> str:
        if WorkflowRun.objects.filter(step_attempts__status="failed").exists():
            return "healthy"
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        return "never"

    @workflow("killing")
    def killing(step: Step) -> str:
        return step.run("kill", kill_myself, retry_policy=RetryPolicy(initial_interval="1ms"))

    handle = killing.start()
    work_until_idle(concurrency=1)

    assert handle.result(timeout=0) == "healthy"
    assert attempts_of(handle) == [("kill", "failed"), ("kill", "completed")]


# --- how many -----------------------------------------------------------------------------------


def test_connections_are_bounded_by_the_threads_whatever_the_number_of_runs(
    opened: list[BaseDatabaseWrapper],
) -> None:
    together = threading.Barrier(3, timeout=PATIENCE_SECONDS / 2)

    def query() -> int:
        together.wait()
        return Group.objects.count()

    @workflow("querying")
    def querying(step: Step) -> None:
        step.run("query", query)

    querying.start_many([{}] * 30)
    work_until_idle(concurrency=3)

    assert WorkflowRun.objects.completed().count() == 30
    # One for each thread of user code; the ledger's, the claimer's and the upkeep's.
    assert len(opened) <= 3 + 3


def test_a_worker_that_has_ended_leaves_no_connection_open(
    opened: list[BaseDatabaseWrapper],
) -> None:
    @workflow("querying")
    def querying(step: Step) -> None:
        step.run("query", Group.objects.count)

    querying.start_many([{}] * 4)
    work_until_idle(concurrency=2)
    assert len(opened) > 1

    wait_until(
        lambda: all(wrapper.connection is None for wrapper in opened),
        "the end of all connections",
    )


# --- transactions that user code leaves behind --------------------------------------------------


def add_group(name: str) -> None:
    """Write something of the user's own."""
    Group.objects.create(name=name)


def test_a_transaction_left_open_in_a_body_takes_nothing_of_the_next_run_with_it() -> None:
    def leave_open() -> None:
        transaction.atomic().__enter__()
        add_group("lost")

    @workflow("careless")
    def careless(step: Step) -> None:
        step.run("leave", leave_open, retry_policy=ONCE)

    @workflow("innocent")
    def innocent(step: Step) -> None:
        step.run("write", add_group, "kept")

    bad, good = careless.start(), innocent.start()
    work_until_idle(concurrency=1)

    assert (bad.status, good.status) == ("failed", "completed")
    assert list(Group.objects.values_list("name", flat=True)) == ["kept"]


def test_a_transaction_left_open_outside_of_steps_takes_nothing_of_the_next_run_with_it() -> None:
    @workflow("careless")
    def careless(step: Step) -> None:
        transaction.atomic().__enter__()
        add_group("lost")

    @workflow("innocent")
    def innocent(step: Step) -> None:
        step.run("write", add_group, "kept")

    careless.start()
    good = innocent.start()
    work_until_idle(concurrency=1)

    assert good.status == "completed"
    assert list(Group.objects.values_list("name", flat=True)) == ["kept"]


def test_autocommit_left_off_outside_of_steps_takes_nothing_of_the_next_run_with_it() -> None:
    @workflow("careless")
    def careless(step: Step) -> None:
        transaction.set_autocommit(False)
        add_group("lost")

    @workflow("innocent")
    def innocent(step: Step) -> None:
        step.run("write", add_group, "kept")

    careless.start()
    good = innocent.start()
    run_to_end(make_worker(concurrency=1), until_idle=True)

    assert good.status == "completed"
    assert list(Group.objects.values_list("name", flat=True)) == ["kept"]


def test_a_transaction_that_a_body_broke_does_not_break_the_engines_writes() -> None:
    def break_it() -> str:
        with transaction.atomic():
            try:
                add_group("taken")
            except IntegrityError:
                return "swallowed"
        return "never"

    @workflow("breaking")
    def breaking(step: Step) -> list[str]:
        return [step.run("break", break_it), step.run("next", lambda: "healthy")]

    add_group("taken")
    handle = breaking.start()
    work_until_idle(concurrency=1)

    assert handle.result(timeout=0) == ["swallowed", "healthy"]
