"""Sweeps: bounded chores that any worker does for all, whatever else happens to the rows."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from django_openworkflow import clock
from django_openworkflow.models import StepAttempt, WorkerProcess, WorkflowRun
from django_openworkflow.store import sweeps
from tests.factories import StepAttemptFactory, WorkerProcessFactory, WorkflowRunFactory
from tests.races.rivals import held_open, requires_row_locks, rivals

if TYPE_CHECKING:
    from django_openworkflow.store.base import Store

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)
KNOWN = [("process-order", None)]


def put_back(store: Store, **options: Any) -> list[UUID]:
    """Put back what no worker knows, knowing one workflow."""
    return sweeps.put_back_unknown(store, KNOWN, **options)


# --- deadlines ----------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["scheduled", "running", "parked", "retrying", "sleeping_legacy"])
def test_every_active_run_fails_at_its_deadline(store: Store, state: str) -> None:
    run = WorkflowRunFactory.create(**{state: True}, deadline_at=NOW)
    assert sweeps.fail_overdue(store, now=NOW - SECOND) == []

    assert sweeps.fail_overdue(store, now=NOW) == [run.pk]
    run.refresh_from_db()
    assert (run.status, run.error) == ("failed", {"message": "Workflow run deadline exceeded"})
    assert (run.worker_id, run.available_at) == (None, None)
    assert run.finished_at is not None


@pytest.mark.parametrize("state", ["completed", "failed", "canceled", "succeeded_legacy"])
def test_a_run_that_has_ended_never_fails_at_its_deadline(store: Store, state: str) -> None:
    run = WorkflowRunFactory.create(**{state: True}, deadline_at=NOW)
    before = WorkflowRun.objects.values().get(pk=run.pk)

    assert sweeps.fail_overdue(store, now=NOW + HOUR) == []
    assert WorkflowRun.objects.values().get(pk=run.pk) == before


def test_a_deadline_closes_the_waits_and_wakes_the_parent(store: Store) -> None:
    parent = WorkflowRunFactory.create(parked=True)
    child = WorkflowRunFactory.create(child=True, parent=parent, parked=True, deadline_at=NOW)
    wait = StepAttemptFactory.create(workflow_run=child, signal_wait=True)

    assert sweeps.fail_overdue(store, now=NOW) == [child.pk]
    parent.refresh_from_db()
    wait.refresh_from_db()
    assert parent.available_at is not None
    assert parent.available_at <= clock.read("default")
    assert wait.status == "failed"


def test_deadlines_are_swept_in_bounded_batches_the_oldest_first(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeps, "BATCH", 2)
    late = [WorkflowRunFactory.create(deadline_at=NOW - age * HOUR).pk for age in (1, 3, 2)]

    assert set(sweeps.fail_overdue(store, now=NOW)) == {late[1], late[2]}
    assert sweeps.fail_overdue(store, now=NOW) == [late[0]]
    assert sweeps.fail_overdue(store, now=NOW) == []


# --- poison pills -------------------------------------------------------------------------------


def test_only_an_expired_lease_that_crashed_often_enough_is_poison(store: Store) -> None:
    poisoned = WorkflowRunFactory.create(expired=True, crashes=4)
    WorkflowRunFactory.create(expired=True, crashes=3)
    WorkflowRunFactory.create(running=True, crashes=4)
    WorkflowRunFactory.create(parked=True, crashes=4, available_at=clock.read("default"))
    WorkflowRunFactory.create(crashes=4)

    assert sweeps.fail_poisoned(store) == [poisoned.pk]
    poisoned.refresh_from_db()
    assert (poisoned.status, poisoned.crashes, poisoned.worker_id) == ("failed", 5, None)


def test_a_poisoned_child_wakes_its_parent(store: Store) -> None:
    parent = WorkflowRunFactory.create(parked=True)
    child = WorkflowRunFactory.create(child=True, parent=parent, expired=True, crashes=4)

    assert sweeps.fail_poisoned(store) == [child.pk]
    parent.refresh_from_db()
    assert parent.available_at is not None
    assert parent.available_at <= clock.read("default")


# --- runs that nobody knows ---------------------------------------------------------------------


def test_pauses_grow_from_five_seconds_to_five_minutes_and_nothing_is_counted(
    store: Store,
) -> None:
    run = WorkflowRunFactory.create(workflow_name="gone", available_at=NOW)
    moment, pauses = NOW, []
    for _ in range(9):
        assert put_back(store, now=moment) == [run.pk]
        run.refresh_from_db()
        assert run.available_at is not None
        pauses.append((run.available_at - moment).total_seconds())
        assert put_back(store, now=run.available_at - SECOND) == []
        moment = run.available_at

    assert pauses == [5, 10, 20, 40, 80, 160, 300, 300, 300]
    assert (run.status, run.attempts, run.failures, run.deferrals) == ("pending", 0, 0, 9)
    assert run.error == {"message": 'Workflow "gone" is not registered'}


@pytest.mark.parametrize(
    ("columns", "is_put_back"),
    [
        ({}, False),
        ({"version": "2"}, True),
        ({"workflow_name": "gone"}, True),
        ({"workflow_name": "gone", "scheduled": True}, False),
        ({"workflow_name": "gone", "running": True}, False),
        ({"workflow_name": "gone", "parked": True}, False),
        ({"workflow_name": "gone", "expired": True}, True),
        ({"workflow_name": "gone", "canceled": True}, False),
        ({"workflow_name": "elsewhere"}, False),
        ({"workflow_name": "elsewhere", "version": "1"}, True),
        ({"workflow_name": "only-the-dead-knew"}, True),
    ],
)
def test_only_due_runs_that_no_live_worker_knows_are_put_back(
    store: Store, columns: dict[str, Any], *, is_put_back: bool
) -> None:
    WorkerProcessFactory.create(workflows=[["elsewhere", None], ["more", "3"]])
    WorkerProcessFactory.create(workflows=[["only-the-dead-knew", None]], dead=True)
    run = WorkflowRunFactory.create(**columns)

    assert put_back(store) == ([run.pk] if is_put_back else [])


def test_a_run_that_was_asleep_is_put_back_with_its_history(store: Store) -> None:
    run = WorkflowRunFactory.create(
        workflow_name="gone", parked=True, available_at=clock.read("default") - SECOND
    )
    StepAttemptFactory.create(workflow_run=run, sleep=True)
    put_back(store)
    run.refresh_from_db()

    assert (run.status, run.attempts, run.started_at) == ("pending", 1, None)
    assert StepAttempt.objects.get().status == "running"


def test_a_worker_that_knows_nothing_puts_back_everything_that_is_due(store: Store) -> None:
    runs = [WorkflowRunFactory.create().pk for _ in range(3)]

    assert sweeps.put_back_unknown(store, []) == sorted(runs)


# --- common to all ------------------------------------------------------------------------------

SWEEPS: dict[str, tuple[dict[str, Any], Callable[[Store], list[UUID]]]] = {
    "deadline": ({"deadline_at": NOW - HOUR}, sweeps.fail_overdue),
    "poison": ({"expired": True, "crashes": 9}, sweeps.fail_poisoned),
    "unknown": ({"workflow_name": "gone"}, put_back),
}
every_sweep = pytest.mark.parametrize(("columns", "sweep"), SWEEPS.values(), ids=SWEEPS.keys())


@every_sweep
def test_no_sweep_touches_another_namespace(
    store: Store, columns: dict[str, Any], sweep: Callable[[Store], list[UUID]]
) -> None:
    WorkflowRunFactory.create(**columns)
    WorkflowRun._base_manager.update(namespace_id="elsewhere")
    before = list(WorkflowRun._base_manager.values())

    assert sweep(store) == []
    assert list(WorkflowRun._base_manager.values()) == before


@requires_row_locks
@pytest.mark.django_db(transaction=True)
def test_no_sweep_waits_for_a_row_that_somebody_holds(store: Store) -> None:
    for columns, sweep in SWEEPS.values():
        held_run, free = (WorkflowRunFactory.create(**columns) for _ in range(2))
        with rivals("holder") as (rival,), held_open(rival, partial(lock, held_run)):
            assert sweep(store) == [free.pk]
        assert sweep(store) == [held_run.pk]


@requires_row_locks
@pytest.mark.django_db(transaction=True)
def test_a_cancel_that_commits_first_wins_over_every_sweep(store: Store) -> None:
    for columns, sweep in SWEEPS.values():
        run = WorkflowRunFactory.create(**columns)
        with (
            rivals("canceler") as (rival,),
            held_open(rival, partial(WorkflowRun.objects.cancel, run.pk)) as canceling,
        ):
            assert sweep(store) == []
            canceling.end(commit=True)
            assert sweep(store) == []
        run.refresh_from_db()
        assert run.status == "canceled"


def lock(run: WorkflowRun) -> None:
    """Hold a run's row until the transaction ends."""
    WorkflowRun.objects.select_for_update().get(pk=run.pk)


# --- workers ------------------------------------------------------------------------------------


def test_only_workers_not_heard_of_for_a_day_are_forgotten(store: Store) -> None:
    now = clock.read("default")
    ages = [timedelta(), HOUR, 23 * HOUR, 25 * HOUR]
    for age in ages:
        WorkerProcessFactory.create(name=str(age), heartbeat_at=now - age)
    sweeps.forget_dead_workers(store)

    assert set(WorkerProcess.objects.values_list("name", flat=True)) == {str(a) for a in ages[:3]}
