"""The seam for tracers and meters: what observers see, what they cannot break, what it costs."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from django_openworkflow import AsyncStep, RetryPolicy, Step, instrumentation, workflow
from django_openworkflow.exceptions import RunNotCancelable
from django_openworkflow.instrumentation import Observer
from django_openworkflow.models import WorkflowRun
from django_openworkflow.store import sweeps
from django_openworkflow.store.operations import RunCompleted, RunFailed, RunParked
from django_openworkflow.testing import advance, run_until_idle
from tests.engine.passes import raiser
from tests.factories import WorkflowRunFactory

if TYPE_CHECKING:
    from pytest_django import DjangoCaptureOnCommitCallbacks

    from django_openworkflow.store.base import Store
    from django_openworkflow.store.operations import ClaimedRun

pytestmark = pytest.mark.django_db

TRACE = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}


class Notebook(Observer):
    """Writes down everything, and gives the runs that it sees started a trace."""

    def __init__(self, carrier: dict[str, str] | None = None) -> None:
        self.lines: list[Any] = []
        self.carrier = carrier or {}

    def starting(self, workflow_name: str, version: str | None) -> Page:
        return Page(self, f"start {workflow_name} {version}")

    def executing(self, claimed: ClaimedRun) -> Page:
        return Page(self, f"pass {claimed.workflow_name}")

    def calling(self, claimed: ClaimedRun, step_name: str) -> Page:
        return Page(self, f"step {step_name}")

    def canceling(self, using: str) -> Page:
        return Page(self, f"cancel on {using}")

    def cancel_noticed(self, run_id: UUID) -> None:
        self.lines.append(("noticed", run_id))

    def ended(self, run_ids: Collection[UUID], status: str, *, using: str) -> None:
        self.lines.append((f"{status} on {using}", list(run_ids)))


class Page:
    """One thing that a notebook watches."""

    def __init__(self, notebook: Notebook, what: str) -> None:
        self._notebook = notebook
        self._what = what
        self.carrier = notebook.carrier

    def end(self, result: Any, error: BaseException | None) -> None:
        came_to = type(error).__name__ if error is not None else result
        self._notebook.lines.append((self._what, came_to))


@pytest.fixture
def notebook() -> Iterator[Notebook]:
    found = Notebook()
    instrumentation.install(found)
    yield found
    instrumentation.remove(found)


def kinds(notebook: Notebook) -> list[Any]:
    """Return the lines with the types of operations in the place of their values."""
    return [
        (what, type(came_to) if what.startswith("pass") else came_to)
        for what, came_to in notebook.lines
    ]


def test_a_run_is_seen_from_its_start_to_its_end(notebook: Notebook) -> None:
    @workflow("greet", version="2")
    def greet(step: Step) -> str:
        step.run("look", lambda: 1)
        step.sleep("pause", "1h")
        return "hello"

    handle = greet.start()
    run_until_idle()
    assert kinds(notebook) == [
        ("start greet 2", [handle.id]),
        ("step look", None),
        ("pass greet", RunParked),
    ]


def test_a_step_that_raises_is_seen_to_and_a_replayed_one_is_not(notebook: Notebook) -> None:
    policy = RetryPolicy(initial_interval="1m")

    @workflow("fragile")
    def fragile(step: Step) -> None:
        step.run("fine", lambda: 1)
        step.transaction("break", raiser(ValueError("no")), retry_policy=policy)

    fragile.start()
    run_until_idle()
    notebook.lines.clear()
    advance("2m")
    run_until_idle()
    assert [line for line in notebook.lines if line[0].startswith("step")] == [
        ("step break", "ValueError")
    ]


def test_async_runs_and_bodies_are_seen_alike(notebook: Notebook) -> None:
    async def look() -> int:
        return 1

    @workflow("greet")
    async def greet(step: AsyncStep) -> int:
        return await step.run("look", look) + await step.run("again", lambda: 2)

    handle = greet.start()
    run_until_idle()
    assert kinds(notebook) == [
        ("start greet None", [handle.id]),
        ("step look", None),
        ("step again", None),
        ("pass greet", RunCompleted),
    ]
    assert handle.result(timeout=0) == 3


def test_a_child_is_seen_started_once_and_inherits_the_trace_when_nobody_gives_it_one(
    notebook: Notebook,
) -> None:
    @workflow("child")
    def child(step: Step) -> int:
        return 1

    @workflow("parent")
    def parent(step: Step) -> int:
        return step.run_workflow(child)

    handle = parent.start()
    context = {"traceContext": {**TRACE, "vendor": "kept"}, "tenant": "kept"}
    WorkflowRun.objects.filter(pk=handle.id).update(context=context)
    run_until_idle()
    [born] = WorkflowRun.objects.filter(workflow_name="child")
    assert born.context == {"traceContext": {**TRACE, "vendor": "kept"}}
    assert [came_to for what, came_to in notebook.lines if what == "start child None"] == [
        [born.pk]
    ]
    assert handle.run.context == context


def test_runs_and_children_remember_the_trace_that_an_observer_gives_them() -> None:
    @workflow("child")
    def child(step: Step) -> int:
        return 1

    @workflow("parent")
    def parent(step: Step) -> int:
        return step.run_workflow(child)

    tracer = Notebook(TRACE)
    instrumentation.install(tracer)
    try:
        parent.start()
        parent.using(idempotency_key="one").start()
        parent.start_many([{}, {}])
        run_until_idle()
    finally:
        instrumentation.remove(tracer)
    contexts = WorkflowRun.objects.values_list("context", flat=True)
    assert list(contexts) == [{"traceContext": TRACE}] * 8


def test_without_an_observer_a_run_has_no_context() -> None:
    @workflow("greet")
    def greet(step: Step) -> None: ...

    assert greet.start().run.context is None
    assert not instrumentation.is_watched()


def test_a_cleanup_inherits_the_trace_of_the_canceled_run() -> None:
    @workflow("trip", on_cancel=lambda step: None)
    def trip(step: Step) -> None: ...

    handle = trip.start()
    WorkflowRun.objects.filter(pk=handle.id).update(context={"traceContext": TRACE, "x": 1})
    handle.cancel()
    [cleanup] = WorkflowRun.objects.filter(cleanup_of=handle.id)
    assert cleanup.context == {"traceContext": TRACE}


def test_a_cancel_is_seen_at_once_and_its_runs_after_the_commit(
    notebook: Notebook, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    run = WorkflowRunFactory.create()
    with django_capture_on_commit_callbacks(execute=True):
        WorkflowRun.objects.cancel(run)
        [(what, outcome)] = notebook.lines
        assert (what, outcome.canceled) == ("cancel on default", [run.pk])
    assert notebook.lines[1:] == [("canceled on default", [run.pk])]


def test_a_cancel_that_comes_too_late_ends_nothing(
    notebook: Notebook, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    run = WorkflowRunFactory.create(completed=True)
    with django_capture_on_commit_callbacks(execute=True), pytest.raises(RunNotCancelable):
        WorkflowRun.objects.cancel(run)
    assert [what for what, _ in notebook.lines] == ["cancel on default"]


def test_a_worker_that_learns_of_a_cancel_says_so_once(notebook: Notebook) -> None:
    @workflow("self-canceled")
    def self_canceled(step: Step) -> None:
        step.run("cancel", lambda: WorkflowRun.objects.cancel(step.info.id))
        step.run("never", lambda: None)

    handle = self_canceled.start()
    run_until_idle()
    assert [line for line in notebook.lines if line[0] == "noticed"] == [("noticed", handle.id)]
    assert ("pass self-canceled", None) in notebook.lines


def test_runs_that_a_sweep_fails_are_told(notebook: Notebook, store: Store) -> None:
    @workflow("late")
    def late(step: Step) -> None: ...

    handle = late.using(deadline_at=timedelta(minutes=1)).start()
    advance("2m")
    assert sweeps.fail_overdue(store) == [handle.id]
    assert notebook.lines[-1] == ("failed on default", [handle.id])
    assert sweeps.fail_overdue(store) == []
    assert len(notebook.lines) == 2


class Broken(Observer):
    """Raises wherever it can."""

    def starting(self, workflow_name: str, version: str | None) -> Broken:
        return self

    @property
    def carrier(self) -> dict[str, str]:
        return {}

    def executing(self, claimed: ClaimedRun) -> Broken:
        message = "broken"
        raise RuntimeError(message)

    def calling(self, claimed: ClaimedRun, step_name: str) -> Broken:
        return self

    def end(self, result: Any, error: BaseException | None) -> None:
        message = "broken"
        raise RuntimeError(message)


def test_an_observer_that_raises_is_logged_and_changes_nothing(
    notebook: Notebook, caplog: pytest.LogCaptureFixture
) -> None:
    @workflow("greet")
    def greet(step: Step) -> str:
        return step.run("look", lambda: "hello")

    broken = Broken()
    instrumentation.install(broken)
    instrumentation.install(broken)
    try:
        handle = greet.start()
        run_until_idle()
    finally:
        instrumentation.remove(broken)
    assert caplog.text.count("An observer failed") == 3
    assert [what for what, _ in notebook.lines].count("pass greet") == 1
    assert handle.result(timeout=0) == "hello"


def test_failures_carry_their_operation(notebook: Notebook) -> None:
    @workflow("fails")
    def fails(step: Step) -> None:
        message = "no"
        raise ValueError(message)

    fails.start()
    run_until_idle()
    assert kinds(notebook)[-1] == ("pass fails", RunFailed)


@pytest.mark.parametrize(
    ("context", "carrier"),
    [
        (None, {}),
        ([], {}),
        ({"traceContext": None}, {}),
        ({"traceContext": {"traceparent": 1}}, {}),
        ({"traceContext": TRACE, "other": 1}, TRACE),
    ],
)
def test_a_context_is_read_with_care(context: Any, carrier: dict[str, str]) -> None:
    assert instrumentation.carrier_in(context) == carrier
