"""Children that do not end in time, are gone, or are started anew; and several side by side."""

from __future__ import annotations

from typing import Any

import pytest

from django_openworkflow import Step, Workflow, workflow
from django_openworkflow.models import WorkflowRun
from django_openworkflow.testing import advance, run_until_idle
from tests.engine.passes import attempts_of, database_now, tick
from tests.vocabulary.test_children import children_of
from tests.vocabulary.test_children_endings import start_parent

pytestmark = pytest.mark.django_db

TIMED_OUT = "Timed out waiting for child workflow to complete"


@pytest.fixture
def slow() -> Workflow[[], str]:
    """A child that takes an hour."""

    @workflow("slow")
    def slow(step: Step) -> str:
        step.sleep("work", "1h")
        return "slow output"

    return slow


# --- too late -----------------------------------------------------------------------------------


def test_a_child_that_does_not_end_in_time_fails_the_step_and_goes_on(
    slow: Workflow[[], str],
) -> None:
    handle = start_parent(slow, timeout="10m")
    assert tick("9m") == 0
    tick("1m")

    (attempt,) = attempts_of(handle)
    assert (attempt.status, attempt.error) == ("failed", {"message": TIMED_OUT})
    assert (handle.status, handle.run.error) == ("failed", {"message": TIMED_OUT})
    tick("50m")
    assert children_of(handle)[0].status == "completed"
    assert handle.status == "failed"


@pytest.mark.parametrize("ending", ["completes", "fails", "is canceled"])
def test_an_end_in_time_wins_over_a_timeout_that_has_passed_since(
    slow: Workflow[[], str], ending: str
) -> None:
    handle = start_parent(slow, timeout="2h")
    (child,) = children_of(handle)
    ended: dict[str, Any] = {"available_at": None, "finished_at": database_now(), "error": None}
    if ending == "completes":
        columns = {**ended, "status": "completed", "output": "in time"}
    elif ending == "fails":
        columns = {**ended, "status": "failed", "error": {"message": "in time"}}
    else:
        columns = {**ended, "status": "canceled"}
    WorkflowRun.objects.filter(pk=child.pk).update(**columns)  # by somebody who wakes nobody
    tick("3h")

    run = handle.run
    if ending == "completes":
        assert (run.status, run.output) == ("completed", "in time")
    elif ending == "fails":
        assert run.error == {"message": "in time"}
    else:
        assert run.error["message"].endswith(f'run "{child.pk}" was canceled')


def test_an_end_after_the_timeout_loses_though_it_wakes_the_parent(slow: Workflow[[], str]) -> None:
    handle = start_parent(slow, timeout="30m")
    (child,) = children_of(handle)
    advance("1h")
    child.cancel()  # both are due now: the parent for its timeout and for its child's end
    run_until_idle()

    assert handle.run.error == {"message": TIMED_OUT}


def test_a_timeout_of_nothing_is_over_at_once(slow: Workflow[[], str]) -> None:
    handle = start_parent(slow, timeout="0s")

    assert handle.run.error == {"message": TIMED_OUT}
    assert children_of(handle)[0].status == "running"


def test_a_child_that_was_deleted_is_started_anew(slow: Workflow[[], str]) -> None:
    handle = start_parent(slow)
    (child,) = children_of(handle)
    WorkflowRun.objects.filter(pk=child.pk).delete()
    WorkflowRun.objects.filter(pk=handle.id).update(available_at=database_now())
    run_until_idle()
    (again,) = children_of(handle)
    tick("1h")

    assert again.pk != child.pk
    assert handle.result(timeout=0) == "slow output"
    assert len(attempts_of(handle)) == 1


def test_a_child_that_cannot_be_seen_is_reported(slow: Workflow[[], str]) -> None:
    handle = start_parent(slow)
    (child,) = children_of(handle)
    WorkflowRun.objects.filter(pk=child.pk).update(namespace_id="elsewhere")
    WorkflowRun.objects.filter(pk=handle.id).update(available_at=database_now())
    run_until_idle()

    assert handle.run.error["message"] == (
        f'Workflow step "slow" could not find linked child workflow run "{child.pk}"'
    )


# --- retry --------------------------------------------------------------------------------------


def test_a_retry_of_the_parent_starts_a_new_child_and_keeps_completed_steps() -> None:
    tries: list[int] = []

    @workflow("child")
    def child(step: Step) -> str:
        tries.append(1)
        if len(tries) == 1:
            raise KeyError
        return "second"

    @workflow("parent")
    def parent(step: Step) -> list[int]:
        count = step.run("before", lambda: len(tries))
        step.run_workflow(child)
        return [count, len(tries)]

    handle = parent.start()
    run_until_idle()
    assert handle.status == "failed"
    WorkflowRun.objects.retry(handle.id)
    run_until_idle()

    assert handle.result(timeout=0) == [0, 2]
    first, second = children_of(handle)
    assert (first.status, second.status) == ("failed", "completed")
    assert first.idempotency_key != second.idempotency_key


def test_a_retry_of_a_canceled_parent_does_not_adopt_the_old_child(slow: Workflow[[], str]) -> None:
    handle = start_parent(slow)
    handle.cancel()
    WorkflowRun.objects.retry(handle.id)
    run_until_idle()
    old, new = children_of(handle)
    old.cancel()  # it is nothing to its parent any more
    assert run_until_idle() == 0
    tick("1h")

    assert handle.result(timeout=0) == "slow output"
    new.refresh_from_db()
    assert new.status == "completed"


# --- parallel -----------------------------------------------------------------------------------


def test_children_side_by_side_are_all_started_at_once_and_come_back_in_order() -> None:
    @workflow("child")
    def child(step: Step, minutes: int) -> int:
        step.sleep("work", f"{minutes}m")
        return minutes

    @workflow("parent")
    def parent(step: Step) -> list[int]:
        return step.gather(*[step.call("child", child, minutes) for minutes in (30, 10, 20)])

    handle = parent.start()
    run_until_idle()
    assert len(children_of(handle)) == 3
    for _ in range(3):
        tick("10m")

    assert handle.result(timeout=0) == [30, 10, 20]
    assert [each.step_name for each in attempts_of(handle)] == ["child", "child:1", "child:2"]
    assert len(children_of(handle)) == 3
