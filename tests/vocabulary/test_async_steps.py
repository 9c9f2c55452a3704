"""``async def`` workflows: bodies sync and async, the ORM in both, steps side by side."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest
from django.contrib.auth.models import Group

from django_openworkflow import AsyncStep, RetryPolicy, workflow
from django_openworkflow.models import WorkflowRun
from django_openworkflow.testing import run_until_idle
from tests.engine.passes import attempts_of, noting, step_names, tick

pytestmark = pytest.mark.django_db


def sync_double(value: int) -> int:
    return 2 * value


async def async_double(value: int) -> int:
    await asyncio.sleep(0)
    return 2 * value


class AsyncDoubler:
    """Called, it returns a coroutine."""

    async def __call__(self, value: int) -> int:
        return await async_double(value)


BODIES: dict[str, Callable[[int], Any]] = {
    "sync": sync_double,
    "async": async_double,
    "partial": partial(async_double),
    "object": AsyncDoubler(),
    "returns-a-coroutine": lambda value: async_double(value),
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_a_body_may_be_sync_or_async(body: Callable[[int], Any]) -> None:
    @workflow("doubling")
    async def doubling(step: AsyncStep, value: int) -> Any:
        return await step.run("double", body, value)

    handle = doubling.start(21)

    assert run_until_idle() == 1
    assert handle.result(timeout=0) == 42
    assert [(row.step_name, row.output) for row in attempts_of(handle)] == [("double", 42)]


class AsyncDoubling:
    """A workflow's function, and what is called after a cancel, as objects."""

    async def __call__(self, step: AsyncStep, value: int) -> Any:
        return await step.run("double", async_double, value)


@pytest.mark.parametrize("fn", [AsyncDoubling(), partial(AsyncDoubling())], ids=["object", "both"])
def test_an_object_whose_call_is_async_is_an_async_workflow(fn: Any) -> None:
    doubling: Any = workflow("doubling", on_cancel=fn)(fn)
    handle = doubling.start(21)
    canceled = doubling.start(4)
    canceled.cancel()
    run_until_idle()

    assert doubling.is_async
    assert handle.result(timeout=0) == 42
    cleanup = WorkflowRun.objects.get(cleanup_of=canceled.id)
    assert (cleanup.status, cleanup.error) == ("completed", None)


def test_a_sync_body_may_use_the_sync_orm() -> None:
    @workflow("writing")
    async def writing(step: AsyncStep) -> int:
        await step.run("create", lambda: Group.objects.create(name="by sync").pk)
        return await step.run("count", Group.objects.filter(name="by sync").count)

    handle = writing.start()
    run_until_idle()

    assert handle.result(timeout=0) == 1


def test_an_async_body_may_use_the_async_orm() -> None:
    async def create() -> str:
        group = await Group.objects.acreate(name="by async")
        return group.name

    async def names() -> list[str]:
        return [group.name async for group in Group.objects.filter(name="by async")]

    @workflow("writing")
    async def writing(step: AsyncStep) -> list[str]:
        await step.run("create", create)
        return await step.run("names", names)

    handle = writing.start()
    run_until_idle()

    assert handle.result(timeout=0) == ["by async"]


def test_an_async_body_runs_on_the_loop_and_a_sync_one_does_not() -> None:
    async def on_loop() -> bool:
        return asyncio.get_running_loop().is_running()

    def off_loop() -> bool:
        with pytest.raises(RuntimeError):
            asyncio.get_running_loop()
        return threading.current_thread() is threading.main_thread()

    @workflow("places")
    async def places(step: AsyncStep) -> list[bool]:
        return [await step.run("on", on_loop), await step.run("off", off_loop)]

    handle = places.start()
    run_until_idle()

    assert handle.result(timeout=0) == [True, True]


def test_a_replayed_result_is_what_json_made_of_it_in_the_first_pass_too() -> None:
    seen: list[Any] = []

    async def body() -> Any:
        return {"pair": (1, 2)}

    @workflow("alike")
    async def alike(step: AsyncStep) -> None:
        seen.append(await step.run("pair", body))
        await step.sleep("pause", "1h")

    alike.start()
    run_until_idle()
    tick("1h")

    assert seen == [{"pair": [1, 2]}] * 2


def test_repeated_names_are_numbered_in_the_order_of_their_calls() -> None:
    @workflow("numbers")
    async def numbers(step: AsyncStep) -> list[int]:
        calls = [step.run("double", async_double, value) for value in (1, 2, 3)]
        return list(await asyncio.gather(*calls))

    handle = numbers.start()
    run_until_idle()

    assert handle.result(timeout=0) == [2, 4, 6]
    outputs = {row.step_name: row.output for row in attempts_of(handle)}
    assert outputs == {"double": 2, "double:1": 4, "double:2": 6}


# --- side by side -------------------------------------------------------------------------------

Together = Callable[..., Awaitable[list[Any]]]


async def by_gather(*calls: Any) -> list[Any]:
    return list(await asyncio.gather(*calls))


async def by_task_group(*calls: Any) -> list[Any]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(call) for call in calls]
    return [task.result() for task in tasks]


async def by_wait(*calls: Any) -> list[Any]:
    tasks = [asyncio.ensure_future(call) for call in calls]
    await asyncio.wait(tasks)
    return [task.result() for task in tasks]


async def by_create_task(*calls: Any) -> list[Any]:
    tasks = [asyncio.create_task(call) for call in calls]
    return [await task for task in tasks]


async def by_as_completed(*calls: Any) -> list[Any]:
    tasks = [asyncio.ensure_future(call) for call in calls]
    for completed in asyncio.as_completed(tasks):
        await completed
    return [task.result() for task in tasks]


every_way = pytest.mark.parametrize(
    "together", [by_gather, by_task_group, by_wait, by_create_task, by_as_completed]
)


@every_way
def test_async_bodies_run_at_the_same_time(together: Together) -> None:
    @workflow("meeting")
    async def meeting(step: AsyncStep) -> list[str]:
        barrier = asyncio.Barrier(3)

        async def meet(name: str) -> str:
            await barrier.wait()  # nobody passes before all three are here
            return name

        return await together(*(step.run(name, meet, name) for name in "abc"))

    handle = meeting.start()
    run_until_idle()

    assert handle.result(timeout=0) == ["a", "b", "c"]


@every_way
def test_a_finished_sibling_never_runs_again_when_another_one_sleeps(together: Together) -> None:
    calls: list[str] = []

    @workflow("siblings")
    async def siblings(step: AsyncStep) -> list[Any]:
        async def sleeper() -> str:
            await step.run("before", noting(calls, "before"))
            await step.sleep("pause", "1h")
            return await step.run("after", noting(calls, "after"))

        return await together(step.run("quick", noting(calls, "quick")), sleeper())

    handle = siblings.start()
    run_until_idle()
    assert (handle.status, sorted(calls)) == ("running", ["before", "quick"])
    assert handle.run.worker_id is None
    tick("1h")

    assert handle.result(timeout=0) == ["quick", "after"]
    assert sorted(calls) == ["after", "before", "quick"]


@every_way
def test_sleeps_side_by_side_last_as_long_as_the_longest(together: Together) -> None:
    @workflow("sleepers")
    async def sleepers(step: AsyncStep) -> int:
        await together(*(step.sleep(f"pause-{hours}", f"{hours}h") for hours in (1, 3, 2)))
        return 1

    handle = sleepers.start()
    statuses = [(tick("1h"), handle.status)[1] for _ in range(4)]

    # The first tick begins the sleeps, each of the others ends one.
    assert statuses == ["running", "running", "running", "completed"]
    assert sorted(step_names(handle)) == ["pause-1", "pause-2", "pause-3"]


def test_gather_of_calls_keeps_the_order_and_takes_exceptions_as_results() -> None:
    async def fail() -> None:
        message = "no"
        raise LookupError(message)

    once: dict[str, Any] = {"retry_policy": RetryPolicy(maximum_attempts=1)}

    @workflow("calls")
    async def calls(step: AsyncStep) -> list[str]:
        results = await step.gather(
            step.call("a", async_double, 1),
            step.call("b", fail, **once),
            step.call("c", sync_double, 2),
            return_exceptions=True,
        )
        return [str(result) for result in results]

    handle = calls.start()
    run_until_idle()

    failure = 'Step "b" failed after 1 attempt: LookupError: no'
    assert handle.result(timeout=0) == ["2", failure, "4"]
