"""A worker at work: as many runs at a time as it may, the right ones, and then it ends."""

from __future__ import annotations

import threading
from typing import Any

from django.db import connection

from django_openworkflow import Step, signals, workflow
from django_openworkflow.models import StepAttempt, WorkerProcess, WorkflowRun
from tests.factories import WorkerProcessFactory, WorkflowRunFactory
from tests.races.rivals import requires_row_locks
from tests.worker.workers import (
    PATIENCE_SECONDS,
    SHORT_LEASE_SECONDS,
    Gate,
    make_worker,
    run_to_end,
    wait_for_end,
    wait_until,
    work_until_idle,
    working,
)


def define_quick(name: str = "quick", **options: Any) -> Any:
    """Define a workflow of one step that returns at once."""

    @workflow(name, **options)
    def quick(step: Step) -> str:
        return step.run("work", lambda: "done")

    return quick


# --- how many -----------------------------------------------------------------------------------


def test_as_many_runs_as_allowed_execute_at_once_and_never_more() -> None:
    together = threading.Barrier(3, timeout=PATIENCE_SECONDS / 2)
    mutex = threading.Lock()
    inside, peak = 0, 0

    def meet() -> None:
        nonlocal inside, peak
        with mutex:
            inside += 1
            peak = max(peak, inside)
        together.wait()  # broken, and the step failed, unless three are inside at once
        with mutex:
            inside -= 1

    @workflow("meeting")
    def meeting(step: Step) -> None:
        step.run("meet", meet)

    meeting.start_many([{}] * 9)
    worker = work_until_idle(concurrency=3)

    assert peak == 3
    assert worker.executed == 9
    assert WorkflowRun.objects.completed().count() == 9
    assert StepAttempt.objects.completed().count() == 9


def test_one_round_executes_what_there_is_room_for_and_ends() -> None:
    quick = define_quick()
    quick.start_many([{}] * 5)
    worker = run_to_end(make_worker(concurrency=2), once=True)

    assert worker.executed == 2
    assert WorkflowRun.objects.completed().count() == 2
    assert WorkflowRun.objects.pending().count() == 3


# --- which --------------------------------------------------------------------------------------


def test_a_worker_serves_its_queues_and_leaves_the_others_alone() -> None:
    served = [define_quick(f"in-{queue}", queue=queue).start() for queue in ("a", "b")]
    left = define_quick("in-c", queue="c").using(available_at="1h").start()
    due = define_quick("in-d", queue="d").start()
    with working(queues=["b", "a"]):
        wait_for_end(*served)

    assert [handle.status for handle in (*served, left, due)] == [
        "completed",
        "completed",
        "pending",
        "pending",
    ]


def test_a_worker_of_some_queues_is_idle_although_another_queue_has_work() -> None:
    define_quick("elsewhere", queue="b").start()
    here = define_quick("here", queue="a").start()
    work_until_idle(queues=["a"])

    assert here.status == "completed"


def test_runs_that_only_another_live_worker_knows_are_left_to_it() -> None:
    WorkerProcessFactory.create(workflows=[["elsewhere", None]])
    theirs = WorkflowRunFactory.create(workflow_name="elsewhere")
    nobodys = WorkflowRunFactory.create(workflow_name="gone")
    define_quick().start()
    with working():
        wait_until(
            lambda: WorkflowRun.objects.filter(pk=nobodys.pk, deferrals=1).exists(),
            "a put back of the unknown run",
        )
    theirs.refresh_from_db()

    assert (theirs.status, theirs.deferrals) == ("pending", 0)


# --- until idle ---------------------------------------------------------------------------------


def test_idle_is_only_who_has_nothing_due_within_a_second() -> None:
    quick = define_quick()
    soon = quick.using(available_at="300ms").start()
    later = quick.using(available_at="1h").start()
    work_until_idle()

    assert (soon.status, later.status) == ("completed", "pending")


def test_a_worker_with_nothing_to_do_ends_at_once() -> None:
    define_quick()

    assert work_until_idle().executed == 0


def test_a_worker_that_knows_no_workflow_ends_too() -> None:
    WorkflowRunFactory.create()

    assert work_until_idle().executed == 0


# --- what others see ----------------------------------------------------------------------------


def test_a_worker_is_seen_while_it_works_and_gone_when_it_has_ended() -> None:
    gate = Gate()

    @workflow("gated", version="7")
    def gated(step: Step) -> None:
        step.run("wait", gate.body)

    gated.start()
    with gate, working(concurrency=3, queues=["default"]) as worker:
        gate.wait_until_entered()
        wait_until(WorkerProcess.objects.exists, "the worker's row")
        row = WorkerProcess.objects.get()
        assert (row.name, row.concurrency, row.queues) == (worker.name, 3, ["default"])
        assert ["gated", "7"] in row.workflows
        run = WorkflowRun.objects.get()
        assert (run.worker_id or "").startswith(f"{worker.name}:")
        gate.open()

    assert not WorkerProcess.objects.exists()


def test_djangos_signals_come_after_the_commit_in_the_thread_that_executes() -> None:
    heard: list[tuple[str, str, bool]] = []
    bodies: list[str] = []

    def receive(run: WorkflowRun, **_facts: Any) -> None:
        heard.append((threading.current_thread().name, run.status, connection.in_atomic_block))

    @workflow("heard")
    def audible(step: Step) -> None:
        step.run("work", lambda: bodies.append(threading.current_thread().name))

    audible.start()
    for signal in (signals.run_started, signals.run_completed):
        signal.connect(receive)
    try:
        work_until_idle(concurrency=1)
    finally:
        for signal in (signals.run_started, signals.run_completed):
            signal.disconnect(receive)

    assert heard == [(bodies[0], "running", False), (bodies[0], "completed", False)]


# --- trouble ------------------------------------------------------------------------------------


def test_a_body_that_exits_takes_no_thread_with_it() -> None:
    @workflow("leaving")
    def leaving(step: Step) -> None:
        raise SystemExit

    leaving.start_many([{}] * 4)
    after = define_quick().start()
    work_until_idle(concurrency=1)

    assert WorkflowRun.objects.failed().count() == 4
    assert after.status == "completed"


def terminate_others() -> int:
    """Kill every other connection of this database, as a restart of the server does."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        return int(cursor.fetchone()[0])


@requires_row_locks
def test_a_worker_whose_idle_connections_were_killed_goes_on() -> None:
    quick = define_quick()
    with working(lease_seconds=SHORT_LEASE_SECONDS):
        wait_until(WorkerProcess.objects.exists, "the worker's row")
        assert terminate_others() > 0
        handle = quick.start()
        wait_for_end(handle)

    assert handle.status == "completed"


@requires_row_locks
def test_a_server_that_keeps_killing_connections_fails_no_run_and_no_step() -> None:
    @workflow("sturdy")
    def sturdy(step: Step) -> int:
        return sum(step.run("work", lambda: 1) for _ in range(5))

    handles = sturdy.start_many([{}] * 20)
    with working(lease_seconds=SHORT_LEASE_SECONDS):
        kills: list[int] = []

        def kill() -> bool:
            kills.append(terminate_others())
            return sum(kills) >= 20

        wait_until(kill, "twenty kills")
        wait_for_end(*handles)

    assert [handle.result(timeout=0) for handle in handles] == [5] * 20
    assert set(StepAttempt.objects.values_list("status", flat=True)) == {"completed"}
    assert StepAttempt.objects.count() == 100
