"""A fleet of the package on tables of its own comes over to ours without a stop."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from django_openworkflow import RunHandle
from django_openworkflow.models import SignalDelivery, StepAttempt, WorkflowRun
from django_openworkflow.states import TERMINAL
from django_openworkflow.testing import run_until_idle
from tests.interop.conftest import make_due
from tests.interop.node import Node, NodeError
from tests.interop.test_runs import begin_in_the_past
from tests.interop.test_views import query
from tests.worker.workers import wait_until

SHARED = "openworkflow_shared"
OWN = "openworkflow_own"


@pytest.fixture(autouse=True)
def _removed() -> Iterator[None]:
    yield
    call_command("createinteropviews", "--drop", "--schema", SHARED, verbosity=0)
    for schema in (OWN, f"{OWN}_before"):
        query(f"DROP SCHEMA IF EXISTS {schema} CASCADE")


@pytest.fixture
def fleet(package: None) -> Iterator[Callable[[str], Node]]:
    """Start processes of the package by the name of the schema that they work on."""
    with ExitStack() as stack:

        def begin(schema: str) -> Node:
            node = Node("script", "ts-script", SCHEMA=schema)
            stack.callback(node.close)
            return node

        yield begin


def begin(node: Node, journal: str, *steps: list[Any]) -> str:
    given = {"steps": list(steps), "journal": journal}
    run_id: str = node.call("start", workflow="script", input=given)
    return run_id


def test_a_fleet_comes_over_without_a_stop(fleet: Callable[[str], Node], journal: str) -> None:
    old = fleet(OWN)  # the package's own migrations make its tables
    nap, wait = ["sleep", "nap", "1h"], ["wait", "go"]
    expected: dict[str, list[Any]] = {
        begin(old, journal, ["return", "a", 1]): [1],
        begin(old, journal, ["return", "b", 1], nap, ["return", "c", 2]): [1, None, 2],
        begin(old, journal, ["return", "d", 1], wait): [1, {"data": 1}],
        begin(old, journal, ["child", "ts-script", {"steps": [wait]}]): [[{"data": 1}]],
    }
    old.call("drain")

    call_command("createinteropviews", "--schema", SHARED, verbosity=0)
    new = fleet(SHARED)
    expected[begin(new, journal, ["return", "f", 1])] = [1]
    new.call("drain")

    killed = begin(old, journal, ["crash", "e", "ts"])
    with pytest.raises(NodeError, match="node has ended"):
        old.call("drain")
    call_command("createinteropviews", "--schema", SHARED, "--move-from", OWN, verbosity=0)
    assert len(new.call("signal", signal="go", data=1)) == 2
    asleep = StepAttempt.objects.get(step_name="nap")
    begin_in_the_past(asleep)
    make_due(RunHandle.get(asleep.workflow_run_id))
    make_due(RunHandle.get(killed))
    execute_everything(new)

    for run_id, result in expected.items():
        assert RunHandle.get(run_id).result(timeout=10) == new.call("result", id=run_id) == result
    assert RunHandle.get(killed).result(timeout=10)[0].startswith("e by ")
    lines = Counter(Path(journal).read_text().splitlines())
    assert {line for line, times in lines.items() if times > 1} <= {f"{killed} e"}
    assert SignalDelivery.objects.count() == 2


def execute_everything(node: Node) -> None:
    """Let both sides execute in turn until all runs have ended."""
    turns = itertools.cycle((run_until_idle, lambda: node.call("drain")))
    active = WorkflowRun.objects.exclude(status__in=TERMINAL)
    wait_until(lambda: next(turns)() is not None and not active.exists(), "the end of all")


def test_what_is_left_behind_executes_nothing(fleet: Callable[[str], Node], journal: str) -> None:
    old = fleet(OWN)
    begin(old, journal, ["return", "a", 1])
    call_command("createinteropviews", "--schema", SHARED, "--move-from", OWN, verbosity=0)
    with pytest.raises(NodeError, match="does not exist"):
        old.call("drain")
    assert Path(journal).read_text() == ""
    assert WorkflowRun.objects.get().status == "pending"
    assert query(f"TABLE {OWN}_before.workflow_runs")


def test_what_is_not_there_cannot_be_moved() -> None:
    with pytest.raises(CommandError, match="nothing to move"):
        call_command("createinteropviews", "--schema", SHARED, "--move-from", "nowhere")
    with pytest.raises(CommandError, match="exclude each other"):
        call_command("createinteropviews", "--drop", "--move-from", OWN)
