"""Async code that goes on with whichever step ends first, while the others still wait."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from django_openworkflow import AsyncStep, RunHandle, send_signal, workflow
from django_openworkflow.testing import run_until_idle
from tests.engine.passes import attempts_of, noting, step_names, tick

pytestmark = pytest.mark.django_db

First = Callable[..., Awaitable[None]]


async def by_wait(*tasks: asyncio.Task[Any]) -> None:
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)


async def by_as_completed(*tasks: asyncio.Task[Any]) -> None:
    await next(iter(asyncio.as_completed(tasks)))


async def by_waiting_for_groups(*tasks: asyncio.Task[Any]) -> None:
    groups = [asyncio.gather(asyncio.gather(task)) for task in tasks]
    await asyncio.wait(groups, return_when=asyncio.FIRST_COMPLETED)


async def by_shields(*tasks: asyncio.Task[Any]) -> None:
    shields = [asyncio.shield(asyncio.gather(asyncio.shield(task))) for task in tasks]
    await asyncio.wait(shields, return_when=asyncio.FIRST_COMPLETED)


async def by_an_event(*tasks: asyncio.Task[Any]) -> None:
    event = asyncio.Event()
    for task in tasks:
        task.add_done_callback(lambda _: event.set())
    await event.wait()


async def by_a_queue(*tasks: asyncio.Task[Any]) -> None:
    queue: asyncio.Queue[Any] = asyncio.Queue()
    for task in tasks:
        task.add_done_callback(queue.put_nowait)
    await queue.get()


every_way = pytest.mark.parametrize(
    "first",
    [by_wait, by_as_completed, by_waiting_for_groups, by_shields, by_an_event, by_a_queue],
)


@every_way
def test_code_goes_on_when_a_step_is_faster_than_a_sleep(first: First) -> None:
    calls: list[str] = []
    seen: list[list[bool]] = []

    @workflow("racing")
    async def racing(step: AsyncStep) -> str:
        fast = asyncio.create_task(step.run("fast", noting(calls, "fast")))
        timer = asyncio.create_task(step.sleep("timer", "20s"))
        await first(fast, timer)
        seen.append([fast.done(), timer.done()])
        await step.run("next", noting(calls, "next"))
        await step.sleep("pause", "1h")
        return fast.result()

    handle = racing.start()
    run_until_idle()
    assert (seen, calls) == ([[True, False]], ["fast", "next"])
    assert sorted(step_names(handle)) == ["fast", "next", "pause", "timer"]
    before = [(row.pk, row.step_name) for row in attempts_of(handle)]
    tick("1h")

    assert (handle.result(timeout=0), calls) == ("fast", ["fast", "next"])
    assert [(row.pk, row.step_name) for row in attempts_of(handle)] == before
    assert {row.status for row in attempts_of(handle)} == {"completed"}


def start_asking(first: First, calls: list[str]) -> RunHandle[str]:
    """Wait for an answer, for a day at most."""

    @workflow("asking")
    async def asking(step: AsyncStep) -> str:
        answer = asyncio.create_task(step.wait_for_signal("answer"))
        timer = asyncio.create_task(step.sleep("timer", "1d"))
        await first(answer, timer)
        if not answer.done():
            return await step.run("remind", noting(calls, "too late"))
        payload = answer.result()
        assert payload is not None
        return await step.run("note", noting(calls, payload.data))

    return asking.start()


@every_way
def test_code_goes_on_with_a_signal_that_comes_before_the_end_of_a_sleep(first: First) -> None:
    calls: list[str] = []

    handle = start_asking(first, calls)
    run_until_idle()
    assert (handle.status, handle.run.worker_id, calls) == ("running", None, [])
    send_signal("answer", "yes")
    run_until_idle()

    assert (handle.result(timeout=0), calls) == ("yes", ["yes"])


@every_way
def test_code_goes_on_with_a_sleep_that_ends_before_a_signal_comes(first: First) -> None:
    calls: list[str] = []

    handle = start_asking(first, calls)
    run_until_idle()
    assert (handle.status, handle.run.worker_id, calls) == ("running", None, [])
    tick("1d")

    assert (handle.result(timeout=0), calls) == ("too late", ["too late"])


def test_a_loop_over_what_is_first_takes_every_step_as_it_ends() -> None:
    calls: list[str] = []

    @workflow("collecting")
    async def collecting(step: AsyncStep) -> int:
        async def branch(hours: int) -> str:
            await step.sleep(f"pause-{hours}", f"{hours}h")
            return f"{hours}h"

        left = {asyncio.create_task(branch(hours)) for hours in (3, 1, 2)}
        while left:
            done, left = await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
            for name in sorted(task.result() for task in done):
                await step.run(f"take-{name}", noting(calls, name))
        return len(calls)

    handle = collecting.start()
    taken = [(tick(pause), list(calls))[1] for pause in ("0s", "1h", "1h", "1h")]

    assert taken == [[], ["1h"], ["1h", "2h"], ["1h", "2h", "3h"]]
    assert handle.result(timeout=0) == 3


def test_a_first_error_reaches_the_code_while_a_sleep_goes_on() -> None:
    calls: list[str] = []

    @workflow("careful")
    async def careful(step: AsyncStep) -> str:
        async def fail() -> None:
            await step.run("look", noting(calls, "look"))
            raise LookupError

        try:
            await asyncio.gather(fail(), step.sleep("pause", "1h"))
        except LookupError:
            return await step.run("mend", noting(calls, "mend"))
        return "no error"

    handle = careful.start()
    run_until_idle()

    assert (handle.result(timeout=0), calls) == ("mend", ["look", "mend"])
