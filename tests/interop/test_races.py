"""Both languages at the same rows in the same moment: nobody fails, nothing is doubled."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connection

from django_openworkflow import send_signal
from django_openworkflow.models import SignalDelivery, StepAttempt, WorkflowRun
from django_openworkflow.testing import run_until_idle
from tests.interop import scripts
from tests.interop.node import NodeError

if TYPE_CHECKING:
    from tests.interop.node import Node

ROUNDS = 3
RUNS = 30
CLIENTS = 4


def wait_for_go() -> None:
    """Let a crowd of runs wait for the signal "go"."""
    spec = scripts.SPECS["script"]
    spec.start_many([{"steps": [["wait", "go"]]}] * RUNS)
    run_until_idle()


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """Call these in threads that begin together; return or raise what they do."""
    together = threading.Barrier(len(calls))

    def perform(call: Callable[[], Any]) -> Any:
        try:
            together.wait(10)
            return call()
        finally:
            connection.close()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(perform, calls))


def cancel_all() -> set[str]:
    return {str(pk) for pk in WorkflowRun.objects.all().cancel_active().canceled}


def theirs(node: Node) -> Callable[[], set[str]]:
    """Send as the package's users must: again, if the database had to break up a deadlock.

    The package wakes its receivers in no order. Ours are repeated without being asked.
    """

    def send() -> set[str]:
        while True:
            with suppress_deadlock():
                return set(node.call("signal", signal="go", data=None))

    return send


@contextmanager
def suppress_deadlock() -> Iterator[None]:
    try:
        yield
    except NodeError as error:
        if "deadlock detected" not in str(error):
            raise


def ours() -> set[str]:
    return {str(pk) for pk in send_signal("go")}


def test_senders_of_both_sides_share_the_receivers(node: Node) -> None:
    for _ in range(ROUNDS):
        WorkflowRun.objects.all().delete()
        wait_for_go()
        received = at_once(*[theirs(node), ours] * CLIENTS)
        everybody = {str(pk) for pk in WorkflowRun.objects.values_list("pk", flat=True)}
        assert set().union(*received) == everybody
        assert sum(map(len, received)) == RUNS == SignalDelivery.objects.count()


@pytest.mark.parametrize("canceler", ["py", "ts"])
def test_a_cancel_and_a_signal_do_not_fall_over_each_other(canceler: str, node: Node) -> None:
    for _ in range(ROUNDS):
        WorkflowRun.objects.all().delete()
        wait_for_go()
        first = str(WorkflowRun.objects.earliest("pk").pk)
        cancel = cancel_all if canceler == "py" else partial(node.call, "cancel", id=first)
        at_once(*[theirs(node)] * CLIENTS, ours, cancel)
        run_until_idle()
        assert not WorkflowRun.objects.active().exists()
        open_waits = StepAttempt.objects.filter(status="running")
        assert not open_waits.filter(signal_deliveries__isnull=True).exists()
