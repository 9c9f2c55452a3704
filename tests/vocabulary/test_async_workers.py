"""Async runs in a real worker: one loop for all of them, cancels that arrive, drains."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import Group
from django.db import connection

from django_openworkflow import AsyncStep, RunHandle, Step, asend_signal, workflow
from django_openworkflow.exceptions import WorkflowCanceled
from django_openworkflow.models import StepAttempt, WorkflowRun
from tests.worker import conftest
from tests.worker.workers import (
    PATIENCE_SECONDS,
    SHORT_LEASE_SECONDS,
    Gate,
    attempts_of,
    steal,
    wait_for_end,
    wait_until,
    work_until_idle,
    working,
)

opened = conftest.opened  # real threads and connections, and none of them left behind

# No heartbeat comes within the patience of a test: only a notification can bring word of a cancel.
LONG_LEASE_SECONDS = 600.0


def runs_of(handles: list[RunHandle[Any]]) -> list[str]:
    """Return the statuses of runs, each once."""
    ids = [handle.id for handle in handles]
    return sorted(set(WorkflowRun.objects.filter(pk__in=ids).values_list("status", flat=True)))


# --- many at once -------------------------------------------------------------------------------


def test_five_hundred_runs_are_in_their_bodies_at_once_without_a_thread_each() -> None:
    many = 500
    inside: set[int] = set()
    threads: list[int] = []
    loops: set[int] = set()
    all_there: list[asyncio.Event] = []

    async def meet(number: int) -> int:
        loops.add(id(asyncio.get_running_loop()))
        if not all_there:
            all_there.append(asyncio.Event())
        inside.add(number)
        if len(inside) == many:
            threads.append(threading.active_count())
            all_there[0].set()
        await all_there[0].wait()
        return number

    @workflow("meeting")
    async def meeting(step: AsyncStep, number: int) -> int:
        return await step.run("meet", meet, number)

    handles = meeting.start_many([{"number": number} for number in range(many)])
    before = threading.active_count()
    with working(concurrency=many, lease_seconds=LONG_LEASE_SECONDS):
        wait_until(lambda: threads, "the last run's body")
        wait_for_end(*handles)

    assert runs_of(handles) == ["completed"]
    assert len(loops) == 1
    assert threads[0] - before < 50
    assert {handle.run.output for handle in handles[:5]} == {0, 1, 2, 3, 4}


def test_a_sync_body_that_blocks_does_not_block_the_loop() -> None:
    gate = Gate()

    @workflow("blocking")
    async def blocking(step: AsyncStep) -> str:
        return await step.run("body", gate.body)

    @workflow("quick")
    async def quick(step: AsyncStep) -> int:
        return await step.run("count", Group.objects.acount)

    blocked = blocking.start()
    with gate, working():
        gate.wait_until_entered()
        wait_for_end(quick.start())
        assert blocked.status == "running"
        gate.open()
        wait_for_end(blocked)

    assert blocked.result(timeout=0) == "done"


def test_sync_and_async_bodies_use_the_orm_in_a_worker() -> None:
    def create(name: str) -> str:
        return Group.objects.create(name=name).name

    async def acreate(name: str) -> str:
        return (await Group.objects.acreate(name=name)).name

    @workflow("writing")
    async def writing(step: AsyncStep) -> list[str]:
        return [
            *await asyncio.gather(step.run("a", create, "a"), step.run("b", acreate, "b")),
            await step.transaction("c", create, "c"),
        ]

    handle = writing.start()
    work_until_idle()

    assert handle.result(timeout=0) == ["a", "b", "c"]
    assert sorted(Group.objects.values_list("name", flat=True)) == ["a", "b", "c"]


# --- cancel -------------------------------------------------------------------------------------


class Watched:
    """An async body that waits for ever, and notes how that ends."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.ended_with: list[type[BaseException]] = []

    async def body(self) -> None:
        self.entered.set()
        try:
            await asyncio.Event().wait()
        except BaseException as error:
            self.ended_with.append(type(error))
            raise


def cancel_in_body(lease_seconds: float, body: Callable[[Watched], Any]) -> tuple[Watched, Any]:
    """Cancel a run while its async body waits; return the body and the run's handle."""
    watched = Watched()

    @workflow("long")
    async def long(step: AsyncStep) -> None:
        await step.run("body", body, watched)
        await step.run("late", lambda: None)

    handle = long.start()
    with working(lease_seconds=lease_seconds):
        assert watched.entered.wait(PATIENCE_SECONDS)
        handle.cancel()
        wait_until(lambda: watched.ended_with, "word of the cancel")
        wait_until(lambda: attempts_of(handle) != [("body", "running")], "the kept outcome")
    return watched, handle


@pytest.mark.parametrize(
    "lease_seconds",
    [
        SHORT_LEASE_SECONDS,
        pytest.param(
            LONG_LEASE_SECONDS,
            marks=pytest.mark.skipif(
                "connection.vendor != 'postgresql'", reason="SQLite cannot notify"
            ),
        ),
    ],
)
def test_a_cancel_reaches_an_awaiting_body_as_a_cancelled_error(lease_seconds: float) -> None:
    watched, handle = cancel_in_body(lease_seconds, Watched.body)

    assert watched.ended_with == [asyncio.CancelledError]
    attempt = StepAttempt.objects.get()
    assert (attempt.status, (attempt.error or {})["name"]) == ("failed", "CancelledError")
    assert handle.status == "canceled"
    with pytest.raises(WorkflowCanceled):
        handle.result(timeout=0)


def test_a_body_that_finishes_in_spite_of_the_cancel_keeps_its_result() -> None:
    async def stubborn(watched: Watched) -> str:
        try:
            await watched.body()
        except asyncio.CancelledError:
            await asyncio.sleep(0.05)  # it may still await
        return "finished all the same"

    _, handle = cancel_in_body(SHORT_LEASE_SECONDS, stubborn)

    attempt = StepAttempt.objects.get()
    assert (attempt.status, attempt.output) == ("completed", "finished all the same")
    assert handle.status == "canceled"


def test_a_sync_body_of_an_async_run_may_finish_and_its_result_is_kept() -> None:
    gate = Gate()

    @workflow("blocking")
    async def blocking(step: AsyncStep) -> None:
        async def watch() -> None:
            await asyncio.Event().wait()

        await asyncio.gather(step.run("sync", gate.body), step.run("watch", watch))

    handle = blocking.start()
    with gate, working(lease_seconds=SHORT_LEASE_SECONDS):
        gate.wait_until_entered()
        handle.cancel()
        wait_until(lambda: ("watch", "failed") in attempts_of(handle), "word of the cancel")
        gate.open()

    assert ("sync", "completed") in attempts_of(handle)
    assert StepAttempt.objects.get(step_name="sync").output == "done"


def test_every_branch_of_a_canceled_run_is_told() -> None:
    watched = [Watched(), Watched(), Watched()]

    @workflow("branches")
    async def branches(step: AsyncStep) -> None:
        async with asyncio.TaskGroup() as group:
            for number, one in enumerate(watched):
                group.create_task(step.run(f"body-{number}", one.body))

    handle = branches.start()
    with working(lease_seconds=SHORT_LEASE_SECONDS):
        for one in watched:
            assert one.entered.wait(PATIENCE_SECONDS)
        handle.cancel()
        wait_until(lambda: all(one.ended_with for one in watched), "word of the cancel")

    assert [one.ended_with for one in watched] == [[asyncio.CancelledError]] * 3
    assert sorted(attempts_of(handle)) == [(f"body-{n}", "failed") for n in range(3)]


def test_a_run_whose_lease_is_lost_is_interrupted_and_writes_nothing() -> None:
    watched = Watched()

    @workflow("stolen")
    async def stolen(step: AsyncStep) -> None:
        await step.run("body", watched.body)

    handle = stolen.start()
    with working(lease_seconds=SHORT_LEASE_SECONDS):
        assert watched.entered.wait(PATIENCE_SECONDS)
        steal(handle)
        wait_until(lambda: watched.ended_with, "the answer")

    assert (handle.status, handle.run.worker_id) == ("running", "thief:token")
    assert attempts_of(handle) == [("body", "running")]


# --- drain --------------------------------------------------------------------------------------


def test_a_drain_lets_the_body_finish_and_hands_the_run_on() -> None:
    gate = Gate()

    @workflow("long")
    async def long(step: AsyncStep) -> str:
        await step.run("first", gate.body)
        return await step.run("second", gate.body, "all")

    @workflow("restless")
    async def restless(step: AsyncStep) -> None:
        while True:
            await step.run("again", asyncio.sleep, 0.02)

    handle, other = long.start(), restless.start()
    with gate, working() as worker:
        gate.wait_until_entered()
        wait_until(lambda: attempts_of(other), "a restless run")
        worker.request_stop()
        wait_until(lambda: other.run.worker_id is None, "its release: all have been told by then")
        gate.open()
    assert attempts_of(handle) == [("first", "completed")]
    assert (handle.status, handle.run.worker_id, handle.run.crashes) == ("running", None, 0)
    other.cancel()
    work_until_idle()

    assert (handle.result(timeout=0), gate.calls) == ("all", 2)


def test_a_body_that_outlives_the_grace_time_is_left_and_its_run_released() -> None:
    watched = Watched()

    @workflow("long")
    async def long(step: AsyncStep) -> None:
        await step.run("body", watched.body)

    handle = long.start()
    with working(grace_seconds=0.1) as worker:
        assert watched.entered.wait(PATIENCE_SECONDS)
        worker.request_stop()

    assert (handle.status, handle.run.worker_id, handle.run.crashes) == ("running", None, 0)


# --- the async twins ----------------------------------------------------------------------------


def test_runs_are_started_watched_signalled_and_canceled_from_async_code() -> None:
    @workflow("twins")
    def twins(step: Step, number: int) -> Any:
        payload = step.wait_for_signal(f"go:{number}")
        return payload and payload.data

    async def scene() -> tuple[Any, list[Any], RunHandle[Any]]:
        first, second = await twins.astart(1), await twins.astart(number=2)
        parked = WorkflowRun.objects.filter(pk__in=[first.id, second.id]).parked()
        while await parked.acount() < 2:
            await asyncio.sleep(0.01)
        received = await asend_signal("go:1", {"ok": True})
        canceled = await second.acancel(reason="enough", actor="ada")
        assert (canceled.status, canceled.cancel_actor) == ("canceled", "ada")
        with pytest.raises(WorkflowCanceled):
            await second.aresult(timeout=1)
        return await first.aresult(timeout=PATIENCE_SECONDS), received, first

    with working():
        output, received, first = async_to_sync(scene)()

    assert (output, received) == ({"ok": True}, [first.id])
    assert connection.in_atomic_block is False
