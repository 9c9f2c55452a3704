"""A turn: what each operation writes, and that nobody without the lease writes anything."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest

from django_openworkflow import clock
from django_openworkflow.identifiers import new_id
from django_openworkflow.models import StepAttempt, WorkflowRun
from django_openworkflow.store import step_writes
from django_openworkflow.store.factory import store_for
from django_openworkflow.store.operations import (
    Lease,
    Operation,
    RunParked,
    RunRescheduled,
    SleepStarted,
    StepCompleted,
    StepFailed,
    Verdict,
)
from django_openworkflow.store.turns import iso, whole_milliseconds
from tests.engine.turns import (
    ERROR,
    HOUR,
    OPERATIONS,
    every_operation,
    held,
    rows,
    verdict,
    write,
)
from tests.factories import StepAttemptFactory
from tests.worker.workers import wait_until

pytestmark = pytest.mark.django_db

MILLISECOND = timedelta(milliseconds=1)

# --- the fence ----------------------------------------------------------------------------------


@every_operation
@pytest.mark.parametrize(
    "state", ["running", "parked", "retrying", "completed", "failed", "sleeping_legacy"]
)
def test_a_zombie_writes_nothing_whatever_has_become_of_its_run(
    build: Callable[[Lease, UUID], Operation], state: str
) -> None:
    run, attempt, _ = held(**{"running": False, state: True})
    before = rows()

    assert verdict(build(Lease(run_id=run.pk, worker_id="zombie"), attempt.pk)) is Verdict.LOST
    assert rows() == before


@every_operation
def test_a_worker_of_a_run_that_was_deleted_writes_nothing(
    build: Callable[[Lease, UUID], Operation],
) -> None:
    lease = Lease(run_id=new_id(), worker_id="worker")

    assert verdict(build(lease, new_id())) is Verdict.LOST
    assert rows() == [[], []]


@every_operation
def test_of_a_canceled_run_nothing_is_written_but_the_outcome_of_the_step_in_flight(
    build: Callable[[Lease, UUID], Operation],
) -> None:
    run, attempt, lease = held()
    WorkflowRun.objects.cancel(run.pk)
    canceled, (step,) = rows()
    operation = build(lease, attempt.pk)

    assert verdict(operation) is Verdict.CANCELED
    after, (step_after,) = rows()
    assert after == canceled
    if isinstance(operation, StepCompleted | StepFailed):
        assert step_after["status"] in {"completed", "failed"}
        assert step_after["finished_at"] is not None
    else:
        assert step_after == step


def test_of_a_canceled_run_the_late_outcome_of_a_zombie_is_not_kept() -> None:
    run, attempt, _ = held()
    WorkflowRun.objects.cancel(run.pk)
    before = rows()
    zombie = Lease(run_id=run.pk, worker_id="zombie")

    assert verdict(OPERATIONS["step-completed"](zombie, attempt.pk)) is Verdict.CANCELED
    assert rows() == before


def test_of_a_canceled_run_a_second_result_of_one_step_is_not_kept() -> None:
    run, attempt, lease = held()
    StepAttemptFactory.create(workflow_run=run, step_name="body", completed=True)
    WorkflowRun.objects.cancel(run.pk)
    before = rows()

    assert verdict(OPERATIONS["step-completed"](lease, attempt.pk)) is Verdict.CANCELED
    assert rows() == before


def test_one_lease_never_finishes_the_step_of_another_run() -> None:
    _, _, lease = held()
    _, attempt, _ = held()
    verdict(StepCompleted(lease=lease, attempt_id=attempt.pk, output="1"))
    attempt.refresh_from_db()

    assert attempt.status == "running"


# --- what is written ----------------------------------------------------------------------------


def test_progress_forgives_crashes_and_failing_is_progress_too() -> None:
    for name in ("step-completed", "step-failed"):
        run, attempt, lease = held(crashes=3, takeovers=3)
        write(OPERATIONS[name](lease, attempt.pk))
        run.refresh_from_db()
        assert (run.crashes, run.takeovers) == (0, 3)


def test_ends_are_written_as_the_original_writes_them() -> None:
    found = {}
    for name in ("completed", "failed"):
        run, attempt, lease = held(error={"message": "earlier"})
        write(OPERATIONS[name](lease, attempt.pk))
        run.refresh_from_db()
        assert run.finished_at is not None
        kept = (run.worker_id == lease.worker_id, run.started_at is not None)
        found[name] = (run.status, run.output, run.error and run.error["message"], *kept)

    assert found == {
        "completed": ("completed", [1], None, True, True),
        "failed": ("failed", None, "No stock", False, False),
    }


def test_an_end_closes_what_only_waited_and_leaves_what_runs() -> None:
    run, attempt, lease = held()
    nap = StepAttemptFactory.create(workflow_run=run, sleep=True)
    write(OPERATIONS["completed"](lease, attempt.pk))
    attempt.refresh_from_db()
    nap.refresh_from_db()

    assert (attempt.status, nap.status) == ("running", "failed")
    assert nap.error == {"message": "The workflow run ended as completed before this step did"}


def test_a_released_run_is_due_at_once_and_was_no_crash() -> None:
    run, attempt, lease = held(crashes=1, takeovers=2)
    write(OPERATIONS["released"](lease, attempt.pk))
    run.refresh_from_db()

    assert (run.status, run.worker_id, run.crashes, run.takeovers) == ("running", None, 1, 2)
    assert run.available_at is not None
    assert run.available_at <= clock.read("default")


@pytest.mark.parametrize("is_failure", [True, False])
def test_only_a_failure_of_the_workflow_counts_as_one(*, is_failure: bool) -> None:
    run, _, lease = held()
    write(RunRescheduled(lease=lease, error=ERROR, delay=HOUR, is_failure=is_failure))
    run.refresh_from_db()

    assert (run.status, run.worker_id, run.started_at) == ("pending", None, None)
    assert run.failures == int(is_failure)


def test_a_run_that_parks_wakes_for_the_earliest_of_what_it_waits_for() -> None:
    run, _, lease = held()
    far = datetime(2999, 1, 1, tzinfo=UTC)
    naps = tuple(
        SleepStarted(
            lease=lease, attempt_id=new_id(), step_name=f"nap-{hours}", duration=hours * HOUR
        )
        for hours in (3, 2)
    )
    write(RunParked(lease=lease, wake_at=far, waits=naps))
    run.refresh_from_db()
    ends = {
        attempt.step_name: (attempt.context or {})["resumeAt"]
        for attempt in StepAttempt.objects.filter(kind="sleep")
    }

    assert run.available_at == datetime.fromisoformat(ends["nap-2"])
    assert ends["nap-2"] < ends["nap-3"]


def test_steps_of_one_turn_are_replayed_in_the_order_of_their_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whether they are written by themselves or with others, and however long the turn takes."""
    insert = step_writes.insert_attempt

    def insert_late(*given: Any, **columns: Any) -> None:
        turn_began_at = clock.read("default")
        wait_until(lambda: clock.read("default") > turn_began_at + MILLISECOND, "a later moment")
        insert(*given, **columns)

    monkeypatch.setattr(step_writes, "insert_attempt", insert_late)
    run, attempt, lease = held()
    names = ("start", "signal-sent", "sleep", "wait")
    operations = [OPERATIONS[name](lease, attempt.pk) for name in names]
    write(*operations)

    history = store_for("default").load_history([run.pk])[run.pk]
    assert [each.step_name for each in history] == ["body", "new", "send", "nap", "wait"]


# --- the ends of waits --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "end"),
    [(0, 0), (1, 1000), (999, 1000), (1000, 1000), (999_001, 1_000_000)],
)
def test_a_wait_ends_at_a_whole_millisecond_and_never_early(start: int, end: int) -> None:
    midnight = datetime(2026, 3, 29, tzinfo=UTC)
    begun = midnight + timedelta(microseconds=start)

    assert whole_milliseconds(begun) == midnight + timedelta(microseconds=end)


def test_times_inside_json_look_as_in_the_original() -> None:
    paris = timezone(timedelta(hours=2))

    assert iso(datetime(2026, 7, 1, 1, 2, 3, 4000, tzinfo=paris)) == "2026-06-30T23:02:03.004Z"
    assert iso(datetime(2026, 7, 1, tzinfo=UTC)) == "2026-07-01T00:00:00.000Z"
