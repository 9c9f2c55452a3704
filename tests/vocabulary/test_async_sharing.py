"""Async runs in a real worker that wait for whichever ends first, or share a semaphore."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from django_openworkflow import AsyncStep, RetryPolicy, workflow
from tests.engine.passes import is_parked, noting
from tests.worker import conftest
from tests.worker.workers import Gate, attempts_of, wait_for_end, wait_until, working

pytestmark = pytest.mark.timeout(60)

opened = conftest.opened  # real threads and connections, and none of them left behind

SOON = 0.15  # seconds: longer than the engine takes to look whether all branches wait


def test_a_worker_goes_on_with_a_run_whose_fast_step_ends_before_a_sleep() -> None:
    async def fast() -> str:
        await asyncio.sleep(0.01)
        return "fast"

    @workflow("racing")
    async def racing(step: AsyncStep) -> list[str]:
        first = asyncio.create_task(step.run("fast", fast), name="fast")
        timer = asyncio.create_task(step.sleep("timer", "1h"), name="timer")
        done, _ = await asyncio.wait([first, timer], return_when=asyncio.FIRST_COMPLETED)
        return [task.get_name() for task in done]

    handles = racing.start_many([{} for _ in range(10)])
    with working(concurrency=4):
        wait_for_end(*handles)

    assert [handle.result(timeout=0) for handle in handles] == [["fast"]] * 10


def test_a_worker_gives_up_runs_that_wait_at_a_semaphore_and_goes_on_with_them() -> None:
    calls: list[tuple[int, int]] = []
    policy = RetryPolicy(initial_interval="50ms")

    @workflow("gated")
    async def gated(step: AsyncStep, run: int) -> list[int]:
        semaphore = asyncio.Semaphore(2)

        def body(number: int) -> int:
            calls.append((run, number))
            if calls.count((run, number)) == 1:
                raise LookupError
            return number

        async def branch(number: int) -> int:
            async with semaphore:
                await step.sleep(f"s{number}", "50ms")
                options: dict[str, Any] = {"retry_policy": policy}
                return await step.run(f"r{number}", body, number, **options)

        return await asyncio.gather(*[branch(number) for number in range(4)])

    handles = gated.start_many([{"run": run} for run in range(3)])
    with working(concurrency=1):  # a run that kept its slot would keep the others from beginning
        wait_for_end(*handles)

    assert [handle.result(timeout=0) for handle in handles] == [[0, 1, 2, 3]] * 3
    assert sorted(calls) == [(run, n) for run in range(3) for n in range(4) for _ in range(2)]


SHARED: asyncio.Semaphore = asyncio.Semaphore(1)


async def pass_shared(step: AsyncStep, name: str, body: Callable[[], str], pause: str) -> None:
    """Sleep, then run a step while holding the semaphore."""
    await step.sleep(f"pause-{name}", pause)
    async with SHARED:
        await step.run(name, body)


def test_a_semaphore_that_another_run_holds_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "SHARED", asyncio.Semaphore(1))
    gate, calls = Gate(), list[str]()

    @workflow("holding")
    async def holding(step: AsyncStep) -> None:
        await pass_shared(step, "hold", gate.body, "0s")

    @workflow("mixed")
    async def mixed(step: AsyncStep) -> None:
        now = pass_shared(step, "now", noting(calls, "now"), "0s")
        await asyncio.gather(now, pass_shared(step, "later", noting(calls, "later"), "1h"))

    @workflow("brief")
    async def brief(step: AsyncStep) -> None:
        await step.run("wait", asyncio.sleep, SOON)

    holder = holding.start()
    with gate, working():
        gate.wait_until_entered()
        handle = mixed.start()
        wait_until(lambda: ("pause-now", "completed") in attempts_of(handle), "the gate")
        wait_for_end(brief.start())  # time enough to park
        assert not is_parked(handle)
        gate.open()
        wait_for_end(holder)
        wait_until(lambda: is_parked(handle), "the park")

    assert (calls, ("now", "completed") in attempts_of(handle)) == (["now"], True)
