"""A step in flight that completes after the cancel is undone by a clean-up run of its own."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
from django.db import connection

from django_openworkflow import AsyncStep, RunHandle, Step, Workflow, workflow
from django_openworkflow.models import StepAttempt, WorkflowRun
from tests.worker import conftest
from tests.worker.workers import (
    SHORT_LEASE_SECONDS,
    Gate,
    attempts_of,
    wait_until,
    work_until_idle,
    working,
)

opened = conftest.opened  # real threads and connections, and none of them left behind


class Hotel(Gate):
    """A body in flight, and the step that can tell whether word of the cancel has come."""

    step: Any = None

    def wait_until_told(self) -> None:
        """Return once the worker knows of the cancel."""
        wait_until(lambda: self.step.cancel_requested, "word of the cancel")

    async def abody(self) -> str:
        """Be an async body that does not heed the cancel."""
        body = asyncio.get_running_loop().run_in_executor(None, self.body, "hotel")
        while not body.done():
            with suppress(asyncio.CancelledError):
                await asyncio.shield(body)
        return body.result()


def sync_bookings(hotel: Hotel, log: list[str]) -> Workflow[[], None]:
    @workflow("bookings", on_cancel=lambda step: log.append("hook"))
    def bookings(step: Step) -> None:
        hotel.step = hotel.step or step
        step.run("flight", lambda: "flight", compensate=log.append)
        step.run("hotel", hotel.body, "hotel", compensate=log.append)
        step.run("car", lambda: "car", compensate=log.append)

    return bookings


def async_bookings(hotel: Hotel, log: list[str], *, in_thread: bool = False) -> Workflow[[], None]:
    async def hook(step: AsyncStep) -> None:
        log.append("hook")

    body: Any = partial(hotel.body, "hotel") if in_thread else hotel.abody

    @workflow("bookings", on_cancel=hook)
    async def bookings(step: AsyncStep) -> None:
        hotel.step = hotel.step or step
        await step.run("flight", lambda: "flight", compensate=log.append)
        await step.run("hotel", body, compensate=log.append)
        await step.run("car", lambda: "car", compensate=log.append)

    return bookings


threaded_bookings = partial(async_bookings, in_thread=True)


def ended(cleaned: RunHandle[Any], how_many: int) -> bool:
    """Whether so many clean-up runs of a run have completed."""
    return WorkflowRun.objects.filter(cleanup_of=cleaned.id).completed().count() == how_many


@pytest.mark.parametrize(
    "define",
    [sync_bookings, async_bookings, threaded_bookings],
    ids=["sync", "async", "sync-in-async"],
)
def test_a_step_that_completes_late_is_undone_once_and_the_others_too(define: Any) -> None:
    gate, log = Hotel(), list[str]()
    handle = define(gate, log).start()
    with gate, working(lease_seconds=SHORT_LEASE_SECONDS):
        gate.wait_until_entered()
        handle.cancel()
        gate.wait_until_told()
        wait_until(lambda: ended(handle, 1), "the first clean-up")
        assert log == ["flight", "hook"]  # it does not wait for the body
        gate.open()
        wait_until(lambda: ended(handle, 2), "the second clean-up")
    work_until_idle()

    assert log == ["flight", "hook", "hotel"]
    assert attempts_of(handle) == [("flight", "completed"), ("hotel", "completed")]
    late = StepAttempt.objects.get(workflow_run=handle.id, step_name="hotel")
    cleanups = WorkflowRun.objects.filter(cleanup_of=handle.id).order_by("pk")
    assert [run.cleanup_attempt_id for run in cleanups] == [None, late.pk]


def test_a_transaction_that_the_cancel_overtook_has_nothing_to_undo() -> None:
    gate, log = Gate(), list[str]()

    def body() -> str:
        return gate.body("hotel")

    @workflow("bookings")
    def bookings(step: Step) -> None:
        step.transaction("hotel", body, compensate=log.append)

    if connection.vendor == "sqlite":
        pytest.skip("a transaction in flight holds SQLite's one write lock: nobody can cancel")
    handle = bookings.start()
    with gate, working(lease_seconds=SHORT_LEASE_SECONDS):
        gate.wait_until_entered()
        handle.cancel()
        gate.open()
    work_until_idle()

    assert (handle.status, log) == ("canceled", [])
    assert WorkflowRun.objects.filter(cleanup_of=handle.id).count() == 0


def test_a_late_step_whose_clean_up_was_canceled_is_undone_after_the_next_cancel() -> None:
    gate, log = Gate(), list[str]()

    @workflow("bookings")
    def bookings(step: Step) -> None:
        step.run("hotel", gate.body, "hotel", compensate=log.append)
        step.sleep("pause", "1h")

    handle = bookings.start()
    with gate, working(queues=["default"]) as worker:
        gate.wait_until_entered()
        handle.cancel()
        worker.request_stop()  # it claims no clean-up any more
        gate.open()
    (cleanup,) = WorkflowRun.objects.filter(cleanup_of=handle.id)
    WorkflowRun.objects.cancel(cleanup)
    assert log == []
    WorkflowRun.objects.retry(handle.id)
    work_until_idle()
    assert gate.calls == 1  # it was not undone, so it is kept
    handle.cancel()
    work_until_idle()

    assert log == ["hotel"]
