"""The helpers for the tests of projects: they end, they tell, and they leave nothing behind."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import IntegrityError
from django.test import TestCase
from django.utils import timezone

from django_openworkflow import RetryPolicy, Step, clock, workflow
from django_openworkflow.exceptions import InvalidDuration
from django_openworkflow.models import WorkflowRun
from django_openworkflow.registry import registry
from django_openworkflow.testing import advance, reset_clock, run_until_idle
from tests.factories import StepAttemptFactory, WorkflowRunFactory


class InsideATestCase(TestCase):
    """The helpers work in the transaction that surrounds each test of a ``TestCase``."""

    def test_a_run_sleeps_wakes_and_completes(self) -> None:
        with registry.isolated():

            @workflow("sleepy")
            def sleepy(step: Step) -> str:
                step.run("write", WorkflowRun.objects.count)
                step.sleep("pause", "1h")
                return "done"

            handle = sleepy.start()
            self.assertEqual(run_until_idle(), 1)  # noqa: PT009 - inside a TestCase
            advance("1h")
            self.assertEqual(run_until_idle(), 1)  # noqa: PT009
            self.assertEqual(handle.result(timeout=0), "done")  # noqa: PT009


@pytest.mark.django_db
def test_all_that_is_due_is_executed_and_counted() -> None:
    @workflow("quick")
    def quick(step: Step) -> None:
        return None

    quick.start_many([{}] * 25)
    quick.using(available_at="1h").start()

    assert run_until_idle() == 25
    assert run_until_idle() == 0
    assert WorkflowRun.objects.pending().count() == 1


@pytest.mark.django_db
def test_what_becomes_due_meanwhile_is_executed_too() -> None:
    @workflow("chain")
    def chain(step: Step, left: int) -> None:
        if left:
            step.run("next", lambda: str(chain.start(left - 1).id))

    chain.start(3)

    assert run_until_idle() == 4


@pytest.mark.django_db
def test_higher_priority_goes_first_and_then_the_oldest_due() -> None:
    order: list[str] = []

    @workflow("ordered")
    def ordered(step: Step, name: str) -> None:
        order.append(name)

    ordered.using(priority=-1).start("last")
    ordered.start("second")
    ordered.start("third")
    ordered.using(priority=1).start("first")
    run_until_idle()

    assert order == ["first", "second", "third", "last"]


@pytest.mark.django_db
def test_upkeep_is_done_too() -> None:
    overdue = WorkflowRunFactory.create(deadline_at=timezone.now() - timedelta(seconds=1))
    poisoned = WorkflowRunFactory.create(expired=True, crashes=4)
    unknown = WorkflowRunFactory.create(workflow_name="gone")

    assert run_until_idle() == 0
    for run in (overdue, poisoned, unknown):
        run.refresh_from_db()
    assert [overdue.status, poisoned.status, unknown.status] == ["failed", "failed", "pending"]
    assert unknown.deferrals == 1


@pytest.mark.django_db
def test_a_workflow_that_never_ends_is_reported_instead_of_hanging() -> None:
    at_once = RetryPolicy(maximum_attempts=0, initial_interval="0s")

    @workflow("endless", retry_policy=at_once)
    def endless(step: Step) -> None:
        raise KeyError

    endless.start()
    with pytest.raises(TimeoutError, match=r"^Runs were still due after 0\.05 seconds and \d+ pas"):
        run_until_idle(max_seconds=0.05)


@pytest.mark.django_db
def test_an_error_of_the_storage_is_raised_and_not_blamed_on_the_run() -> None:
    @workflow("innocent")
    def innocent(step: Step) -> Any:
        return step.run("work", interfere, step.info.id)

    def interfere(run_id: UUID) -> str:
        """Complete the step behind the engine's back: the database refuses a second result."""
        run = WorkflowRun.objects.get(pk=run_id)
        StepAttemptFactory.create(workflow_run=run, step_name="work", completed=True)
        return "refused"

    handle = innocent.start()
    with pytest.raises(IntegrityError):
        run_until_idle()

    run = handle.run
    assert (run.status, run.failures, run.error) == ("running", 0, None)
    advance("31s")
    run_until_idle()
    assert handle.result(timeout=0) == {"done": True}


# --- the clock ----------------------------------------------------------------------------------


@pytest.mark.django_db
def test_advancing_adds_up_and_can_be_undone() -> None:
    advance("1h")
    advance(timedelta(minutes=30))
    advance("0s")
    assert clock.offset() == timedelta(minutes=90)
    assert clock.read("default") - timezone.now() > timedelta(minutes=89)
    reset_clock()

    assert clock.offset() == timedelta()
    assert abs(clock.read("default") - timezone.now()) < timedelta(minutes=1)


@pytest.mark.parametrize("duration", ["-1h", "soon", 3600, None, timedelta(days=-1)], ids=repr)
def test_time_cannot_be_advanced_by_what_is_no_duration(duration: Any) -> None:
    with pytest.raises(InvalidDuration):
        advance(duration)

    assert clock.offset() == timedelta()


@pytest.mark.django_db
def test_a_start_after_advancing_counts_from_the_later_time() -> None:
    @workflow("scheduled")
    def scheduled(step: Step) -> None:
        return None

    advance("10d")
    handle = scheduled.using(available_at="1h").start()
    assert run_until_idle() == 0
    advance("1h")

    assert run_until_idle() == 1
    assert handle.status == "completed"
