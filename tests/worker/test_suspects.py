"""Runs that the next crash would fail: a worker executes one at a time, all others beside it."""

from __future__ import annotations

from django_openworkflow import Step, workflow
from django_openworkflow.models import WorkflowRun
from tests.factories import WorkflowRunFactory
from tests.store.claims import ago
from tests.worker.workers import Gate, wait_until, work_until_idle, working


def lost(number: int, name: str = "gated") -> WorkflowRun:
    """Make a run that has lost four workers, the last of them just now."""
    return WorkflowRunFactory.create(
        workflow_name=name,
        running=True,
        crashes=3,
        input={"number": number},
        available_at=ago(seconds=60 - number),
    )


def define(gates: list[Gate]) -> None:
    """Define a workflow: its first step waits at the gate of its number, its second at the next."""

    @workflow("gated")
    def gated(step: Step, number: int) -> None:
        step.run("wait", gates[number].body)
        step.run("more", gates[number + 1].body)


def test_another_is_executed_when_one_has_got_on() -> None:
    """A step that was recorded is progress: its run is no suspect any more, though it goes on."""
    with Gate() as first, Gate() as second, Gate() as third:
        define([first, second, third])
        for number in range(2):
            lost(number)
        with working(concurrency=4):
            first.wait_until_entered()
            first.open()
            second.wait_until_entered()  # by the first run, and then by the second
            wait_until(lambda: second.calls == 2, "the second run")
            assert (first.calls, third.calls) == (1, 0)
            second.open()
            third.open()


def test_the_others_are_executed_beside_it_and_the_next_when_it_has_ended() -> None:
    ended: list[int] = []

    @workflow("alone")
    def alone(step: Step, number: int) -> None:
        held = WorkflowRun.objects.filter(workflow_name="alone", available_at__gt=ago())
        assert [run.input for run in held.filter(worker_id__isnull=False)] == [{"number": number}]
        ended.append(number)

    with Gate() as gate:

        @workflow("process-order")
        def process_order(step: Step) -> None:
            step.run("wait", gate.body)

        for number in range(4):
            lost(number, "alone")
        WorkflowRunFactory.create_batch(2)
        with working(concurrency=4):
            wait_until(lambda: len(ended) == 4, "the suspects, one after the other")
            wait_until(lambda: gate.calls == 2, "the others")
            gate.open()
    assert ended == [0, 1, 2, 3]
    assert WorkflowRun.objects.completed().count() == 6


def test_a_worker_that_ends_when_idle_has_executed_all_of_them() -> None:
    @workflow("gated")
    def gated(step: Step, number: int) -> int:
        return step.run("work", lambda: number)

    runs = [lost(number) for number in range(3)]
    work_until_idle()
    assert WorkflowRun.objects.completed().count() == len(runs)
