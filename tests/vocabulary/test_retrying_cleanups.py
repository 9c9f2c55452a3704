"""``retry()`` of runs that were, or are being, cleaned up."""

from __future__ import annotations

from typing import Any

import pytest

from django_openworkflow import RetryPolicy, RunHandle, Step, Workflow, workflow
from django_openworkflow.exceptions import RunNotRetryable
from django_openworkflow.models import WorkflowRun
from django_openworkflow.testing import run_until_idle
from tests.engine.passes import noting, tick

pytestmark = pytest.mark.django_db

ONCE = RetryPolicy(maximum_attempts=1)


class Trip:
    """A workflow whose bookings and undos are counted, and whose end may fail."""

    def __init__(self, *, is_insured: bool = False) -> None:
        self.is_insured = is_insured
        self.calls: list[str] = []
        self.undone: list[str] = []
        self.undo_works = True
        self.end_works = True

    def undo(self, output: str) -> None:
        if not self.undo_works:
            raise LookupError
        self.undone.append(output)

    def end(self) -> None:
        if not self.end_works:
            raise LookupError

    def define(self) -> Workflow[[], str]:
        @workflow("trip")
        def trip(step: Step) -> str:
            step.run("flight", noting(self.calls, "flight"), compensate=self.undo)
            if self.is_insured:
                step.run("insurance", noting(self.calls, "insurance"))
            step.sleep("pause", "1h")
            step.run("end", self.end, retry_policy=ONCE)
            return "home"

        return trip


@pytest.fixture
def trip() -> Trip:
    return Trip()


def canceled(trip: Trip) -> RunHandle[str]:
    """Start a trip and cancel it in its pause."""
    handle = trip.define().start()
    run_until_idle()
    handle.cancel()
    return handle


def cleanup_of(handle: RunHandle[Any]) -> RunHandle[Any]:
    """Return the handle of a run's last clean-up run."""
    latest = WorkflowRun.objects.filter(cleanup_of=handle.id).order_by("pk").last()
    assert latest is not None
    return RunHandle(latest.pk)


def test_a_run_cannot_be_retried_while_its_clean_up_has_not_ended(trip: Trip) -> None:
    handle = canceled(trip)
    with pytest.raises(RunNotRetryable) as caught:
        WorkflowRun.objects.retry(handle.id)

    assert str(caught.value) == f"Cannot retry workflow run {handle.id} with status canceled"
    assert handle.status == "canceled"
    run_until_idle()
    assert WorkflowRun.objects.retry(handle.id).status == "pending"


@pytest.mark.parametrize("is_insured", [False, True])
def test_undone_steps_run_again_and_others_do_not(*, is_insured: bool) -> None:
    trip = Trip(is_insured=is_insured)
    handle = canceled(trip)
    run_until_idle()
    WorkflowRun.objects.retry(handle.id)
    run_until_idle()
    tick("1h")

    assert handle.result(timeout=0) == "home"
    assert trip.calls.count("flight") == 2
    assert trip.calls.count("insurance") == is_insured
    assert trip.undone == ["flight"]


def test_a_step_that_was_not_undone_does_not_run_again(trip: Trip) -> None:
    handle = canceled(trip)
    cleanup_of(handle).cancel()
    WorkflowRun.objects.retry(handle.id)
    run_until_idle()
    tick("1h")

    assert handle.result(timeout=0) == "home"
    assert (trip.calls, trip.undone) == (["flight"], [])


def test_a_second_cancel_undoes_what_has_run_again(trip: Trip) -> None:
    handle = canceled(trip)
    run_until_idle()
    WorkflowRun.objects.retry(handle.id)
    run_until_idle()
    handle.cancel()
    run_until_idle()

    assert trip.undone == ["flight", "flight"]
    assert WorkflowRun.objects.filter(cleanup_of=handle.id).completed().count() == 2


def test_an_old_clean_up_makes_no_step_of_a_later_life_run_again(trip: Trip) -> None:
    handle = canceled(trip)
    run_until_idle()
    WorkflowRun.objects.retry(handle.id)
    run_until_idle()
    trip.end_works = False
    tick("1h")
    assert (handle.status, trip.calls) == ("failed", ["flight", "flight"])
    trip.end_works = True
    WorkflowRun.objects.retry(handle.id)  # nothing was undone since
    run_until_idle()

    assert handle.result(timeout=0) == "home"
    assert trip.calls == ["flight", "flight"]


def test_a_step_whose_undo_failed_does_not_run_again_though_an_older_undo_worked(
    trip: Trip,
) -> None:
    handle = canceled(trip)
    run_until_idle()
    WorkflowRun.objects.retry(handle.id)
    run_until_idle()
    trip.undo_works = False
    handle.cancel()
    for _ in range(12):
        tick("100s")
    assert cleanup_of(handle).status == "failed"
    WorkflowRun.objects.retry(handle.id)
    run_until_idle()

    assert (trip.calls, trip.undone) == (["flight", "flight"], ["flight"])


def test_a_failed_clean_up_is_not_retried_under_a_run_that_goes_on(trip: Trip) -> None:
    trip.undo_works = False
    handle = canceled(trip)
    for _ in range(12):
        tick("100s")
    cleanup = cleanup_of(handle)
    assert cleanup.status == "failed"
    WorkflowRun.objects.retry(handle.id)
    run_until_idle()
    tick("1h")
    assert handle.status == "completed"
    trip.undo_works = True
    with pytest.raises(RunNotRetryable):
        WorkflowRun.objects.retry(cleanup.id)
    run_until_idle()

    assert trip.undone == []  # a completed run keeps what it has done
