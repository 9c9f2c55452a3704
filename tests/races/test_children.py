"""Children against their parents: no wake is lost, and nothing is half done.

Every schedule of a child's end and its parent's park is played, and both are killed before every
statement.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import pytest
from django.db import connection
from django.db.utils import InterfaceError, OperationalError
from django.utils import timezone

from django_openworkflow.models import WorkflowRun
from django_openworkflow.store import sweeps
from django_openworkflow.store.factory import store_for
from django_openworkflow.store.operations import (
    ChildStarted,
    NewRun,
    RunCompleted,
    RunFailed,
    RunParked,
    Verdict,
)
from tests.races.families import insert_family, statuses
from tests.races.rivals import (
    PATIENCE_SECONDS,
    Ending,
    Halt,
    Race,
    Rival,
    ending,
    halted,
    race,
    rivals,
)
from tests.races.scenes import is_due
from tests.races.writes import Write, park, write_and_wait, write_until_answered

if TYPE_CHECKING:
    from tests.races.scenes import Scene

pytestmark = race

# --- a child's end and its parent's park --------------------------------------------------------


def couple() -> Scene:
    """Return a parent that a worker holds, about to park; its child is held by another one."""
    parent, child = insert_family(None, 0, parked_ones=0)
    parent.family = [child]
    return parent


def complete(parent: Scene, write: Write) -> Verdict:
    child = parent.family[0]
    end = RunCompleted(lease=child.lease, parent_run_id=parent.run_id, output="[1]")
    return write(end).verdict


def fail(parent: Scene, write: Write) -> Verdict:
    child = parent.family[0]
    error = '{"message":"no"}'
    end = RunFailed(lease=child.lease, parent_run_id=parent.run_id, error=error)
    return write(end).verdict


def cancel(parent: Scene, _write: Write) -> Verdict:
    WorkflowRun.objects.cancel(parent.family[0].run_id)
    return Verdict.ACCEPTED


def expire(parent: Scene, _write: Write) -> Verdict:
    """Let the child's deadline pass; a sweep leaves rows alone that somebody holds."""
    child = WorkflowRun.objects.filter(pk=parent.family[0].run_id)
    child.update(deadline_at=timezone.now() - timedelta(seconds=1))
    gives_up_at = time.monotonic() + PATIENCE_SECONDS
    while child.active().exists():
        sweeps.fail_overdue(store_for("default"))
        assert time.monotonic() < gives_up_at, "held by somebody for too long"
    return Verdict.ACCEPTED


ENDS: Final = {complete: "completed", fail: "failed", cancel: "canceled", expire: "failed"}
each_end = pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__)


def judge(parent: Scene, parked: Ending, ended: Ending, status: str) -> str:
    """Whoever was first: the child has ended, the parent is parked and may be claimed now.

    Returns who it was: both lock the parent first, and read the clock after that.
    """
    receipt, (child,) = parked.told(), parent.family
    assert (receipt.verdict, ended.told()) == (Verdict.ACCEPTED, Verdict.ACCEPTED)
    assert statuses(parent, child) == ["running", status]
    assert parent.row["worker_id"] is None
    assert is_due(parent)
    return "first" if receipt.at < child.row["finished_at"] else "second"


@pytest.mark.parametrize("end", [complete, fail, cancel], ids=lambda end: end.__name__)
@pytest.mark.parametrize("parent_halts", [True, False], ids=["parent halts", "child halts"])
def test_every_schedule_wakes_the_parent(end: Any, *, parent_halts: bool) -> None:
    schedules = 0
    with rivals("parent", "child") as (one, other):
        while True:
            parent = couple()
            parks = partial(park, parent, write_and_wait)
            ends = partial(end, parent, write_and_wait)
            if parent_halts:
                met = halted(one, parks, other, ends, schedules + 1)
            else:
                met = halted(other, ends, one, parks, schedules + 1)
            if met is None:
                break
            judge(parent, *(met if parent_halts else met[::-1]), ENDS[end])
            schedules += 1
    assert schedules >= 5


@each_end
def test_a_close_race_wakes_the_parent(end: Any, rounds: int, seed: int) -> None:
    writes: tuple[Write, ...] = (write_and_wait, write_until_answered)
    with rivals("parent", "child") as (one, other):
        contest = Race(one, other, seed=seed)
        for number in range(rounds):
            parent, write = couple(), writes[number % 2]
            ends = contest.run(partial(park, parent, write), partial(end, parent, write))
            contest.won_by(judge(parent, *ends, ENDS[end]))
    if rounds >= 100:
        assert min(contest.wins.values()) >= rounds // 10, f"no close race: {contest.wins}"


# --- killed before every statement --------------------------------------------------------------


def kill_before(step: int, action: Callable[[], Any]) -> bool:
    """Kill the connection of a worker before its n-th statement; return whether there was one."""
    with rivals("doomed") as (doomed,):
        halt = Halt(doomed, action, before=step)
        if not halt.has_stopped:
            halt.go_on().told()
            return False
        terminate(doomed)
        error = halt.go_on().error
        assert isinstance(error, OperationalError | InterfaceError), error
        return True


def terminate(rival: Rival) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 10000)", [rival.pid])
        assert cursor.fetchone() == (True,)


@pytest.mark.parametrize("end", [complete, fail, cancel], ids=lambda end: end.__name__)
def test_a_worker_that_dies_while_a_child_ends_leaves_all_or_nothing(end: Any) -> None:
    step = 0
    while True:
        step += 1
        parent, child = insert_family(None, 0, parked_ones=1)
        parent.family = [child]
        died = kill_before(step, partial(end, parent, write_and_wait))
        if not died:
            break
        assert statuses(parent, child) == ["running", "running"]
        assert child.row["worker_id"] == child.lease.worker_id
        assert not is_due(parent)
    assert statuses(parent, child) == ["running", ENDS[end]]
    assert is_due(parent)
    assert step > 5


@pytest.mark.parametrize("end", [complete, fail, cancel], ids=lambda end: end.__name__)
@pytest.mark.parametrize("parent_dies", [True, False], ids=["parent dies", "child dies"])
def test_whoever_dies_in_any_schedule_no_wake_is_lost(end: Any, *, parent_dies: bool) -> None:
    """One is killed before its n-th statement, after the other went as far as it could.

    What the dead one has begun never was. Whoever takes it up does it again, and the parent wakes.
    """
    step = 0
    with rivals("survivor") as (survivor,):
        while True:
            step += 1
            parent = couple()
            parks, ends = (partial(each, parent, write_and_wait) for each in (park, end))
            dies, lives = (parks, ends) if parent_dies else (ends, parks)
            with rivals("doomed") as (doomed,):
                halt = Halt(doomed, dies, before=step)
                if not halt.has_stopped:
                    halt.go_on().told()
                    break
                living = survivor.do(lives)
                survivor.settle(living)
                terminate(doomed)
                assert isinstance(halt.go_on().error, OperationalError | InterfaceError)
            survived, again = ending(living), Ending(value=dies())
            parked, ended = (again, survived) if parent_dies else (survived, again)
            judge(parent, parked, ended, ENDS[end])
    assert step > 5


def start_child(parent: Scene) -> RunParked:
    start = ChildStarted(
        lease=parent.lease,
        attempt_id=parent.attempt_id,
        step_name="child",
        child_id=uuid4(),
        child=NewRun(workflow_name="child", version=None, input=None),
        timeout=None,
    )
    return RunParked(lease=parent.lease, waits=(start,))


def test_a_worker_that_dies_while_a_child_starts_leaves_all_or_nothing() -> None:
    step = 0
    while True:
        step += 1
        (parent,) = insert_family(None, parked_ones=0)
        died = kill_before(step, partial(write_and_wait, start_child(parent)))
        children = WorkflowRun.objects.filter(parent_step_attempt=parent.attempt_id)
        if not died:
            break
        assert parent.attempt is None
        assert not children.exists()
        assert parent.row["worker_id"] == parent.lease.worker_id
    assert parent.attempt is not None
    assert parent.attempt.child_workflow_run_id == children.get().pk
    assert parent.row["worker_id"] is None
    assert step > 5
