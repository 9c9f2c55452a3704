"""Results that nobody waits for: written with what comes next, or soon, and before what follows."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from django_openworkflow import AsyncStep, Step, workflow
from django_openworkflow.models import StepAttempt, WorkflowRun
from django_openworkflow.registry import registry
from django_openworkflow.store.base import ClaimRequest, Store
from django_openworkflow.store.operations import Posted, StepCompleted, Verdict
from django_openworkflow.worker.ledger import GroupLedger
from django_openworkflow.worker.pool import executors_of
from tests.engine.turns import OPERATIONS, held, lease_of
from tests.factories import StepAttemptFactory, WorkflowRunFactory
from tests.races.rivals import held_open, requires_row_locks, rivals
from tests.worker.ledgers import WatchedStore, broken_once, callers, start_of
from tests.worker.workers import (
    PATIENCE_SECONDS,
    Gate,
    attempts_of,
    wait_for_end,
    wait_until,
    working,
)


def post_result(ledger: GroupLedger, output: str = "1") -> tuple[WorkflowRun, StepAttempt, Posted]:
    """Post the result of a step of a held run."""
    run, attempt, lease = held()
    posted = ledger.post(StepCompleted(lease=lease, attempt_id=attempt.pk, output=output))
    return run, attempt, posted


# --- the ledger ---------------------------------------------------------------------------------


@pytest.mark.usefixtures("unhurried")
def test_a_result_is_written_by_the_next_turn_that_anybody_takes() -> None:
    store = WatchedStore("default")
    somebody = WorkflowRunFactory.create(running=True)
    with callers(store) as them:
        _, attempt, posted = post_result(them.ledger)
        assert posted.receipt is None
        them.ledger.submit(start_of(somebody))
        assert posted.is_accepted

    attempt.refresh_from_db()
    assert (attempt.status, attempt.output) == ("completed", 1)
    assert store.kinds == [["StepCompleted", "StepStarted"]]


def test_a_result_is_written_soon_when_nobody_takes_a_turn() -> None:
    store = WatchedStore("default")
    with callers(store) as them:
        _, attempt, posted = post_result(them.ledger)
        wait_until(lambda: posted.is_accepted, "the write")
        attempt.refresh_from_db()
        assert attempt.status == "completed"
        _, _another, posted = post_result(them.ledger)
        wait_until(lambda: posted.is_accepted, "another write")

    assert store.turns == [1, 1]


def test_a_result_is_written_when_the_ledger_is_closed() -> None:
    ledger = GroupLedger(Store("default"), lease_seconds=30)
    _, attempt, _ = post_result(ledger)
    ledger.close()

    attempt.refresh_from_db()
    assert attempt.status == "completed"


def test_what_follows_a_result_of_a_canceled_run_is_canceled_and_the_result_kept() -> None:
    with callers(Store("default")) as them:
        run, attempt, posted = post_result(them.ledger)
        run.cancel()
        receipt = them.ledger.submit(start_of(run), after=[posted])
        again = them.ledger.submit(start_of(run), after=[posted])

    assert (receipt.verdict, again.verdict) == (Verdict.CANCELED, Verdict.CANCELED)
    attempt.refresh_from_db()
    assert (attempt.status, attempt.output) == ("completed", 1)


@pytest.mark.usefixtures("unhurried")
def test_a_result_that_the_database_refuses_loses_the_lease_and_nothing_follows_it() -> None:
    """Its neighbours are written, and what was to come after it is not."""
    store = WatchedStore("default")
    neighbour = WorkflowRunFactory.create(running=True)
    with callers(store) as them:
        run, attempt, posted = post_result(them.ledger)
        StepAttemptFactory.create(workflow_run=run, step_name="body", completed=True)
        before = WorkflowRun.objects.filter(pk=run.pk).values().get()
        assert them.ledger.submit(start_of(neighbour)).verdict is Verdict.ACCEPTED
        completed = OPERATIONS["completed"](lease_of(run), attempt.pk)
        assert them.ledger.submit(completed, after=[posted]).verdict is Verdict.LOST

    attempt.refresh_from_db()
    assert attempt.status == "running"
    assert WorkflowRun.objects.filter(pk=run.pk).values().get() == before
    assert all("RunCompleted" not in kinds for kinds in store.kinds)


@requires_row_locks
def test_what_follows_waits_for_a_result_whose_run_somebody_holds() -> None:
    free = WorkflowRunFactory.create(running=True)
    with callers(Store("default")) as them:
        run, attempt, lease = held()
        result = StepCompleted(lease=lease, attempt_id=attempt.pk, output="1")
        with rivals("canceler") as (rival,), held_open(rival, run.cancel) as canceling:
            posted = them.ledger.post(result)
            waiting = them.submit(start_of(run), after=[posted])
            assert them.ledger.submit(start_of(free)).verdict is Verdict.ACCEPTED
            assert posted.receipt is None
            assert not waiting.done()
            canceling.end(commit=False)
        assert waiting.result(PATIENCE_SECONDS).verdict is Verdict.ACCEPTED

    attempt.refresh_from_db()
    assert attempt.status == "completed"


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_result_outlives_lost_connections(when: str) -> None:
    store = WatchedStore("default")
    setattr(store, when, broken_once(3))
    with callers(store) as them:
        _, attempt, posted = post_result(them.ledger)
        wait_until(lambda: posted.is_accepted, "the write")

    attempt.refresh_from_db()
    assert attempt.status == "completed"


def test_a_result_that_cannot_be_written_for_a_lease_is_given_up_with_the_lease() -> None:
    store = WatchedStore("default")
    store.before = broken_once(10**9)
    with callers(store, lease_seconds=0.2) as them:
        _, _, posted = post_result(them.ledger)
        wait_until(lambda: posted.receipt, "the end of patience")
        assert posted.receipt is not None
        assert posted.receipt.verdict is Verdict.LOST


# --- a pass -------------------------------------------------------------------------------------


def execute(store: Store) -> None:
    """Execute the one run that is due with a ledger of its own, in this thread."""
    ledger = GroupLedger(store, lease_seconds=30)
    request = ClaimRequest(
        worker_name="w", limit=1, lease_seconds=30, workflows=registry.claimable()
    )
    (executor,) = executors_of(store, store.claim(request), ledger)
    if executor.workflow.is_async:
        asyncio.run(executor.aexecute(_in_this_thread))
    else:
        executor.execute()
    ledger.close()


async def _in_this_thread(fn: Callable[[], Any]) -> Any:
    return fn()


TURNS_OF_THREE_STEPS = [
    ["StepStarted"],
    ["StepCompleted", "StepStarted"],
    ["StepCompleted", "StepStarted"],
    ["StepCompleted", "RunCompleted"],
]


@pytest.mark.usefixtures("unhurried")
def test_a_step_waits_for_one_turn() -> None:
    @workflow("three")
    def three(step: Step) -> int:
        return sum(step.run(name, int, 1) for name in ("a", "b", "c"))

    handle = three.start()
    store = WatchedStore("default")
    execute(store)

    assert handle.result(timeout=0) == 3
    assert store.kinds == TURNS_OF_THREE_STEPS


@pytest.mark.usefixtures("unhurried")
def test_an_async_step_waits_for_one_turn() -> None:
    async def number() -> int:
        return 1

    @workflow("three")
    async def three(step: AsyncStep) -> int:
        return sum([await step.run(name, number) for name in ("a", "b", "c")])

    handle = three.start()
    store = WatchedStore("default")
    execute(store)

    assert handle.result(timeout=0) == 3
    assert store.kinds == TURNS_OF_THREE_STEPS


@pytest.mark.usefixtures("unhurried")
def test_a_result_is_written_before_a_transaction_step_begins_and_before_a_park() -> None:
    seen: list[str] = []

    def look() -> None:
        seen.extend(
            f"{name} {status}"
            for name, status in StepAttempt.objects.order_by("created_at", "id").values_list(
                "step_name", "status"
            )
        )

    @workflow("booking")
    def booking(step: Step) -> None:
        step.run("first", int, 1)
        step.transaction("book", look)
        step.run("second", int, 1)
        step.sleep("pause", "1h")

    handle = booking.start()
    store = WatchedStore("default")
    execute(store)

    assert seen == ["first completed", "book running"]
    assert [name for name, _ in attempts_of(handle)] == ["first", "book", "second", "pause"]
    assert store.kinds[-1] == ["StepCompleted", "RunParked"]


def test_the_result_before_a_parallel_part_is_written_before_any_branch_begins() -> None:
    seen: list[str] = []

    def look(_number: int) -> None:
        seen.append(StepAttempt.objects.get(step_name="first").status)

    @workflow("forking")
    def forking(step: Step) -> None:
        step.run("first", int, 1)
        step.gather(*(step.call(f"branch-{number}", look, number) for number in range(4)))

    handle = forking.start()
    with working():
        wait_for_end(handle)

    assert seen == ["completed"] * 4


def test_a_result_is_saved_while_workflow_code_does_something_else() -> None:
    gate = Gate()

    @workflow("slow-code")
    def slow_code(step: Step) -> str:
        step.run("first", int, 1)
        return gate.body()

    handle = slow_code.start()
    with gate, working():
        gate.wait_until_entered()
        wait_until(lambda: attempts_of(handle) == [("first", "completed")], "the saved result")
        gate.open()
        wait_for_end(handle)

    assert handle.result(timeout=0) == "done"


def test_a_result_is_saved_while_async_code_awaits_something_else() -> None:
    may_end = threading.Event()

    async def number() -> int:
        return 1

    @workflow("slow-code")
    async def slow_code(step: AsyncStep) -> int:
        first = await step.run("first", number)
        while not may_end.is_set():
            await asyncio.sleep(0.01)
        return first

    handle = slow_code.start()
    with working():
        wait_until(lambda: attempts_of(handle) == [("first", "completed")], "the saved result")
        may_end.set()
        wait_for_end(handle)

    assert handle.result(timeout=0) == 1


def test_a_branchs_result_is_saved_while_its_siblings_are_at_work() -> None:
    gate = Gate()

    @workflow("forking")
    def forking(step: Step) -> None:
        step.gather(step.call("quick", int, 1), step.call("slow", gate.body))

    handle = forking.start()
    with gate, working():
        gate.wait_until_entered()
        wait_until(lambda: ("quick", "completed") in attempts_of(handle), "the saved result")
        assert ("slow", "running") in attempts_of(handle)
        gate.open()
        wait_for_end(handle)


def test_a_run_canceled_while_its_code_is_between_two_steps_starts_no_other_one() -> None:
    gate = Gate()
    started: list[str] = []

    @workflow("between")
    def between(step: Step) -> None:
        step.run("first", int, 1)
        gate.body()
        step.run("second", started.append, "second")

    handle = between.start()
    with gate, working(lease_seconds=600):
        gate.wait_until_entered()
        handle.cancel()
        gate.open()

    assert started == []
    assert handle.status == "canceled"
    assert attempts_of(handle) == [("first", "completed")]
