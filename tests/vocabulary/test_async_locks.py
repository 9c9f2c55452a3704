"""Branches of an async run that wait for each other at asyncio's locks and semaphores."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest

from django_openworkflow import AsyncStep, RetryPolicy, workflow
from django_openworkflow.testing import run_until_idle
from tests.engine.passes import attempts_of, is_parked, noting, step_names, tick

pytestmark = [pytest.mark.django_db, pytest.mark.timeout(20)]

Gate = Callable[[], AbstractAsyncContextManager[Any]]
shared: list[asyncio.Semaphore] = []


class FailingOnce:
    """A body that raises on its first try for each value."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def __call__(self, value: int) -> int:
        self.calls.append(value)
        if self.calls.count(value) == 1:
            raise LookupError
        return value


# --- semaphores and locks -----------------------------------------------------------------------


class Limiter:
    """A gate of the project's own."""

    def __init__(self) -> None:
        self._semaphore = asyncio.Semaphore(2)

    async def __aenter__(self) -> None:
        await self._semaphore.acquire()

    async def __aexit__(self, *_error: object) -> None:
        self._semaphore.release()


def a_semaphore() -> Gate:
    gate = asyncio.Semaphore(2)
    return lambda: gate


def a_limiter() -> Gate:
    limiter = Limiter()
    return lambda: limiter


def a_function() -> Gate:
    gate = asyncio.Semaphore(2)

    @asynccontextmanager
    async def slot() -> AsyncIterator[None]:
        async with gate:
            yield

    return slot


def a_shared_semaphore() -> Gate:
    shared[:] = [asyncio.Semaphore(2)]

    @asynccontextmanager
    async def slot() -> AsyncIterator[None]:
        async with shared[0]:
            yield

    return slot


every_gate = pytest.mark.parametrize(
    "make_gate", [a_semaphore, a_limiter, a_function, a_shared_semaphore]
)


@every_gate
def test_steps_behind_a_semaphore_are_tried_again_while_others_queue(
    make_gate: Callable[[], Gate],
) -> None:
    body, policy = FailingOnce(), RetryPolicy(initial_interval="1m")

    @workflow("gated")
    async def gated(step: AsyncStep) -> list[int]:
        gate = make_gate()

        async def branch(number: int) -> int:
            async with gate():
                return await step.run(f"r{number}", body, number, retry_policy=policy)

        return await asyncio.gather(*[branch(number) for number in range(4)])

    handle = gated.start()
    run_until_idle()
    assert (is_parked(handle), sorted(body.calls)) == (True, [0, 1])
    tick("1m")
    assert (is_parked(handle), sorted(body.calls)) == (True, [0, 0, 1, 1, 2, 3])
    tick("1m")

    assert handle.result(timeout=0) == [0, 1, 2, 3]
    assert sorted(body.calls) == [0, 0, 1, 1, 2, 2, 3, 3]
    statuses = sorted((row.step_name, row.status) for row in attempts_of(handle))
    assert statuses == [(f"r{n}", status) for n in range(4) for status in ("completed", "failed")]


@every_gate
def test_a_sleep_behind_a_semaphore_keeps_its_place(make_gate: Callable[[], Gate]) -> None:
    calls: list[int] = []

    @workflow("gated")
    async def gated(step: AsyncStep) -> int:
        gate = make_gate()

        async def branch(number: int) -> None:
            async with gate():
                await step.sleep(f"s{number}", "1h")
                await step.run(f"r{number}", noting(calls, number))

        async with asyncio.TaskGroup() as group:
            for number in range(4):
                group.create_task(branch(number))
        return len(calls)

    handle = gated.start()
    run_until_idle()
    assert (is_parked(handle), sorted(step_names(handle))) == (True, ["s0", "s1"])
    tick("1h")
    assert (is_parked(handle), sorted(calls)) == (True, [0, 1])
    tick("1h")

    assert (handle.result(timeout=0), sorted(calls)) == (4, [0, 1, 2, 3])


def test_a_lock_that_is_held_over_a_sleep_lets_one_branch_after_the_other_pass() -> None:
    calls: list[int] = []

    @workflow("one-by-one")
    async def one_by_one(step: AsyncStep) -> list[int]:
        lock = asyncio.Lock()

        async def branch(number: int) -> None:
            await lock.acquire()
            try:
                await step.sleep(f"s{number}", "1h")
                await step.run(f"r{number}", noting(calls, number))
            finally:
                lock.release()

        await asyncio.gather(*[branch(number) for number in range(3)])
        return calls

    handle = one_by_one.start()
    seen = [(tick(pause), list(calls))[1] for pause in ("0s", "1h", "1h", "1h")]

    assert seen == [[], [0], [0, 1], [0, 1, 2]]
    assert handle.result(timeout=0) == [0, 1, 2]


GLOBAL_LOCK = asyncio.Lock()


def test_a_lock_of_the_module_may_be_held_over_a_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "GLOBAL_LOCK", asyncio.Lock())

    async def branch(step: AsyncStep, number: int) -> int:
        await GLOBAL_LOCK.acquire()
        try:
            await step.sleep(f"s{number}", "1h")
        finally:
            GLOBAL_LOCK.release()
        return number

    @workflow("one-by-one")
    async def one_by_one(step: AsyncStep) -> list[int]:
        return list(await asyncio.gather(branch(step, 0), branch(step, 1)))

    handle = one_by_one.start()
    run_until_idle()
    assert (is_parked(handle), step_names(handle)) == (True, ["s0"])
    monkeypatch.setitem(globals(), "GLOBAL_LOCK", asyncio.Lock())  # each test has a loop per pass
    tick("1h")
    assert (is_parked(handle), step_names(handle)) == (True, ["s0", "s1"])
    monkeypatch.setitem(globals(), "GLOBAL_LOCK", asyncio.Lock())
    tick("1h")

    assert handle.result(timeout=0) == [0, 1]


def test_gathers_in_gathers_behind_gates_end_with_every_step_done_once() -> None:
    calls: list[str] = []

    @workflow("nested")
    async def nested(step: AsyncStep) -> list[list[str]]:
        outer, inner = asyncio.Semaphore(1), asyncio.Semaphore(2)

        async def leaf(name: str) -> str:
            async with inner:
                await step.sleep(f"s-{name}", "1m")
                return await step.run(f"r-{name}", noting(calls, name))

        async def branch(name: str) -> list[str]:
            async with outer:
                return await asyncio.gather(*[leaf(f"{name}{number}") for number in range(3)])

        return list(await asyncio.gather(branch("a"), branch("b")))

    handle = nested.start()
    counts = [(tick(pause), len(calls))[1] for pause in ("0s", "1m", "1m", "1m", "1m")]

    assert counts == [0, 2, 3, 5, 6]
    assert handle.result(timeout=0) == [["a0", "a1", "a2"], ["b0", "b1", "b2"]]
    assert len(attempts_of(handle)) == 12
