"""Runs that one side starts, begins or fails, and the other one goes on with."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.db.models import F

from django_openworkflow.exceptions import WorkflowFailed
from django_openworkflow.models import StepAttempt, WorkflowRun
from django_openworkflow.states import StepStatus
from tests.interop.conftest import make_due, rows
from tests.interop.node import Node, NodeError
from tests.worker.processes import worker_process
from tests.worker.workers import wait_until

if TYPE_CHECKING:
    from django_openworkflow import RunHandle

Start = Callable[..., "RunHandle[Any]"]
Sides = dict[str, Callable[[], object]]

SIDES = ("py", "ts")
PAIRS = (("py", "ts"), ("ts", "py"))
ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")

each_side = pytest.mark.parametrize("side", SIDES)
each_pair = pytest.mark.parametrize(("first", "second"), PAIRS)


@pytest.mark.parametrize("starter", SIDES)
@pytest.mark.parametrize("executor", SIDES)
@pytest.mark.parametrize("version", [None, "2"])
def test_either_side_executes_what_either_started(
    starter: str, executor: str, version: str | None, start: Start, sides: Sides, node: Node
) -> None:
    value = {"x": [1, None, "ü", {}], "zz": 2.5, "long": True}
    handle = start(starter, "script" if version is None else "script-2", ["return", "a", value])
    assert handle.run.version == version
    sides[executor]()
    assert handle.result(timeout=10) == [value]
    assert node.call("result", id=str(handle.id)) == [value]


@each_side
def test_a_start_in_the_future_waits(side: str, start: Start, sides: Sides) -> None:
    handle = start(side, "script", ["return", "a", 1])
    WorkflowRun.objects.filter(pk=handle.id).update(available_at=F("available_at") + ONE_HOUR)
    for execute in sides.values():
        execute()
    assert handle.status == "pending"


ONE_HOUR = timedelta(hours=1)


@each_side
def test_an_overdue_run_fails_with_the_same_words(side: str, start: Start, sides: Sides) -> None:
    handle = start("py", "script", ["return", "a", 1], deadline_at="1h")
    WorkflowRun.objects.filter(pk=handle.id).update(deadline_at=F("deadline_at") - 2 * ONE_HOUR)
    sides[side]()
    assert handle.run.error == {"message": "Workflow run deadline exceeded"}
    assert (handle.status, handle.run.worker_id) == ("failed", None)


# --- half of a run --------------------------------------------------------------------------------


@each_pair
def test_a_run_that_sleeps_is_resumed_by_the_other_side(
    first: str, second: str, start: Start, sides: Sides, journal: str
) -> None:
    handle = start(
        "py", "script", ["hold", "a", journal], ["sleep", "nap", "1h"], ["hold", "b", journal]
    )
    sides[first]()
    nap = handle.run.step_attempts.get(step_name="nap")
    assert nap.context == {"kind": "sleep", "resumeAt": nap.context["resumeAt"]}
    assert ISO.fullmatch(nap.context["resumeAt"])
    assert (handle.status, handle.run.worker_id) == ("running", None)

    make_due(handle)  # too early: the sleep itself is not over
    sides[second]()
    assert rows(handle)[1:] == [("nap", "sleep", "running")]

    begin_in_the_past(nap)
    make_due(handle)
    sides[second]()
    assert handle.result(timeout=10) == [f"a by {first}", None, f"b by {second}"]
    assert rows(handle) == [
        ("a", "function", "completed"),
        ("nap", "sleep", "completed"),
        ("b", "function", "completed"),
    ]


def begin_in_the_past(wait: StepAttempt) -> None:
    """Let a wait of an hour have begun two hours ago."""
    field = "resumeAt" if wait.kind == "sleep" else "timeoutAt"
    StepAttempt.objects.filter(pk=wait.pk).update(
        context={**wait.context, field: "2020-01-01T00:00:00.000Z"}
    )


@each_side
def test_a_sleep_that_cannot_be_read_is_over(side: str, start: Start, sides: Sides) -> None:
    handle = start("py", "script", ["sleep", "nap", "1h"])
    sides["ts"]()
    handle.run.step_attempts.update(context={"kind": "sleep", "resumeAt": "soon", "more": 1})
    make_due(handle)
    sides[side]()
    assert handle.result(timeout=10) == [None]


def test_python_goes_on_where_a_killed_node_stopped(
    start: Start, sides: Sides, views: None, package: None
) -> None:
    handle = start("py", "script", ["return", "a", 1], ["crash", "b", "ts"], ["return", "c", 3])
    victim = Node("script")
    with pytest.raises(NodeError, match="node has ended"):
        victim.call("drain")
    victim.close()
    assert rows(handle)[1] == ("b", "function", "running")

    sides["py"]()
    assert rows(handle)[1] == ("b", "function", "running"), "the lease has not run out"
    make_due(handle)
    sides["py"]()
    assert handle.result(timeout=10) == [1, "b by py", 3]
    assert handle.run.step_attempts.get(step_name="b").interruptions == 1
    assert handle.run.step_attempts.count() == 3, "the leftover was taken over"


def test_node_goes_on_where_a_killed_python_stopped(
    start: Start, sides: Sides, journal: str
) -> None:
    handle = start("ts", "script", ["return", "a", 1], ["crash", "b", "py"], ["return", "c", 3])
    with worker_process(settings="tests.interop.process.settings") as victim:
        victim.wait(60)
    assert rows(handle)[1] == ("b", "function", "running")

    make_due(handle)
    sides["ts"]()
    assert handle.result(timeout=10) == [1, "b by ts", 3]
    assert [status for name, _, status in rows(handle) if name == "b"] == ["running", "completed"]


@each_pair
def test_both_take_turns_with_failures(first: str, second: str, start: Start, sides: Sides) -> None:
    handle = start("py", "script", ["stumble", "a", 3])
    for side, seconds in ((first, 10), (second, 20), (first, 40)):
        sides[side]()
        run = handle.run
        failed = run.step_attempts.filter(status=StepStatus.FAILED).latest("created_at")
        assert (run.status, run.started_at, run.worker_id) == ("pending", None, None)
        assert run.error["message"] == "a failed"
        assert run.available_at
        assert failed.finished_at
        pause = (run.available_at - failed.finished_at).total_seconds()
        assert seconds - 2 < pause < seconds + 9  # two statements; the next one is twice as long
        WorkflowRun.objects.filter(pk=handle.id).update(available_at=failed.created_at)
        StepAttempt.objects.filter(pk=failed.pk).update(finished_at=failed.finished_at - ONE_HOUR)
    sides[second]()
    assert handle.result(timeout=10) == [f"a by {second}"]
    assert [status for _, _, status in rows(handle)] == ["failed"] * 3 + ["completed"]


@each_pair
def test_the_last_try_fails_the_run_for_both(
    first: str, second: str, start: Start, sides: Sides, node: Node
) -> None:
    handle = start("ts", "script", ["fail", "a", 9])
    turns = itertools.cycle((first, second))
    wait_until(lambda: sides[next(turns)]() is not None and handle.status == "failed", "the end")
    assert [status for _, _, status in rows(handle)] == ["failed"] * 3
    error = handle.run.error
    assert {key: error[key] for key in ("name", "message")} == {
        "name": "TypeError",
        "message": "a failed",
    }
    assert "scripts" in error["stack"]
    with pytest.raises(WorkflowFailed, match="Workflow script failed: TypeError: a failed"):
        handle.result(timeout=10)
    with pytest.raises(NodeError, match=r'Workflow script failed: \{.*"message":"a failed"'):
        node.call("result", id=str(handle.id))


@each_side
def test_an_error_of_the_function_itself_has_one_form(
    side: str, start: Start, sides: Sides
) -> None:
    handle = start("py", "script", ["raise", "no luck"])
    sides[side]()
    run = handle.run
    assert (run.status, run.started_at, run.available_at) == ("failed", None, None)
    assert (run.error["name"], run.error["message"]) == ("TypeError", "no luck")


@each_pair
def test_repeated_names_get_the_same_numbers(
    first: str, second: str, start: Start, sides: Sides
) -> None:
    steps = [["return", name, 0] for name in ("a", "a:1", "a", "a")]
    handle = start(first, "script", *steps, ["sleep", "a", "1h"], ["return", "a", 7])
    sides[first]()
    begin_in_the_past(handle.run.step_attempts.get(kind="sleep"))
    make_due(handle)
    sides[second]()
    assert handle.result(timeout=10) == [0, 0, 0, 0, None, 7]
    names = ["a", "a:1", "a:2", "a:3", "a:4", "a:5"]
    assert [name for name, _, _ in rows(handle)] == names


@each_pair
def test_parallel_steps_are_resumed_by_the_other_side(
    first: str, second: str, start: Start, sides: Sides
) -> None:
    handle = start(first, "together", ["return", "a", 1], ["sleep", "b", "1h"], ["return", "c", 3])
    sides[first]()
    begin_in_the_past(handle.run.step_attempts.get(step_name="b"))
    make_due(handle)
    sides[second]()
    assert handle.result(timeout=10) == [1, None, 3]


@pytest.mark.parametrize("value", ["text", 7, [1, 2], None, True])
@each_side
def test_what_is_no_object_arrives_as_the_one_argument(
    value: Any, side: str, node: Node, sides: Sides
) -> None:
    from django_openworkflow import RunHandle, Step, workflow

    @workflow("echo")
    def echo(step: Step, value: Any = None) -> Any:
        return {"got": value}

    handle = RunHandle[Any].get(node.call("start", workflow="echo", input=value))
    sides["py"]()
    assert handle.result(timeout=10) == {"got": value}


@each_side
def test_unknown_keys_of_a_context_are_ignored_and_kept(
    side: str, start: Start, sides: Sides
) -> None:
    handle = start("py", "script", ["return", "a", 1], ["sleep", "nap", "1h"])
    context = {"traceContext": {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-01"}, "x": 1}
    WorkflowRun.objects.filter(pk=handle.id).update(context=context)
    sides[side]()
    assert handle.run.context == context
    begin_in_the_past(handle.run.step_attempts.get(kind="sleep"))
    make_due(handle)
    sides[side]()
    assert (handle.result(timeout=10), handle.run.context) == ([1, None], context)
