"""After a cancel: completed steps are undone in reverse, then the hook is called."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from django_openworkflow import AsyncStep, RetryPolicy, RunHandle, Step, Workflow, workflow
from django_openworkflow.exceptions import RunNotCancelable
from django_openworkflow.models import WorkflowRun
from django_openworkflow.registry import registry
from django_openworkflow.testing import run_until_idle
from tests.engine.passes import raiser, step_names, tick

pytestmark = pytest.mark.django_db

Trips = Callable[..., Workflow[Any, Any]]


def sync_trip(log: list[Any], **options: Any) -> Workflow[Any, Any]:
    """Define a workflow that books, sleeps, books again, and notes how it is undone."""

    def undo(output: Any) -> None:
        log.append(("undo", output))

    def hook(step: Step, city: str, *, nights: int = 1) -> None:
        step.run("tell", lambda: log.append(("hook", city, nights)))

    @workflow("trip", on_cancel=hook, **options)
    def trip(step: Step, city: str, *, nights: int = 1) -> None:
        step.run("flight", lambda: {"flight": city}, compensate=undo)
        step.run("insurance", lambda: "kept")
        step.transaction("hotel", lambda: {"nights": nights}, compensate=undo)
        step.sleep("pause", "1h")
        step.run("car", lambda: "car", compensate=undo)
        step.sleep("long", "100h")

    return trip


def async_trip(log: list[Any], **options: Any) -> Workflow[Any, Any]:
    """Define the same as ``sync_trip`` in async code."""

    async def undo(output: Any) -> None:
        log.append(("undo", output))

    def sync_undo(output: Any) -> None:
        log.append(("undo", output))

    async def hook(step: AsyncStep, city: str, *, nights: int = 1) -> None:
        await step.run("tell", lambda: log.append(("hook", city, nights)))

    @workflow("trip", on_cancel=hook, **options)
    async def trip(step: AsyncStep, city: str, *, nights: int = 1) -> None:
        await step.run("flight", lambda: {"flight": city}, compensate=undo)
        await step.run("insurance", lambda: "kept")
        await step.transaction("hotel", lambda: {"nights": nights}, compensate=sync_undo)
        await step.sleep("pause", "1h")
        await step.run("car", lambda: "car", compensate=undo)
        await step.sleep("long", "100h")

    return trip


@pytest.fixture(params=[sync_trip, async_trip])
def trips(request: pytest.FixtureRequest) -> Trips:
    """Return a way to define the trip."""
    chosen: Trips = request.param
    return chosen


def cleanups_of(handle: RunHandle[Any]) -> list[WorkflowRun]:
    """Return the clean-up runs of a run, oldest first."""
    return list(WorkflowRun.objects.filter(cleanup_of=handle.id).order_by("pk"))


def started(trip: Workflow[Any, Any], *pauses: str) -> RunHandle[Any]:
    """Start a trip and execute it, after each of these pauses too."""
    handle = trip.start("Rome", nights=3)
    run_until_idle()
    for pause in pauses:
        tick(pause)
    return handle


# --- what is undone -----------------------------------------------------------------------------


def test_completed_steps_are_undone_in_reverse_and_the_hook_comes_last(trips: Trips) -> None:
    log: list[Any] = []
    handle = started(trips(log), "1h")
    handle.cancel(reason="rain")
    assert log == []  # a cancel calls no code
    run_until_idle()

    assert log == [
        ("undo", "car"),
        ("undo", {"nights": 3}),
        ("undo", {"flight": "Rome"}),
        ("hook", "Rome", 3),
    ]
    assert handle.status == "canceled"


def test_only_what_was_completed_is_undone(trips: Trips) -> None:
    log: list[Any] = []
    handle = started(trips(log))
    handle.cancel()
    run_until_idle()

    assert log == [("undo", {"nights": 3}), ("undo", {"flight": "Rome"}), ("hook", "Rome", 3)]


def test_a_run_canceled_before_its_first_step_gets_its_hook_alone(trips: Trips) -> None:
    log: list[Any] = []
    handle = trips(log).start("Rome")
    handle.cancel()
    run_until_idle()

    assert log == [("hook", "Rome", 1)]


def test_a_clean_up_is_a_run_of_its_own_linked_to_the_canceled_one(trips: Trips) -> None:
    log: list[Any] = []
    handle = started(trips(log, version="7", queue="default"))
    WorkflowRun.objects.filter(pk=handle.id).update(priority=5)
    before = handle.cancel()
    (pending,) = cleanups_of(handle)
    assert (pending.status, pending.workflow_name, pending.version) == (
        "pending",
        "trip:cleanup",
        "7",
    )
    assert (pending.cleanup_of_id, pending.input, pending.priority) == (handle.id, before.input, 5)
    run_until_idle()

    (cleanup,) = cleanups_of(handle)
    assert (cleanup.status, cleanup.output) == ("completed", None)
    assert step_names(RunHandle(cleanup.pk)) == ["undo:hotel", "undo:flight", "tell"]
    assert (handle.run.finished_at, handle.run.attempts) == (before.finished_at, before.attempts)


def test_a_canceled_run_is_replayed_without_calling_a_body_or_writing(trips: Trips) -> None:
    log: list[Any] = []
    handle = started(trips(log))
    handle.cancel()
    names = step_names(handle)
    run_until_idle()

    assert step_names(handle) == names


def test_steps_side_by_side_are_undone_in_reverse_too() -> None:
    log: list[Any] = []

    @workflow("pair")
    def pair(step: Step) -> None:
        call: Any = step.call
        step.gather(
            call("a", lambda: "a", compensate=log.append),
            call("b", lambda: "b", compensate=log.append),
        )
        step.sleep("pause", "1h")

    handle = started_bare(pair)
    handle.cancel()
    run_until_idle()

    assert log == ["b", "a"]


def started_bare(definition: Workflow[[], Any]) -> RunHandle[Any]:
    """Start a run without arguments and execute what is due."""
    handle = definition.start()
    run_until_idle()
    return handle


def test_the_replay_sees_the_facts_of_the_canceled_run() -> None:
    log: list[Any] = []

    @workflow("dated")
    def dated(step: Step) -> None:
        day = step.info.created_at.isoformat()
        step.run(f"book {step.info.id} {day}", lambda: day, compensate=log.append)
        step.sleep("pause", "1h")

    handle = started_bare(dated)
    handle.cancel()
    tick("1s")

    assert log == [handle.run.created_at.isoformat()]


# --- nothing to do ------------------------------------------------------------------------------


def test_a_run_with_nothing_to_undo_gets_no_clean_up() -> None:
    @workflow("plain")
    def plain(step: Step) -> None:
        step.run("work", lambda: None)
        step.sleep("pause", "1h")
        step.run("book", lambda: None, compensate=lambda _: None)

    handle = started_bare(plain)
    handle.cancel()

    assert cleanups_of(handle) == []


@pytest.mark.parametrize("error", [None, LookupError("no")])
def test_a_run_that_completed_or_failed_is_never_cleaned(error: Exception | None) -> None:
    log: list[Any] = []

    @workflow("ending", on_cancel=lambda step: log.append("hook"))
    def ending(step: Step) -> None:
        step.run("book", lambda: "book", compensate=log.append)
        if error:
            raise error

    handle = started_bare(ending)
    with pytest.raises(RunNotCancelable):
        handle.cancel()
    run_until_idle()

    assert (cleanups_of(handle), log) == ([], [])


def test_a_second_cancel_starts_no_second_clean_up(trips: Trips) -> None:
    log: list[Any] = []
    handle = started(trips(log))
    handle.cancel()
    handle.cancel()
    run_until_idle()
    handle.cancel()
    run_until_idle()

    assert len(cleanups_of(handle)) == 1
    assert log.count(("undo", {"flight": "Rome"})) == 1


def test_what_an_undo_raises_or_sleeps_is_no_business_of_the_canceled_run() -> None:
    log: list[Any] = []

    def hook(step: Step) -> None:
        step.sleep("wait", "1h")
        step.run("tell", lambda: log.append("hook"))

    @workflow("slow", on_cancel=hook)
    def slow(step: Step) -> None:
        step.sleep("pause", "1h")

    handle = started_bare(slow)
    handle.cancel()
    run_until_idle()
    assert (log, cleanups_of(handle)[0].status) == ([], "running")
    tick("1h")

    assert (log, cleanups_of(handle)[0].status, handle.status) == (
        ["hook"],
        "completed",
        "canceled",
    )


# --- families -----------------------------------------------------------------------------------


def test_a_cascade_cleans_up_after_every_run_that_it_cancels() -> None:
    log: list[Any] = []

    @workflow("child")
    def child(step: Step) -> None:
        step.run("book", lambda: "child", compensate=log.append)
        step.sleep("pause", "1h")

    @workflow("parent")
    def parent(step: Step) -> None:
        step.run("book", lambda: "parent", compensate=log.append)
        step.run_workflow(child)

    handle = started_bare(parent)
    handle.cancel(cascade=True)
    run_until_idle()

    assert sorted(log) == ["child", "parent"]
    cleaned = WorkflowRun.objects.filter(cleanup_of__isnull=False)
    assert {run.workflow_name for run in cleaned} == {"child:cleanup", "parent:cleanup"}
    assert {run.status for run in cleaned} == {"completed"}


def test_a_clean_up_can_be_canceled_and_is_not_cleaned_up_itself(trips: Trips) -> None:
    log: list[Any] = []
    handle = started(trips(log))
    handle.cancel()
    (cleanup,) = cleanups_of(handle)
    WorkflowRun.objects.cancel(cleanup)
    run_until_idle()

    assert log == []
    assert WorkflowRun.objects.count() == 2


def test_a_clean_up_waits_for_a_worker_that_knows_its_workflow(trips: Trips) -> None:
    log: list[Any] = []
    with registry.isolated():
        handle = started(trips(log))
        handle.cancel()
    run_until_idle()
    (cleanup,) = cleanups_of(handle)
    assert (cleanup.status, cleanup.attempts) == ("pending", 0)
    trips(log)
    tick("1h")

    assert cleanups_of(handle)[0].status == "completed"
    assert ("undo", {"flight": "Rome"}) in log


def test_compensate_must_be_a_function() -> None:
    wrong: Any = "refund"

    @workflow("wrong", retry_policy=RetryPolicy(maximum_attempts=1))
    def wrongly(step: Step) -> None:
        step.run("book", raiser(AssertionError()), compensate=wrong)

    handle = started_bare(wrongly)

    assert handle.run.error["name"] == "InvalidInput"
    assert handle.run.error["message"] == (
        "compensate must be a function of the step's result, not 'refund'"
    )
