"""Branches of an async run that wait for each other's word, or for word from elsewhere."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from django_openworkflow import AsyncStep, workflow
from django_openworkflow.engine import async_pass
from django_openworkflow.engine.reachability import primitive_of
from django_openworkflow.testing import run_until_idle
from tests.engine.passes import attempts_of, is_parked, noting, tick

pytestmark = [pytest.mark.django_db, pytest.mark.timeout(20)]

SOON = 0.15  # seconds: longer than the engine takes to look whether all branches wait


# --- queues, events, conditions, barriers -------------------------------------------------------


def test_a_producer_that_sleeps_feeds_a_consumer_through_a_queue() -> None:
    calls: list[str] = []

    @workflow("feeding")
    async def feeding(step: AsyncStep) -> list[str]:
        queue: asyncio.Queue[int | None] = asyncio.Queue(maxsize=1)

        async def produce() -> None:
            for number in range(3):
                await queue.put(await step.run(f"make-{number}", noting([], number)))
                await step.sleep(f"pause-{number}", "1h")
            await queue.put(None)

        async def consume() -> list[str]:
            used = []
            while (number := await queue.get()) is not None:
                used.append(await step.run(f"use-{number}", noting(calls, f"{number}")))
            return used

        _, used = await asyncio.gather(produce(), consume())
        return used

    handle = feeding.start()
    seen = [(tick(pause), list(calls))[1] for pause in ("0s", "1h", "1h", "1h")]

    assert seen == [["0"], ["0", "1"], ["0", "1", "2"], ["0", "1", "2"]]
    assert (handle.result(timeout=0), len(attempts_of(handle))) == (["0", "1", "2"], 9)


def test_a_producer_waits_for_room_in_a_queue_whose_consumer_sleeps() -> None:
    made: list[int] = []

    @workflow("feeding")
    async def feeding(step: AsyncStep) -> list[int]:
        queue: asyncio.Queue[int] = asyncio.Queue(maxsize=1)

        async def consume() -> None:
            for number in range(3):
                await step.sleep(f"pause-{number}", "1h")
                await queue.get()
                queue.task_done()

        consumer = asyncio.create_task(consume())
        for number in range(3):
            await queue.put(await step.run(f"make-{number}", noting(made, number)))
        await queue.join()
        await consumer
        return made

    handle = feeding.start()
    seen = [(tick(pause), list(made))[1] for pause in ("0s", "1h", "1h", "1h")]

    assert seen == [[0, 1], [0, 1, 2], [0, 1, 2], [0, 1, 2]]
    assert handle.result(timeout=0) == [0, 1, 2]


Meeting = Callable[[], tuple[Callable[[], Any], Callable[[], Any]]]


def an_event() -> tuple[Callable[[], Any], Callable[[], Any]]:
    event = asyncio.Event()

    async def end() -> None:
        event.set()

    return event.wait, end


def a_condition() -> tuple[Callable[[], Any], Callable[[], Any]]:
    condition = asyncio.Condition()

    async def wait() -> None:
        async with condition:
            await condition.wait()

    async def end() -> None:
        async with condition:
            condition.notify_all()

    return wait, end


def a_barrier() -> tuple[Callable[[], Any], Callable[[], Any]]:
    barrier = asyncio.Barrier(2)
    return barrier.wait, barrier.wait


@pytest.mark.parametrize("meeting", [an_event, a_condition, a_barrier])
def test_a_branch_waits_for_another_one_that_sleeps_first(meeting: Meeting) -> None:
    calls: list[str] = []

    @workflow("meeting")
    async def meet(step: AsyncStep) -> str:
        wait, end = meeting()

        async def early() -> str:
            await wait()
            return await step.run("early", noting(calls, "early"))

        async def late() -> None:
            await step.sleep("pause", "1h")
            await end()

        return (await asyncio.gather(early(), late()))[0]

    handle = meet.start()
    run_until_idle()
    assert (is_parked(handle), calls) == (True, [])
    tick("1h")

    assert (handle.result(timeout=0), calls) == ("early", ["early"])


# --- what the outside world ends ----------------------------------------------------------------


def test_a_lock_whose_holder_awaits_something_else_is_waited_for() -> None:
    calls: list[str] = []

    @workflow("mixed")
    async def mixed(step: AsyncStep) -> None:
        lock = asyncio.Lock()

        async def hold() -> None:
            async with lock:
                await asyncio.sleep(SOON)

        async def branch() -> None:
            async with lock:
                await step.run("inside", noting(calls, "inside"))

        await asyncio.gather(step.sleep("pause", "1h"), hold(), branch())

    handle = mixed.start()
    run_until_idle()

    assert (is_parked(handle), calls) == (True, ["inside"])


def by_the_loop(event: asyncio.Event) -> None:
    asyncio.get_running_loop().call_later(SOON, event.set)


def by_a_thread(event: asyncio.Event) -> None:
    set_event = asyncio.get_running_loop().call_soon_threadsafe
    threading.Timer(SOON, set_event, args=[event.set]).start()


@pytest.mark.parametrize("arrange", [by_the_loop, by_a_thread])
def test_an_event_that_no_other_branch_could_set_is_waited_for(
    arrange: Callable[[asyncio.Event], None],
) -> None:
    calls: list[str] = []

    @workflow("mixed")
    async def mixed(step: AsyncStep) -> None:
        async def branch() -> None:
            event = asyncio.Event()
            arrange(event)
            await event.wait()
            await step.run("after", noting(calls, "after"))

        await asyncio.gather(step.sleep("pause", "1h"), branch())

    handle = mixed.start()
    run_until_idle()

    assert (is_parked(handle), calls) == (True, ["after"])


def test_a_long_wait_is_not_looked_into_again_while_nobody_moves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All runs of a worker share one loop: a look into objects costs a millisecond or two."""
    looks: list[object] = []
    awaited: list[asyncio.Event] = []

    def look(task: asyncio.Task[Any]) -> object | None:
        looks.append(task)
        if awaited:
            asyncio.get_running_loop().call_later(3 * SOON, awaited.pop().set)
        return primitive_of(task)

    monkeypatch.setattr(async_pass, "primitive_of", look)

    @workflow("patient")
    async def patient(step: AsyncStep) -> None:
        async def branch() -> None:
            event = asyncio.Event()
            awaited.append(event)
            await event.wait()

        await asyncio.gather(step.sleep("pause", "1h"), branch())

    handle = patient.start()
    run_until_idle()

    assert is_parked(handle)
    assert 1 <= len(looks) <= 3
