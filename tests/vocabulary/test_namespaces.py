"""Two namespaces in one database see nothing of one another; queues and their order."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.test import override_settings

from django_openworkflow import RunHandle, Step, Workflow, send_signal, workflow
from django_openworkflow.exceptions import RunNotFound
from django_openworkflow.models import SignalDelivery, StepAttempt, WorkflowRun
from django_openworkflow.testing import run_until_idle
from tests.engine.passes import noting, tick
from tests.worker import conftest
from tests.worker.workers import wait_for_end, work_until_idle, working

opened = conftest.opened  # real threads and connections, and none of them left behind


@contextmanager
def namespace(name: str) -> Iterator[None]:
    """Be a project with this namespace while the block runs."""
    with override_settings(OPENWORKFLOW={"NAMESPACE": name}):
        yield


def rows() -> list[Any]:
    """Return all that is stored, of every namespace."""
    models = (WorkflowRun, StepAttempt, SignalDelivery)
    return [list(model._base_manager.order_by("pk").values()) for model in models]


@pytest.fixture
def waiting() -> Workflow[[], Any]:
    """Define a workflow that waits for a signal."""

    @workflow("waiting")
    def waiting(step: Step) -> Any:
        payload = step.wait_for_signal("go")
        return payload and payload.data

    return waiting


@pytest.fixture
def parked(waiting: Workflow[[], Any]) -> RunHandle[Any]:
    """Return a run of the namespace "one" that waits for its signal."""
    with namespace("one"):
        handle = waiting.start()
        run_until_idle()
    return handle


def test_a_run_and_its_steps_carry_the_namespace_of_whoever_started_it(
    parked: RunHandle[Any],
) -> None:
    found = [row["namespace_id"] for table in rows() for row in table]

    assert found == ["one", "one"]
    with namespace("one"):
        assert parked.status == "running"


def test_runs_of_another_namespace_are_invisible(parked: RunHandle[Any]) -> None:
    with namespace("two"):
        assert (WorkflowRun.objects.count(), StepAttempt.objects.count()) == (0, 0)
        for ask in (
            lambda: RunHandle.get(parked.id),
            lambda: parked.status,
            lambda: parked.run,
            lambda: parked.result(timeout=0),
        ):
            with pytest.raises(RunNotFound, match=f"^Workflow run {parked.id} does not exist$"):
                ask()


def test_runs_of_another_namespace_cannot_be_canceled_or_retried(parked: RunHandle[Any]) -> None:
    before = rows()
    with namespace("two"):
        for act in (WorkflowRun.objects.cancel, WorkflowRun.objects.retry):
            with pytest.raises(RunNotFound):
                act(parked.id)
        with pytest.raises(RunNotFound):
            parked.cancel(cascade=True)
        outcome = WorkflowRun.objects.all().cancel_active(cascade=True)

    assert outcome.all_canceled() == []
    assert rows() == before


def test_a_signal_reaches_its_own_namespace_alone(
    waiting: Workflow[[], Any], parked: RunHandle[Any]
) -> None:
    with namespace("two"):
        mine = waiting.start()
        run_until_idle()
        assert send_signal("go", 2, idempotency_key="once") == [mine.id]
        run_until_idle()
        assert mine.result(timeout=0) == 2
    with namespace("one"):
        assert parked.status == "running"
        assert send_signal("go", 1, idempotency_key="once") == [parked.id]
        run_until_idle()
        assert parked.result(timeout=0) == 1


def test_a_worker_and_its_upkeep_leave_other_namespaces_alone(
    waiting: Workflow[[], Any],
) -> None:
    with namespace("one"):
        waiting.start()
        waiting.using(deadline_at="1ms").start()
    before = rows()
    with namespace("two"):
        assert work_until_idle().executed == 0
        assert tick("10s") == 0

    assert rows() == before
    with namespace("one"):
        assert run_until_idle() == 1


def test_a_key_finds_the_run_of_its_own_namespace(waiting: Workflow[[], Any]) -> None:
    keyed = waiting.using(idempotency_key="order-7")
    with namespace("one"):
        first = keyed.start()
    with namespace("two"):
        second = keyed.start()
        assert keyed.start() == second
    with namespace("one"):
        assert keyed.start() == first

    assert first != second
    assert WorkflowRun._base_manager.count() == 2


def test_children_and_clean_ups_stay_in_the_namespace() -> None:
    undone: list[int] = []

    @workflow("child")
    def child(step: Step) -> None:
        step.run("book", lambda: 7, compensate=undone.append)
        step.sleep("pause", "1h")

    @workflow("parent")
    def parent(step: Step) -> None:
        step.run_workflow(child)

    with namespace("one"):
        handle = parent.start()
        run_until_idle()
        handle.cancel(cascade=True)
    with namespace("two"):
        run_until_idle()
    assert undone == []
    with namespace("one"):
        run_until_idle()

    assert undone == [7]
    assert {row["namespace_id"] for table in rows() for row in table} == {"one"}


# --- queues -------------------------------------------------------------------------------------


def queued(name: str, order: list[str]) -> Workflow[..., None]:
    """Define a workflow of a queue that notes the runs it executes."""

    @workflow(name, queue=name)
    def noted(step: Step, label: str) -> None:
        noting(order, label)()

    return noted


def test_a_worker_serves_its_queues_alone() -> None:
    order: list[str] = []
    handles = {name: queued(name, order).start(name) for name in ("mail", "video", "default")}
    with working(queues=["mail", "default"]):
        wait_for_end(handles["mail"], handles["default"])
    assert (sorted(order), handles["video"].status) == (["default", "mail"], "pending")
    assert handles["video"].run.attempts == 0
    work_until_idle()

    assert handles["video"].status == "completed"


def test_a_worker_is_idle_when_only_other_queues_have_something_due() -> None:
    handle = queued("video", []).start("video")
    worker = work_until_idle(queues=["mail"])

    assert (worker.executed, handle.status) == (0, "pending")


def test_within_its_queues_a_worker_takes_the_highest_priority_and_then_the_oldest() -> None:
    order: list[str] = []
    mail, video = queued("mail", order), queued("video", order)
    for label, chosen, priority in (
        ("e", mail, -5),
        ("c", video, 0),
        ("d", mail, 0),
        ("b", video, 3),
        ("a", mail, 9),
    ):
        chosen.using(priority=priority).start(label)
    work_until_idle(concurrency=1, queues=["mail", "video"])

    assert order == ["a", "b", "c", "d", "e"]


def test_a_clean_up_and_a_retry_keep_the_queue_of_the_run() -> None:
    undone: list[int] = []

    @workflow("mail", queue="mail")
    def mail(step: Step) -> None:
        step.run("send", lambda: 7, compensate=undone.append)
        step.sleep("pause", "1h")

    handle = mail.start()
    run_until_idle()
    handle.cancel()
    other = queued("default", []).start("other")
    with working(queues=["default"]):
        wait_for_end(other)
    assert undone == []
    work_until_idle(queues=["mail"])
    assert undone == [7]
    assert WorkflowRun.objects.retry(handle.id).queue == "mail"
