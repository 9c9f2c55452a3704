"""A pass that was told that its lease is gone writes no failure, even where it could.

A worker whose leases nobody has confirmed for as long as they last tells its passes to stop; the
rows may still be its own. What code makes of that, an exception, is no failure of the workflow.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async

from django_openworkflow import AsyncStep, RunHandle, Step, workflow
from django_openworkflow.models import StepAttempt, WorkflowRun
from django_openworkflow.registry import registry
from django_openworkflow.store.base import ClaimRequest
from django_openworkflow.store.factory import store_for
from django_openworkflow.testing import run_until_idle
from django_openworkflow.worker.direct import DirectLedger
from django_openworkflow.worker.pool import executors_of

if TYPE_CHECKING:
    from django_openworkflow.engine.execution import Execution
    from django_openworkflow.engine.executor import Executor

pytestmark = pytest.mark.django_db

told: list[Execution] = []


def lose() -> None:
    """Tell the pass that is being executed what a worker tells it."""
    told[-1].lose()


async def in_thread(fn: Callable[[], Any]) -> Any:
    return await sync_to_async(fn)()


def one_pass() -> Executor:
    """Claim the run that is due, and execute one pass of it."""
    store = store_for("default")
    request = ClaimRequest(
        worker_name="w", limit=1, lease_seconds=30, workflows=registry.claimable()
    )
    (executor,) = executors_of(store, store.claim(request), DirectLedger(store))
    told.append(executor.execution)
    if executor.workflow.is_async:
        async_to_sync(executor.aexecute)(in_thread)
    else:
        executor.execute()
    return executor


def assert_left_to_its_lease(handle: RunHandle[Any], executor: Executor) -> None:
    """Nothing was written at the end of the pass, and the next one goes on."""
    run = handle.run
    lease = executor.execution.claimed.lease
    assert (run.status, run.worker_id, run.failures) == ("running", lease.worker_id, 0)
    assert not StepAttempt.objects.filter(status="failed").exists()
    WorkflowRun.objects.update(available_at=run.created_at)
    run_until_idle()
    assert handle.result(timeout=0) == "done"


def test_a_body_that_gives_up_because_of_it_has_not_failed() -> None:
    bodies: list[int] = []

    @workflow("careful")
    def careful(step: Step) -> str:
        def body() -> str:
            bodies.append(1)
            if len(bodies) == 1:
                lose()
            if step.cancel_requested:
                message = "stopped half way"
                raise RuntimeError(message)
            return "done"

        return step.run("work", body)

    handle = careful.start()
    assert_left_to_its_lease(handle, one_pass())
    assert len(bodies) == 2


def test_code_between_steps_that_raises_because_of_it_has_not_failed() -> None:
    passes: list[int] = []

    @workflow("nervous")
    def nervous(step: Step) -> str:
        passes.append(1)
        if len(passes) == 1:
            lose()
        if step.cancel_requested:
            message = "stopped"
            raise RuntimeError(message)
        return "done"

    handle = nervous.start()
    assert_left_to_its_lease(handle, one_pass())


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("where", ["in a step", "between steps"])
def test_an_async_run_whose_tasks_were_cancelled_has_not_failed(where: str) -> None:
    passes: list[int] = []

    async def work() -> str:
        if len(passes) == 1:
            lose()
            await asyncio.sleep(60)
        return "done"

    @workflow("patient")
    async def patient(step: AsyncStep) -> str:
        passes.append(1)
        return await (step.run("work", work) if where == "in a step" else work())

    handle = patient.start()
    assert_left_to_its_lease(handle, one_pass())
    assert len(passes) == 2


def test_a_result_that_came_all_the_same_counts() -> None:
    @workflow("quick")
    def quick(step: Step) -> str:
        lose()
        return "done"

    handle = quick.start()
    one_pass()
    assert handle.result(timeout=0) == "done"
