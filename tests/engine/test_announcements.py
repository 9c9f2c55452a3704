"""Django's signals about runs: once, after commit, and without harm by what a receiver does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import Group

from django_openworkflow import RetryPolicy, Step, signals, workflow
from django_openworkflow.models import WorkflowRun
from django_openworkflow.testing import advance, run_until_idle
from tests.engine.passes import raiser, tick
from tests.factories import WorkflowRunFactory

if TYPE_CHECKING:
    from django.dispatch import Signal
    from pytest_django import DjangoCaptureOnCommitCallbacks


@contextmanager
def receiving(signal: Signal, receiver: Callable[..., None]) -> Iterator[None]:
    """Connect a receiver while the block runs."""
    signal.connect(receiver, weak=False)
    try:
        yield
    finally:
        signal.disconnect(receiver)


@pytest.fixture
def heard() -> Iterator[list[tuple[str, WorkflowRun]]]:
    """Collect every signal and the run that it carries."""
    found: list[tuple[str, WorkflowRun]] = []

    def listener(name: str) -> Callable[..., None]:
        def receive(sender: type[WorkflowRun], run: WorkflowRun, **_facts: Any) -> None:
            assert sender is WorkflowRun
            found.append((name, run))

        return receive

    with ExitStack() as stack:
        for name in ("run_started", "run_completed", "run_failed", "run_canceled"):
            stack.enter_context(receiving(getattr(signals, name), listener(name)))
        yield found


@pytest.fixture
def execute(
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> Callable[[], int]:
    """Execute what is due inside the test's transaction as if it were committed."""

    def execute_and_commit() -> int:
        with django_capture_on_commit_callbacks(execute=True):
            return run_until_idle()

    return execute_and_commit


def names(heard: list[tuple[str, WorkflowRun]]) -> list[str]:
    """Return the names of the signals alone."""
    return [name for name, _ in heard]


@pytest.mark.django_db(transaction=True)
def test_a_run_that_completes_says_so_once_and_started_once_for_all_its_passes(
    heard: list[tuple[str, WorkflowRun]],
) -> None:
    @workflow("sleepy")
    def sleepy(step: Step) -> str:
        step.sleep("pause", "1h")
        step.sleep("pause", "1h")
        return "done"

    handle = sleepy.start()
    assert heard == []
    run_until_idle()
    assert names(heard) == ["run_started"]
    tick("1h")
    tick("1h")

    assert names(heard) == ["run_started", "run_completed"]
    assert {run.pk for _, run in heard} == {handle.id}
    assert heard[0][1].status == "running"
    assert (heard[1][1].status, heard[1][1].output) == ("completed", "done")


@pytest.mark.django_db
def test_a_run_that_fails_says_so_once_after_all_its_tries(
    heard: list[tuple[str, WorkflowRun]], execute: Callable[[], int]
) -> None:
    @workflow("failing", retry_policy=RetryPolicy(maximum_attempts=2, initial_interval="1m"))
    def failing(step: Step) -> None:
        raise KeyError

    failing.start()
    execute()
    assert names(heard) == ["run_started"]
    advance("1m")
    execute()

    assert names(heard) == ["run_started", "run_failed"]
    assert heard[1][1].error["name"] == "KeyError"


@pytest.mark.django_db
def test_a_run_that_misses_its_deadline_or_is_poison_says_so(
    heard: list[tuple[str, WorkflowRun]], execute: Callable[[], int]
) -> None:
    @workflow("late")
    def late(step: Step) -> None:
        return None

    late.using(deadline_at="1h").start()
    WorkflowRunFactory.create(expired=True, crashes=4)
    advance("1h")
    execute()

    assert names(heard) == ["run_failed", "run_failed"]
    assert [run.error["message"][:20] for _, run in heard] == [
        "Workflow run deadlin",
        "The workflow run los",
    ]


@pytest.mark.django_db
def test_a_run_whose_code_is_missing_has_not_started(
    heard: list[tuple[str, WorkflowRun]], execute: Callable[[], int]
) -> None:
    WorkflowRunFactory.create(workflow_name="gone")
    execute()

    assert heard == []


@pytest.mark.django_db
def test_inside_a_test_case_nothing_is_sent_that_is_not_committed() -> None:
    received: list[Any] = []

    @workflow("plain")
    def plain(step: Step) -> None:
        return None

    plain.start()
    with receiving(signals.run_completed, lambda run, **_: received.append(run)):
        run_until_idle()

    assert received == []


@pytest.mark.django_db
@pytest.mark.parametrize("error", [ValueError(), Group.DoesNotExist()], ids=repr)
def test_a_receiver_that_raises_changes_nothing(
    error: Exception, execute: Callable[[], int]
) -> None:
    others: list[str] = []
    raising = raiser(error)

    @workflow("plain")
    def plain(step: Step) -> str:
        return step.run("a", lambda: "done")

    handle = plain.start()
    with (
        receiving(signals.run_started, lambda **_: raising()),
        receiving(signals.run_completed, lambda **_: raising()),
        receiving(signals.run_completed, lambda run, **_: others.append(run.status)),
    ):
        execute()

    assert handle.result(timeout=0) == "done"
    assert others == ["completed"]


@pytest.mark.django_db(transaction=True)
def test_a_receiver_may_write_and_may_cancel_other_runs() -> None:
    @workflow("first")
    def first(step: Step) -> str:
        return "done"

    @workflow("second")
    def second(step: Step) -> None:
        step.sleep("pause", "1h")

    waiting = second.start()
    run_until_idle()

    def receive(run: WorkflowRun, **_facts: Any) -> None:
        Group.objects.create(name=str(run.pk))
        WorkflowRun.objects.cancel(waiting.id, reason="the first one is done")

    finished = first.start()
    with receiving(signals.run_completed, receive):
        run_until_idle()

    assert finished.status == "completed"
    assert Group.objects.get().name == str(finished.id)
    assert waiting.run.cancel_reason == "the first one is done"


@pytest.mark.django_db(transaction=True)
def test_a_receiver_that_cancels_the_run_it_hears_of_stops_it_before_any_step() -> None:
    calls: list[int] = []

    @workflow("unwanted")
    def unwanted(step: Step) -> None:
        step.run("work", calls.append, 1)

    handle = unwanted.start()
    with receiving(signals.run_started, lambda run, **_: run.cancel(reason="unwanted")):
        run_until_idle()

    assert (handle.status, calls) == ("canceled", [])


@pytest.mark.django_db(transaction=True)
def test_a_receiver_may_start_the_next_run() -> None:
    @workflow("chain")
    def chain(step: Step, left: int) -> int:
        return left

    def receive(run: WorkflowRun, **_facts: Any) -> None:
        if run.output:
            chain.start(run.output - 1)

    chain.start(3)
    with receiving(signals.run_completed, receive):
        assert run_until_idle() == 4

    assert WorkflowRun.objects.completed().count() == 4
