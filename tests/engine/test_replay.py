"""Replay: what was done is never done again, and looks the same the second time."""

from __future__ import annotations

import enum
from typing import Any

import pytest

from django_openworkflow import RunHandle, RunInfo, Step, workflow
from django_openworkflow.models import StepAttempt
from django_openworkflow.states import StepKind
from django_openworkflow.testing import run_until_idle
from tests.engine.passes import attempts_of, noting, step_names, tick
from tests.factories import StepAttemptFactory, WorkflowRunFactory

pytestmark = pytest.mark.django_db


class Colour(enum.IntEnum):
    RED = 1


# --- completed steps ----------------------------------------------------------------------------


def test_a_completed_step_never_runs_again_however_often_the_run_is_replayed() -> None:
    calls: list[int] = []

    @workflow("replayed")
    def replayed(step: Step) -> list[int]:
        results = []
        for number in range(4):
            results.append(step.run("count", noting(calls, number)))
            step.sleep("pause", "1h")
        return results

    handle = replayed.start()
    for _ in range(5):
        tick("1h")

    assert handle.result(timeout=0) == [0, 1, 2, 3]
    assert calls == [0, 1, 2, 3]
    assert handle.run.attempts == 5  # one claim for each pass


@pytest.mark.parametrize(
    ("returned", "seen"),
    [
        ((1, (2, 3)), "[1, [2, 3]]"),
        ({"b": 1, "aa": 2, "a": 3}, "{'a': 3, 'b': 1, 'aa': 2}"),
        (-0.0, "0.0"),
        (Colour.RED, "1"),
        (1e22, "1e+22"),
        ("", "''"),
        ([], "[]"),
        (False, "False"),
        (0, "0"),
        (None, "None"),
    ],
    ids=repr,
)
def test_the_first_pass_sees_exactly_what_a_replay_sees(returned: Any, seen: str) -> None:
    views = []

    @workflow("seen")
    def watched(step: Step) -> None:
        views.append(repr(step.run("value", lambda: returned)))
        step.sleep("pause", "1h")

    watched.start()
    run_until_idle()
    tick("1h")

    assert views == [seen, seen]


def test_changing_a_result_does_not_change_the_history() -> None:
    views = []

    @workflow("mutating")
    def mutating(step: Step) -> None:
        basket = step.run("basket", lambda: {"items": ["tea"]})
        views.append(list(basket["items"]))
        basket["items"].append("stolen")
        step.sleep("pause", "1h")

    handle = mutating.start()
    run_until_idle()
    tick("1h")

    assert views == [["tea"], ["tea"]]
    assert attempts_of(handle)[0].output == {"items": ["tea"]}


def test_changing_an_object_that_the_body_kept_does_not_change_the_result() -> None:
    kept = ["tea"]

    @workflow("keeping")
    def keeping(step: Step) -> list[str]:
        basket = step.run("basket", lambda: kept)
        kept.append("smuggled")
        return basket

    handle = keeping.start()
    run_until_idle()

    assert handle.result(timeout=0) == ["tea"]


def test_a_step_that_returned_nothing_is_done_all_the_same() -> None:
    calls: list[None] = []

    @workflow("nothing")
    def nothing(step: Step) -> list[None]:
        first = step.run("nothing", noting(calls, None))
        step.sleep("pause", "1h")
        return [first]

    handle = nothing.start()
    run_until_idle()
    tick("1h")

    assert calls == [None]
    assert handle.result(timeout=0) == [None]
    assert StepAttempt.objects.filter(step_name="nothing", output__isnull=True).count() == 1


def test_a_step_that_the_original_called_succeeded_is_done_too() -> None:
    calls: list[Any] = []

    @workflow("process-order")
    def process_order(step: Step) -> object:
        return step.run("legacy", noting(calls, 1))

    run = WorkflowRunFactory.create()
    StepAttemptFactory.create(workflow_run=run, step_name="legacy", succeeded_legacy=True)
    run_until_idle()

    assert RunHandle.get(run.pk).result(timeout=0) == {"done": True}
    assert calls == []


def test_what_a_run_knows_of_itself_is_the_same_in_every_pass() -> None:
    views: list[RunInfo] = []

    @workflow("curious", version="2")
    def curious(step: Step) -> None:
        views.append(step.info)
        step.sleep("pause", "1h")

    handle = curious.start()
    run_until_idle()
    tick("1h")

    run = handle.run
    assert views[0] == views[1]
    assert (views[0].id, views[0].workflow_name, views[0].version) == (run.pk, "curious", "2")
    assert (views[0].created_at, views[0].started_at) == (run.created_at, run.started_at)


# --- names --------------------------------------------------------------------------------------


def test_a_name_used_again_gets_a_number_the_same_in_every_pass() -> None:
    calls: list[Any] = []

    @workflow("loop")
    def loop(step: Step) -> list[int]:
        results = [step.run("a", noting(calls, n)) for n in range(3)]
        step.sleep("a", "1h")
        return [*results, step.run("a", noting(calls, 3))]

    handle = loop.start()
    run_until_idle()
    tick("1h")

    assert handle.result(timeout=0) == [0, 1, 2, 3]
    assert calls == [0, 1, 2, 3]
    assert step_names(handle) == ["a", "a:1", "a:2", "a:3", "a:4"]


def test_a_number_that_is_taken_by_hand_is_skipped() -> None:
    @workflow("taken")
    def taken(step: Step) -> None:
        for name in ("a:1", "a", "a", "a:1", "a"):
            step.run(name, lambda: None)

    handle = taken.start()
    run_until_idle()

    assert step_names(handle) == ["a:1", "a", "a:2", "a:1:1", "a:3"]


@pytest.mark.parametrize("name", ["", "two\nlines", "nul\x00", "lone\ud800", 7, None], ids=repr)
def test_a_name_that_no_log_could_show_is_refused_before_the_body(name: Any) -> None:
    calls: list[Any] = []

    @workflow("named")
    def named(step: Step) -> None:
        step.run(name, noting(calls, 1))

    handle = named.start()
    run_until_idle()

    assert handle.status == "failed"
    assert handle.run.error["message"].startswith("A step's name must be printable text")
    assert (calls, attempts_of(handle)) == ([], [])


def test_a_name_too_long_for_an_index_is_refused_before_the_body() -> None:
    # PostgreSQL refuses index rows beyond 2.7 kB; found after the body, the run could never go on.
    calls: list[Any] = []
    name = "".join(chr(0x4E00 + number) for number in range(4000))

    @workflow("long-name")
    def long_name(step: Step) -> None:
        step.run(name, noting(calls, 1))

    handle = long_name.start()
    run_until_idle()

    assert handle.run.error["name"] == "InvalidInput"
    assert calls == []


# --- code and history that tell different stories -----------------------------------------------


@pytest.mark.parametrize(
    ("kind", "trait"),
    [
        (StepKind.SLEEP, "sleep"),
        (StepKind.WORKFLOW, "workflow"),
        (StepKind.SIGNAL_SEND, "signal_send"),
        (StepKind.SIGNAL_WAIT, "signal_wait"),
    ],
)
@pytest.mark.parametrize("is_completed", [True, False])
def test_a_function_step_never_takes_the_result_of_another_kind(
    kind: StepKind, trait: str, *, is_completed: bool
) -> None:
    calls: list[Any] = []

    @workflow("process-order")
    def process_order(step: Step) -> None:
        step.run("changed", noting(calls, 1))

    run = WorkflowRunFactory.create()
    StepAttemptFactory.create(
        workflow_run=run, step_name="changed", completed=is_completed, **{trait: True}
    )
    run_until_idle()
    run.refresh_from_db()

    assert calls == []
    assert run.error["name"] == "NonDeterministicWorkflow"
    assert run.error["message"] == (
        'Step "changed" is a function step in the code, '
        f"but a {kind.value} step in the run's history"
    )


def test_a_sleep_is_not_over_because_a_function_of_that_name_ran() -> None:
    @workflow("process-order")
    def process_order(step: Step) -> None:
        step.sleep("changed", "1h")

    run = WorkflowRunFactory.create()
    StepAttemptFactory.create(workflow_run=run, step_name="changed", completed=True)
    run_until_idle()
    run.refresh_from_db()

    assert run.error["message"] == (
        'Step "changed" is a sleep step in the code, but a function step in the run\'s history'
    )


def test_a_completed_step_that_the_code_has_lost_is_noticed() -> None:
    @workflow("process-order")
    def process_order(step: Step) -> None:
        step.run("charge-card", lambda: None)

    run = WorkflowRunFactory.create()
    StepAttemptFactory.create(workflow_run=run, step_name="charge", completed=True)
    run_until_idle()
    run.refresh_from_db()

    assert run.status != "completed"
    assert run.error["name"] == "NonDeterministicWorkflow"
    assert '"charge"' in run.error["message"]


# --- interrupted attempts -----------------------------------------------------------------------


def test_an_interrupted_attempt_is_taken_over_instead_of_adding_a_row() -> None:
    calls: list[str] = []

    @workflow("process-order")
    def process_order(step: Step) -> str:
        return step.run("charge", noting(calls, "charged"))

    run = WorkflowRunFactory.create(expired=True, crashes=2)
    left = StepAttemptFactory.create(workflow_run=run, step_name="charge", interruptions=1)
    run_until_idle()
    run.refresh_from_db()

    (attempt,) = StepAttempt.objects.filter(workflow_run=run)
    assert (attempt.pk, attempt.status, attempt.output) == (left.pk, "completed", "charged")
    assert attempt.interruptions == 2
    assert attempt.worker_id != left.worker_id
    assert calls == ["charged"]
    assert (run.status, run.takeovers, run.crashes) == ("completed", 1, 0)
