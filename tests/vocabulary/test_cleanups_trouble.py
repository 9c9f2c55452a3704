"""Clean-ups that meet trouble: undos that fail, workers that die, code that was changed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from django_openworkflow import AsyncStep, RunHandle, Step, Workflow, workflow
from django_openworkflow.models import WorkflowRun
from django_openworkflow.registry import registry
from django_openworkflow.testing import run_until_idle
from tests.engine.passes import tick

pytestmark = pytest.mark.django_db


class Undo:
    """An undo that fails as often as it is told to, and notes its calls."""

    def __init__(self, log: list[str], *, failures: int = 0) -> None:
        self.log = log
        self.failures = failures

    def __call__(self, output: str) -> None:
        self.log.append(output)
        if self.failures > 0:
            self.failures -= 1
            message = f"cannot undo {output}"
            raise LookupError(message)


def sync_bookings(*undos: Undo) -> Workflow[[], None]:
    @workflow("bookings")
    def bookings(step: Step) -> None:
        for number, undo in enumerate(undos):
            step.run(f"book-{number}", str, number, compensate=undo)
        step.sleep("pause", "1h")

    return bookings


def async_bookings(*undos: Undo) -> Workflow[[], None]:
    @workflow("bookings")
    async def bookings(step: AsyncStep) -> None:
        for number, undo in enumerate(undos):
            await step.run(f"book-{number}", str, number, compensate=undo)
        await step.sleep("pause", "1h")

    return bookings


either = pytest.mark.parametrize("define", [sync_bookings, async_bookings])


def canceled(definition: Workflow[[], Any]) -> tuple[RunHandle[Any], RunHandle[Any]]:
    """Start a run, cancel it in its sleep; return the handles of the run and of its clean-up."""
    handle = definition.start()
    run_until_idle()
    handle.cancel()
    return handle, RunHandle(WorkflowRun.objects.get(cleanup_of=handle.id).pk)


# --- undos that fail ----------------------------------------------------------------------------


@either
def test_an_undo_that_fails_is_tried_again(define: Any) -> None:
    log: list[str] = []
    _, cleanup = canceled(define(Undo(log), Undo(log, failures=2)))
    run_until_idle()
    run = cleanup.run
    assert (set(log), run.status) == ({"1"}, "pending")
    assert run.error["message"] == "cannot undo 1"
    assert run.available_at is not None
    assert run.available_at - run.updated_at >= timedelta(seconds=1)  # and not at once
    tick("1s")
    tick("2s")

    assert log == ["1", "1", "1", "0"]
    assert (cleanup.status, cleanup.run.failures) == ("completed", 0)


@either
def test_an_undo_that_fails_for_good_fails_the_clean_up_after_the_others_are_undone(
    define: Any,
) -> None:
    log: list[str] = []
    handle, cleanup = canceled(define(Undo(log), Undo(log, failures=99), Undo(log)))
    for _ in range(12):
        tick("100s")

    assert log == ["2", *["1"] * 10, "0"]
    assert (cleanup.status, handle.status) == ("failed", "canceled")
    assert cleanup.run.error["message"] == "cannot undo 1"


@either
def test_a_failed_clean_up_can_be_retried_and_undoes_only_what_is_left(define: Any) -> None:
    log: list[str] = []
    _, cleanup = canceled(define(Undo(log), Undo(log, failures=10)))
    for _ in range(12):
        tick("100s")
    assert (cleanup.status, log.pop()) == ("failed", "0")
    WorkflowRun.objects.retry(cleanup.id)
    run_until_idle()

    assert cleanup.status == "completed"
    assert log == ["1"] * 11  # ten that failed, and the one that did not


# --- workers that die ---------------------------------------------------------------------------


class Dying(Undo):
    """An undo whose worker dies in its first call: nothing of it is written any more."""

    def __call__(self, output: str) -> None:
        super().__call__(output)
        if self.log.count(output) == 1:
            runs = WorkflowRun.objects.filter(cleanup_of__isnull=False)
            runs.update(worker_id="dead:token")  # the lease holds, and nobody has it


@either
def test_a_clean_up_goes_on_where_a_dead_worker_left_it(define: Any) -> None:
    log: list[str] = []
    _, cleanup = canceled(define(Undo(log), Dying(log), Undo(log)))
    run_until_idle()
    assert (log, cleanup.status) == (["2", "1"], "running")
    tick("31s")  # the lease of the dead worker is over

    assert log == ["2", "1", "1", "0"]  # what was recorded is not undone twice
    assert (cleanup.status, cleanup.run.takeovers) == ("completed", 1)


# --- code that was changed ----------------------------------------------------------------------


def test_a_clean_up_whose_code_comes_to_the_step_no_more_is_kept_until_it_does() -> None:
    log: list[str] = []
    with registry.isolated():
        _, cleanup = canceled(sync_bookings(Undo(log), Undo(log)))
    with registry.isolated():
        sync_bookings(Undo(log))
        run_until_idle()

        run = cleanup.run
        assert (log, run.status, run.failures) == ([], "pending", 0)
        assert run.error["name"] == "NonDeterministicWorkflow"
        assert run.error["message"] == (
            'Step "book-1" is to be undone, but the workflow does not come to it any more'
        )
    sync_bookings(Undo(log), Undo(log))
    tick("5m")

    assert (log, cleanup.status) == (["1", "0"], "completed")


def test_a_step_that_lost_its_undo_keeps_the_clean_up_waiting() -> None:
    log: list[str] = []
    with registry.isolated():
        _, cleanup = canceled(sync_bookings(Undo(log)))

    @workflow("bookings")
    def bookings(step: Step) -> None:
        step.run("book-0", str, 0)
        step.sleep("pause", "1h")

    run_until_idle()

    assert (cleanup.status, log) == ("pending", [])
    assert '"book-0"' in cleanup.run.error["message"]


def test_an_error_after_the_last_saved_step_does_not_matter_to_the_clean_up() -> None:
    log: list[str] = []
    with registry.isolated():
        _, cleanup = canceled(sync_bookings(Undo(log)))

    @workflow("bookings")
    def bookings(step: Step) -> None:
        step.run("book-0", str, 0, compensate=Undo(log))
        raise LookupError

    run_until_idle()

    assert (log, cleanup.status) == (["0"], "completed")


# --- steps that failed, were retried, or swallow ------------------------------------------------


def test_a_failed_step_is_not_undone_and_does_not_hide_the_others() -> None:
    log: list[str] = []

    @workflow("bookings")
    def bookings(step: Step) -> None:
        step.run("book-0", str, 0, compensate=Undo(log))
        step.run("book-1", Undo([], failures=99), "1", compensate=lambda _: log.append("wrong"))

    _, cleanup = canceled(bookings)
    run_until_idle()

    assert (log, cleanup.status) == (["0"], "completed")


@pytest.mark.parametrize("waits", [True, False])
def test_code_that_swallows_everything_is_cleaned_up_too(*, waits: bool) -> None:
    log: list[str] = []

    @workflow("careless")
    def careless(step: Step) -> None:
        step.run("book-0", str, 0, compensate=Undo(log))
        try:
            if waits:
                step.sleep("pause", "1h")
            else:
                step.run("look", Undo([], failures=99), "x")
        except:  # noqa: E722 - what careless user code does
            step.run("book-1", str, 1, compensate=Undo(log))

    _, cleanup = canceled(careless)
    run_until_idle()

    assert (log, cleanup.status) == (["0"], "completed")
