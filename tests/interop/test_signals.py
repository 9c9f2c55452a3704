"""Signals between the languages: one delivery per waiting step, whoever sends."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.db.models.functions import Now

from django_openworkflow import RunHandle, send_signal
from django_openworkflow.models import SignalDelivery, WorkflowRun
from tests.interop.conftest import days_to_wait, make_due, rows
from tests.interop.test_runs import SIDES, Sides, Start, begin_in_the_past, each_side

if TYPE_CHECKING:
    from tests.interop.node import Node

waiters = pytest.mark.parametrize("waiter", SIDES)
senders = pytest.mark.parametrize("sender", SIDES)


def send(side: str, node: Node, signal: str, data: object, key: str | None = None) -> list[str]:
    """Send a signal from one side; return the ids of the runs that received it."""
    if side == "py":
        return [str(pk) for pk in send_signal(signal, data, idempotency_key=key)]
    ids: list[str] = node.call("signal", signal=signal, data=data, idempotencyKey=key)
    return ids


@waiters
@senders
@pytest.mark.parametrize("data", [{"ok": True, "n": [1, 2]}, None])
def test_a_signal_reaches_a_waiting_run_once(
    waiter: str, sender: str, data: object, start: Start, sides: Sides, node: Node
) -> None:
    handle = start("py", "script", ["wait", "approval"])
    sides[waiter]()
    wait = handle.run.step_attempts.get()
    assert wait.context == {
        "kind": "signal-wait",
        "signal": "approval",
        "timeoutAt": wait.context["timeoutAt"],
    }
    assert send(sender, node, "approval", data, "key") == [str(handle.id)]
    for side in SIDES:
        assert send(side, node, "approval", "again", "key") == [str(handle.id)]
        assert send(side, node, "approval", "again") == []
    assert SignalDelivery.objects.get().data == data
    sides["ts" if waiter == "py" else "py"]()
    assert handle.result(timeout=10) == [{"data": data}]
    assert handle.run.step_attempts.get().output == {"data": data}


@senders
@waiters
def test_a_step_sends_to_a_run_of_the_other_side(
    sender: str, waiter: str, start: Start, sides: Sides
) -> None:
    receiver = start("py", "script", ["wait", "go"])
    sides[waiter]()
    handle = start("ts", "script", ["send", "go", {"n": 1}], ["send", "go", 2])
    sides[sender]()
    assert handle.result(timeout=10) == [[str(receiver.id)], []]
    assert SignalDelivery.objects.get().sender_idempotency_key == f"__signal:{handle.id}:go"
    assert handle.run.step_attempts.get(step_name="go").output == {
        "workflowRunIds": [str(receiver.id)]
    }
    sides["py"]()
    assert receiver.result(timeout=10) == [{"data": {"n": 1}}]


@waiters
@each_side
def test_a_wait_that_is_over_returns_nothing(
    waiter: str, side: str, start: Start, sides: Sides
) -> None:
    handle = start("ts", "script", ["wait", "never", "1h"], ["return", "a", 1])
    sides[waiter]()
    begin_in_the_past(handle.run.step_attempts.get())
    make_due(handle)
    sides[side]()
    assert handle.result(timeout=10) == [None, 1]
    assert rows(handle)[0] == ("never", "signal-wait", "completed")


@each_side
def test_a_wait_without_a_readable_timeout_goes_on(
    side: str, start: Start, sides: Sides, node: Node
) -> None:
    handle = start("py", "script", ["wait", "go", "1h"])
    sides["ts"]()
    handle.run.step_attempts.update(
        context={"kind": "signal-wait", "signal": "go", "timeoutAt": None}
    )
    make_due(handle)
    sides[side]()
    assert handle.status == "running"
    assert days_to_wait(handle) in {364, 365, 366}
    send("ts", node, "go", 1)
    sides[side]()
    assert handle.result(timeout=10) == [{"data": 1}]


@each_side
def test_a_send_that_came_half_way_is_not_repeated(
    side: str, start: Start, sides: Sides, node: Node
) -> None:
    """TypeScript delivers in one transaction and completes its step in another."""
    receiver = start("py", "script", ["wait", "go"], ["wait", "go"])
    sides["py"]()
    handle = start("py", "script", ["send", "go", 1])
    sides["ts"]()
    handle.run.step_attempts.update(status="running", output=None, finished_at=None)
    WorkflowRun.objects.filter(pk=handle.id).update(
        status="running", finished_at=None, output=None, worker_id=None, available_at=Now()
    )
    sides[side]()
    assert handle.result(timeout=10) == [[str(receiver.id)]]
    assert SignalDelivery.objects.count() == 1


def test_a_canceled_run_receives_no_signal_of_python(
    start: Start, sides: Sides, node: Node
) -> None:
    handle: RunHandle[object] = start("ts", "script", ["wait", "go"])
    sides["ts"]()
    node.call("cancel", id=str(handle.id))
    assert send("py", node, "go", 1) == []
