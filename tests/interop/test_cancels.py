"""A cancel from either side, at any moment, with the right words on both."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import psycopg
import pytest
from django.db import connection

from django_openworkflow import RunHandle, Step, signals, workflow
from django_openworkflow.exceptions import RunNotCancelable, RunNotFound, WorkflowCanceled
from django_openworkflow.models import WorkflowRun
from django_openworkflow.notices import channel
from tests.interop.conftest import make_due, rows
from tests.interop.node import NodeError
from tests.interop.test_runs import SIDES, Sides, Start, each_side
from tests.worker.processes import worker_process
from tests.worker.workers import wait_until

if TYPE_CHECKING:
    from tests.interop.node import Node

cancelers = pytest.mark.parametrize("canceler", SIDES)


def cancel(side: str, node: Node, run_id: Any) -> None:
    if side == "py":
        WorkflowRun.objects.cancel(run_id)
    else:
        node.call("cancel", id=str(run_id))


def check_canceled(handle: RunHandle[Any], node: Node) -> None:
    """Both sides say so, and a second cancel changes nothing."""
    run = handle.run
    assert (run.status, run.worker_id, run.available_at) == ("canceled", None, None)
    assert run.finished_at is not None
    with pytest.raises(WorkflowCanceled, match=r"^Workflow script was canceled$"):
        handle.result(timeout=10)
    with pytest.raises(NodeError, match=r"^Workflow script was canceled$"):
        node.call("result", id=str(handle.id))
    for side in SIDES:
        cancel(side, node, handle.id)
    assert handle.run.finished_at == run.finished_at


@each_side
@cancelers
def test_a_pending_run_is_never_begun(
    side: str, canceler: str, start: Start, sides: Sides, node: Node, journal: str
) -> None:
    handle = start(side, "script", ["return", "a", 1])
    cancel(canceler, node, handle.id)
    check_canceled(handle, node)
    for execute in sides.values():
        execute()
    assert Path(journal).read_text() == ""


@each_side
@cancelers
@pytest.mark.parametrize("wait", [["sleep", "nap", "1h"], ["wait", "go"], ["child", "script", {}]])
def test_a_parked_run_ends_and_its_wait_is_closed(
    side: str, canceler: str, wait: list[Any], start: Start, sides: Sides, node: Node
) -> None:
    given = [["child", "py-script", {"steps": [["sleep", "nap", "1h"]]}]]
    handle = start("py", "script", *(given if wait[0] == "child" else [wait]))
    sides[side]()
    cancel(canceler, node, handle.id)
    sides["py"]()
    check_canceled(handle, node)
    assert rows(handle)[0][2] == "failed"
    assert handle.run.cancel_source == ("api" if canceler == "py" else "client")


@cancelers
def test_a_step_of_typescript_in_flight_is_the_last_one(
    canceler: str, start: Start, node: Node, journal: str, tmp_path: Path
) -> None:
    leave = tmp_path / "leave"
    handle = start("py", "script", ["hold", "a", str(leave)], ["return", "b", 1])
    draining = node.begin("drain")
    wait_until(lambda: Path(journal).read_text(), "the step to begin")
    cancel(canceler, node, handle.id)
    leave.touch()
    draining.result(20)
    check_canceled(handle, node)
    assert Path(journal).read_text() == f"{handle.id} a\n"


@cancelers
def test_a_step_of_python_in_flight_is_the_last_one(
    canceler: str, start: Start, node: Node, journal: str, tmp_path: Path
) -> None:
    leave = tmp_path / "leave"
    handle = start("ts", "script", ["hold", "a", str(leave)], ["return", "b", 1])
    with worker_process(settings="tests.interop.process.settings") as process:
        wait_until(lambda: Path(journal).read_text(), "the step to begin")
        cancel(canceler, node, handle.id)
        leave.touch()
        wait_until(lambda: rows(handle) == [("a", "function", "completed")], "its outcome")
        process.terminate()
        process.wait(20)
    check_canceled(handle, node)
    assert handle.run.step_attempts.get().is_late
    assert Path(journal).read_text() == f"{handle.id} a\n"


@each_side
@cancelers
def test_what_has_ended_cannot_be_canceled(
    side: str, canceler: str, start: Start, sides: Sides, node: Node
) -> None:
    good = start("py", "script", ["return", "a", 1])
    bad = start("py", "script", ["raise", "no luck"])
    sides[side]()
    for handle, status in ((good, "completed"), (bad, "failed")):
        words = f"Cannot cancel workflow run {handle.id} with status {status}"
        with pytest.raises((RunNotCancelable, NodeError), match=f"^{words}$"):
            cancel(canceler, node, handle.id)


@cancelers
def test_what_does_not_exist_cannot_be_canceled(canceler: str, node: Node) -> None:
    missing = uuid4()
    words = f"^Workflow run {missing} does not exist$"
    with pytest.raises((RunNotFound, NodeError), match=words):
        cancel(canceler, node, missing)


# --- what a cancel of TypeScript leaves to Python -------------------------------------------------


@contextmanager
def heard(signal: Any) -> Iterator[list[dict[str, Any]]]:
    calls: list[dict[str, Any]] = []

    def receive(**facts: Any) -> None:
        calls.append(facts)

    signal.connect(receive)
    try:
        yield calls
    finally:
        signal.disconnect(receive)


def test_it_is_cleaned_up_and_announced(sides: Sides, node: Node) -> None:
    done: list[str] = []

    @workflow("book", on_cancel=lambda _step: done.append("on_cancel"))
    def book(step: Step) -> None:
        step.run("seat", lambda: "12A", compensate=lambda seat: done.append(f"free {seat}"))
        step.sleep("nap", "1h")

    handle = book.start()
    sides["py"]()
    node.call("cancel", id=str(handle.id))
    finished_at = handle.run.finished_at
    with heard(signals.run_canceled) as calls:
        sides["py"]()
        sides["py"]()
    assert done == ["free 12A", "on_cancel"]
    (facts,) = calls
    assert (facts["run"].pk, facts["reason"], facts["source"]) == (handle.id, "", "client")
    assert handle.run.finished_at == finished_at


def test_it_can_be_retried(start: Start, sides: Sides, node: Node) -> None:
    handle = start("py", "script", ["return", "a", 1], ["wait", "go"])
    sides["py"]()
    node.call("cancel", id=str(handle.id))
    sides["py"]()
    handle.run.retry()
    sides["ts"]()
    assert handle.status == "running"
    assert node.call("signal", signal="go", data=1) == [str(handle.id)]
    sides["py"]()
    assert handle.result(timeout=10) == [1, {"data": 1}]


def test_workers_are_told_at_once(start: Start, node: Node) -> None:
    handle = start("py", "script", ["return", "a", 1])
    WorkflowRun.objects.filter(pk=handle.id).update(status="running", worker_id="a:1")
    make_due(handle)
    given = connection.get_connection_params()
    with psycopg.connect(**given, autocommit=True) as listening:
        listening.execute(f'LISTEN "{channel()}"')
        node.call("cancel", id=str(handle.id))
        assert list(listening.notifies(timeout=10, stop_after=1))
