"""Async steps that fail or are refused: retries, groups of errors, transactions, nested calls."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import transaction

from django_openworkflow import AsyncStep, RetryPolicy, workflow
from django_openworkflow.exceptions import StepFailed, WorkflowFailed
from django_openworkflow.testing import run_until_idle
from tests.engine.passes import attempts_of, noting, step_names, tick

pytestmark = pytest.mark.django_db

ONCE = RetryPolicy(maximum_attempts=1)
TWICE = RetryPolicy(maximum_attempts=2)


async def no_stock(name: str = "stock") -> None:
    raise LookupError(name)


def test_a_step_that_gives_up_fails_the_run_with_its_own_error() -> None:
    @workflow("failing", retry_policy=RetryPolicy(maximum_attempts=5))
    async def failing(step: AsyncStep) -> None:
        await step.run("look", no_stock, retry_policy=ONCE)

    handle = failing.start()
    run_until_idle()

    with pytest.raises(WorkflowFailed, match=r"^Workflow failing failed: LookupError: stock$"):
        handle.result(timeout=0)


def test_a_failing_body_is_tried_again_after_its_back_off() -> None:
    tries: list[int] = []

    async def body() -> str:
        tries.append(1)
        if len(tries) < 3:
            raise LookupError
        return "found"

    policy = RetryPolicy(initial_interval="10m", maximum_interval="1h")

    @workflow("patient")
    async def patient(step: AsyncStep) -> str:
        return await step.run("look", body, retry_policy=policy)

    handle = patient.start()
    counts = [(tick(pause), len(tries))[1] for pause in ("0s", "9m", "1m", "19m", "1m")]

    assert counts == [1, 1, 2, 2, 3]
    assert handle.result(timeout=0) == "found"
    assert handle.run.failures == 0  # the workflow's own budget is untouched


def test_the_failure_of_a_step_can_be_caught_in_every_pass() -> None:
    caught: list[str] = []

    @workflow("careful")
    async def careful(step: AsyncStep) -> str:
        try:
            await step.run("look", no_stock, retry_policy=ONCE)
        except StepFailed as error:
            caught.append(str(error))
        await step.sleep("pause", "1h")
        return "went on"

    handle = careful.start()
    run_until_idle()
    tick("1h")

    assert handle.result(timeout=0) == "went on"
    assert caught == ['Step "look" failed after 1 attempt: LookupError: stock'] * 2


def test_siblings_of_a_failing_step_record_how_they_end() -> None:
    async def slow() -> str:
        await asyncio.sleep(0.05)
        return "slow"

    @workflow("failing")
    async def failing(step: AsyncStep) -> None:
        await asyncio.gather(step.run("slow", slow), step.run("look", no_stock, retry_policy=ONCE))

    handle = failing.start()
    run_until_idle()

    assert handle.status == "failed"
    outcomes = {row.step_name: (row.status, row.output) for row in attempts_of(handle)}
    assert outcomes == {"slow": ("completed", "slow"), "look": ("failed", None)}


def test_the_errors_of_a_task_group_come_as_a_group() -> None:
    caught: list[list[str]] = []

    @workflow("grouped")
    async def grouped(step: AsyncStep) -> str:
        try:
            async with asyncio.TaskGroup() as group:
                for name in ("a", "b"):
                    group.create_task(step.run(name, no_stock, name, retry_policy=ONCE))
        except* StepFailed as errors:
            caught.append(sorted(str(error) for error in errors.exceptions))
        return "handled"

    handle = grouped.start()
    run_until_idle()

    assert handle.result(timeout=0) == "handled"
    assert 'Step "a" failed after 1 attempt: LookupError: a' in caught[0]


def test_a_group_of_errors_that_nobody_catches_fails_the_run_with_its_words() -> None:
    @workflow("grouped")
    async def grouped(step: AsyncStep) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(step.run("a", no_stock, retry_policy=ONCE))

    handle = grouped.start()
    run_until_idle()

    assert (handle.status, handle.run.error["name"]) == ("failed", "ExceptionGroup")


def test_a_retry_and_a_sleep_side_by_side_wake_at_the_earlier_and_repeat_nothing() -> None:
    tries: list[str] = []
    calls: list[str] = []
    policy = RetryPolicy(initial_interval="10m", maximum_interval="1h")

    async def fail_twice() -> str:
        tries.append("try")
        if len(tries) < 3:
            raise LookupError
        return "found"

    @workflow("mixed")
    async def mixed(step: AsyncStep) -> str:
        found, _, _ = await asyncio.gather(
            step.run("look", fail_twice, retry_policy=policy),
            step.sleep("pause", "5m"),
            step.run("work", noting(calls, "work")),
        )
        return found

    handle = mixed.start()
    counts = [(tick(pause), len(tries))[1] for pause in ("0s", "5m", "5m", "20m")]

    assert counts == [1, 1, 2, 3]  # the end of the sleep is no early try
    assert (handle.result(timeout=0), calls) == ("found", ["work"])


def test_an_error_of_the_workflows_own_code_is_tried_by_its_policy() -> None:
    passes: list[int] = []
    calls: list[str] = []

    @workflow("flaky", retry_policy=TWICE)
    async def flaky(step: AsyncStep) -> str:
        passes.append(1)
        await step.run("work", noting(calls, "work"))
        if len(passes) == 1:
            raise LookupError
        return "done"

    handle = flaky.start()
    run_until_idle()
    tick("1s")

    assert (handle.result(timeout=0), calls, handle.run.failures) == ("done", ["work"], 1)


# --- refused ------------------------------------------------------------------------------------


def test_a_step_inside_an_async_body_is_refused() -> None:
    calls: list[str] = []

    @workflow("nested")
    async def nested(step: AsyncStep) -> None:
        async def body() -> None:
            await step.run("inner", noting(calls, "inner"))

        await step.run("outer", body, retry_policy=ONCE)

    handle = nested.start()
    run_until_idle()

    assert (handle.run.error["name"], handle.run.error["message"]) == (
        "StepCallRefused",
        'Step "inner" was called inside the body of step "outer"',
    )
    assert (calls, step_names(handle)) == ([], ["outer"])


def test_a_step_in_a_task_that_a_body_creates_is_refused() -> None:
    @workflow("nested")
    async def nested(step: AsyncStep) -> None:
        async def body() -> None:
            await asyncio.create_task(step.sleep("inner", "1h"))

        await step.run("outer", body, retry_policy=ONCE)

    handle = nested.start()
    run_until_idle()

    assert (handle.status, handle.run.error["name"]) == ("failed", "StepCallRefused")


def test_steps_after_and_beside_a_body_are_not_taken_for_nested_ones() -> None:
    async def body() -> str:
        await asyncio.sleep(0.01)
        return "body"

    @workflow("siblings")
    async def siblings(step: AsyncStep) -> list[str]:
        pair = await asyncio.gather(step.run("a", body), step.run("b", body))
        return [*pair, await step.run("c", body)]

    handle = siblings.start()
    run_until_idle()

    assert handle.result(timeout=0) == ["body"] * 3


# --- transactions -------------------------------------------------------------------------------


def test_a_transaction_step_commits_its_writes_with_its_result() -> None:
    inside: list[bool] = []

    def create(name: str) -> str:
        inside.append(transaction.get_connection().in_atomic_block)
        return Group.objects.create(name=name).name

    @workflow("writing")
    async def writing(step: AsyncStep) -> str:
        return await step.transaction("create", create, "staff")

    handle = writing.start()
    run_until_idle()

    assert (handle.result(timeout=0), inside) == ("staff", [True])
    assert Group.objects.filter(name="staff").count() == 1


def test_a_transaction_step_that_raises_leaves_nothing_behind() -> None:
    def create() -> None:
        Group.objects.create(name="staff")
        raise LookupError

    options: dict[str, Any] = {"retry_policy": ONCE}

    @workflow("writing")
    async def writing(step: AsyncStep) -> None:
        await step.transaction("create", create, **options)

    handle = writing.start()
    run_until_idle()

    assert (handle.status, Group.objects.count()) == ("failed", 0)


def test_an_async_function_cannot_be_a_transaction() -> None:
    called: list[str] = []

    async def acreate() -> None:
        called.append("create")

    create: Any = acreate

    @workflow("writing")
    async def writing(step: AsyncStep) -> None:
        await step.transaction("create", create)

    handle = writing.start()
    run_until_idle()

    error = handle.run.error
    assert (error["name"], called) == ("InvalidInput", [])
    assert error["message"] == 'Step "create" is a transaction: its function cannot be async'
