"""When an async run gives up its worker, and that code which swallows this changes nothing."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from django_openworkflow import AsyncStep, RetryPolicy, workflow
from django_openworkflow.testing import run_until_idle
from tests.engine.passes import attempts_of, noting, step_names, tick

pytestmark = pytest.mark.django_db

SOON = 0.15  # seconds: longer than the engine takes to look whether all branches wait


# --- code that awaits something else ------------------------------------------------------------


async def elsewhere(done: list[str], name: str) -> None:
    """Await something that is no step."""
    await asyncio.sleep(SOON)
    done.append(name)


def test_a_branch_that_awaits_something_else_is_let_finish_before_the_run_parks() -> None:
    done: list[str] = []

    @workflow("mixed")
    async def mixed(step: AsyncStep) -> None:
        await asyncio.gather(step.sleep("pause", "1h"), elsewhere(done, "gather"))

    handle = mixed.start()
    run_until_idle()

    assert (handle.status, handle.run.worker_id, done) == ("running", None, ["gather"])


def test_a_task_group_lets_its_other_tasks_finish_before_the_run_parks() -> None:
    done: list[str] = []

    @workflow("mixed")
    async def mixed(step: AsyncStep) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(step.sleep("pause", "1h"))
            group.create_task(elsewhere(done, "group"))

    mixed.start()
    run_until_idle()

    assert done == ["group"]


def test_the_main_code_is_let_finish_what_it_awaits_while_a_task_of_its_own_sleeps() -> None:
    done: list[str] = []

    @workflow("mixed")
    async def mixed(step: AsyncStep) -> None:
        task = asyncio.create_task(step.sleep("pause", "1h"))
        await elsewhere(done, "main")
        await step.run("next", noting(done, "next"))
        await task

    handle = mixed.start()
    run_until_idle()

    assert done == ["main", "next"]
    assert sorted(step_names(handle)) == ["next", "pause"]


def test_a_branch_that_goes_on_with_steps_after_something_else_loses_none_of_them() -> None:
    done: list[str] = []

    @workflow("mixed")
    async def mixed(step: AsyncStep) -> str:
        async def slowly() -> None:
            await elsewhere(done, "outside")
            await step.run("late", noting(done, "late"))

        await asyncio.gather(step.sleep("pause", "1h"), slowly())
        return "done"

    handle = mixed.start()
    run_until_idle()
    assert done == ["outside", "late"]
    tick("1h")

    assert handle.result(timeout=0) == "done"
    assert done == ["outside", "late", "outside"]  # the step did not run again


def test_a_body_in_flight_is_let_finish_before_the_run_parks() -> None:
    done: list[str] = []

    @workflow("mixed")
    async def mixed(step: AsyncStep) -> None:
        await asyncio.gather(step.sleep("pause", "1h"), step.run("body", elsewhere, done, "body"))

    handle = mixed.start()
    run_until_idle()

    statuses = {row.step_name: row.status for row in attempts_of(handle)}
    assert statuses == {"pause": "running", "body": "completed"}
    assert done == ["body"]


def test_code_that_ends_without_awaiting_a_sleeping_task_ends_the_run() -> None:
    @workflow("careless")
    async def careless(step: AsyncStep) -> str:
        task = asyncio.create_task(step.sleep("pause", "1h"))
        await step.run("work", lambda: None)
        return "done" if not task.done() else "too early"

    handle = careless.start()
    run_until_idle()

    assert handle.result(timeout=0) == "done"
    assert {row.status for row in attempts_of(handle)} <= {"completed", "failed"}


def test_a_timeout_of_asyncio_around_a_sleep_fires_as_in_any_program() -> None:
    @workflow("impatient")
    async def impatient(step: AsyncStep) -> str:
        try:
            async with asyncio.timeout(SOON):
                await elsewhere([], "long")
                await elsewhere([], "longer")
        except TimeoutError:
            return await step.run("gave-up", lambda: "gave up")
        return "in time"

    handle = impatient.start()
    run_until_idle()

    assert handle.result(timeout=0) == "gave up"


# --- swallowed ----------------------------------------------------------------------------------

Swallow = Callable[[Awaitable[Any]], Awaitable[None]]


async def catches_everything(act: Awaitable[Any]) -> None:
    try:
        await act
    except BaseException:
        return


async def catches_cancelled(act: Awaitable[Any]) -> None:
    try:
        await act
    except asyncio.CancelledError:
        return


async def returns_in_finally(act: Awaitable[Any]) -> None:
    try:
        await act
    finally:
        return  # noqa: B012 - what careless user code does


async def wraps_it(act: Awaitable[Any]) -> None:
    try:
        await act
    except BaseException as error:
        message = "swallowed"
        raise RuntimeError(message) from error


@pytest.fixture(params=[catches_everything, catches_cancelled, returns_in_finally, wraps_it])
def swallow(request: pytest.FixtureRequest) -> Swallow:
    """Return one of the ways in which user code swallows exceptions."""
    swallower: Swallow = request.param
    return swallower


def test_a_swallowed_park_is_a_park_all_the_same(swallow: Swallow) -> None:
    calls: list[str] = []
    ends: list[str] = []

    @workflow("careless")
    async def careless(step: AsyncStep) -> str:
        await swallow(step.sleep("pause", "1h"))
        await step.run("after", noting(calls, "after"))
        ends.append("reached")
        return "done"

    handle = careless.start()
    run_until_idle()
    assert (handle.status, handle.run.failures) == ("running", 0)
    assert (calls, ends, step_names(handle)) == ([], [], ["pause"])
    tick("1h")

    assert (handle.result(timeout=0), calls) == ("done", ["after"])


def test_a_swallowed_retry_is_a_retry_all_the_same(swallow: Swallow) -> None:
    tries: list[int] = []

    def fail_once() -> str:
        tries.append(1)
        if len(tries) == 1:
            raise LookupError
        return "found"

    policy = RetryPolicy(initial_interval="1m")

    @workflow("careless")
    async def careless(step: AsyncStep) -> str:
        await swallow(step.run("look", fail_once, retry_policy=policy))
        return "done"

    handle = careless.start()
    run_until_idle()
    assert (handle.status, handle.run.output) == ("pending", None)
    tick("1m")

    assert (handle.result(timeout=0), len(tries)) == ("done", 2)


def test_a_task_that_swallows_its_cancel_cannot_start_a_step_while_the_run_parks() -> None:
    calls: list[str] = []

    @workflow("stubborn")
    async def stubborn(step: AsyncStep) -> None:
        async def insist() -> None:
            await catches_everything(step.sleep("pause", "1h"))
            for number in range(3):
                await catches_everything(step.run(f"more-{number}", noting(calls, "more")))

        await asyncio.gather(insist(), step.sleep("other", "2h"))

    handle = stubborn.start()
    run_until_idle()

    assert (handle.status, calls) == ("running", [])
    assert sorted(step_names(handle)) == ["other", "pause"]


def test_a_cancelled_error_that_user_code_raises_fails_the_run_and_not_the_worker() -> None:
    @workflow("odd", retry_policy=RetryPolicy(maximum_attempts=1))
    async def odd(step: AsyncStep) -> None:
        raise asyncio.CancelledError

    handle = odd.start()
    run_until_idle()

    assert (handle.status, handle.run.error["name"]) == ("failed", "CancelledError")


def test_a_branch_that_user_code_cancels_does_not_end_the_run() -> None:
    calls: list[str] = []

    @workflow("choosing")
    async def choosing(step: AsyncStep) -> str:
        async def endless() -> None:
            await asyncio.Event().wait()

        task = asyncio.create_task(endless())
        await step.run("work", noting(calls, "work"))
        task.cancel()
        await asyncio.wait([task])
        return await step.run("more", noting(calls, "more"))

    handle = choosing.start()
    run_until_idle()

    assert (handle.result(timeout=0), calls) == ("more", ["work", "more"])


# --- what is left of it in the log --------------------------------------------------------------


def both(step: AsyncStep) -> asyncio.Future[Any]:
    return asyncio.gather(step.sleep("pause", "1h"), step.wait_for_signal("go"))


async def in_time(step: AsyncStep) -> None:
    await asyncio.wait_for(both(step), 3600)


async def shielded(step: AsyncStep) -> None:
    await asyncio.shield(both(step))


async def together(step: AsyncStep) -> None:
    await asyncio.wait([asyncio.gather(both(step), step.sleep("night", "8h"))])


async def begun_before(step: AsyncStep) -> None:
    future = both(step)
    await step.wait_for_signal("first")
    await future


@pytest.mark.parametrize("how", ["parked", "canceled"])
@pytest.mark.parametrize("code", [in_time, shielded, together, begun_before])
def test_a_pass_that_ends_early_leaves_no_error_of_a_gather(
    code: Callable[[AsyncStep], Awaitable[None]], how: str, caplog: pytest.LogCaptureFixture
) -> None:
    @workflow("gathering")
    async def gathering(step: AsyncStep) -> None:
        if how == "canceled":
            await asyncio.gather(code(step), step.run("cancel", handle.cancel))
        await code(step)

    handle = gathering.start()
    run_until_idle()
    gc.collect()

    assert handle.status == {"parked": "running"}.get(how, how)
    assert caplog.messages == []


def test_an_error_of_a_gather_that_nobody_awaits_any_more_is_not_hushed_up(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def ill(step: AsyncStep) -> None:
        try:
            await step.sleep("pause", "1h")
        finally:
            raise ValueError(step.info.id)

    @workflow("gathering")
    async def gathering(step: AsyncStep) -> None:
        future = asyncio.gather(ill(step))
        await step.wait_for_signal("first")
        await future

    handle = gathering.start()
    run_until_idle()
    gc.collect()

    (record,) = caplog.records
    assert "never retrieved" in record.getMessage()
    assert f"ValueError({handle.id!r})" in record.getMessage()
