"""The law of locks, verb by verb: runs in ascending id, then what belongs to them.

Whatever a verb writes, it has locked the run that the row belongs to; and it never waits for a run
while it holds a later one, or anything that comes after runs. Two transactions that keep this law
cannot wait for each other.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any, Final
from uuid import UUID, uuid4

import pytest
from django.utils import timezone

from django_openworkflow import clock, send_signal
from django_openworkflow.models import BufferedSignal, StepAttempt, WorkflowRun
from django_openworkflow.states import RunStatus, StepKind, StepStatus
from django_openworkflow.store import enqueue, signalling, sweeps
from django_openworkflow.store.factory import store_for
from django_openworkflow.store.operations import (
    NewRun,
    RunFailed,
    SignalSent,
    SignalWaitStarted,
    WaitTimedOut,
)
from django_openworkflow.store.retention import Retention
from tests.races.duels import DUELS, Duel
from tests.races.families import FAMILY_DUELS, insert_family
from tests.races.recorder import RUNS, Record, Recorder
from tests.races.rivals import race
from tests.races.scenes import (
    Scene,
    held_run,
    held_run_with_step,
    insert_run,
    new_run,
    submit_and_wait,
    submit_once,
    waiting_run,
)

pytestmark = race


def recorded(action: Callable[[], object]) -> Record:
    with Recorder().recording() as record:
        action()
    record.judge()
    return record


# --- the recorder sees what it looks for --------------------------------------------------------


def test_a_lock_out_of_order_is_seen() -> None:
    ids = sorted(held_run().run_id for _ in range(2))
    runs = WorkflowRun.objects.all()

    def the_wrong_way_round() -> None:
        for run_id in reversed(ids):
            list(runs.lock_runs([run_id]))

    with pytest.raises(AssertionError, match="while holding a later one"):
        recorded(the_wrong_way_round)


def test_a_lock_given_back_is_no_lock() -> None:
    low, high = sorted(held_run().run_id for _ in range(2))
    looks = iter([{high}, {high, low}, {high, low}, {high, low}])
    runs = WorkflowRun.objects.all()
    assert recorded(lambda: runs.lock_growing(lambda: next(looks))).holds(RUNS) == [high, low]


def test_a_run_after_its_steps_is_seen() -> None:
    scene, other = held_run_with_step(), held_run()

    def steps_first() -> None:
        list(WorkflowRun.objects.all().lock_runs([scene.run_id]))
        StepAttempt.objects.update(interruptions=1)
        list(WorkflowRun.objects.all().lock_runs([other.run_id]))

    with pytest.raises(AssertionError, match="what comes after runs"):
        recorded(steps_first)


@pytest.mark.parametrize("rows", [WorkflowRun.objects, StepAttempt.objects], ids=["run", "step"])
def test_a_write_without_the_lock_is_seen(rows: Any) -> None:
    held_run_with_step()
    held_run_with_step()
    with pytest.raises(AssertionError, match="without the lock"):
        recorded(lambda: rows.update(updated_at=timezone.now()))


# --- every verb ---------------------------------------------------------------------------------

each_duel = pytest.mark.parametrize("duel", [*DUELS, *FAMILY_DUELS], ids=str)


@each_duel
@pytest.mark.parametrize("submit", [submit_once, submit_and_wait], ids=["skips", "waits"])
def test_of_what_meets_a_cancel(duel: Duel, submit: Any) -> None:
    scene = duel.make()
    assert any(recorded(partial(duel.act, scene, submit)).written.values())


@each_duel
def test_of_a_cancel(duel: Duel) -> None:
    scene = duel.make()
    assert recorded(partial(duel.cancel, scene)).written[RUNS]


def forest() -> list[Scene]:
    """Three families, in which the parent may have the larger id."""
    return insert_family(None, 0, 1, None, 3, 3, None, 6, 7, parked_ones=9)


def canceled_with_cleanups() -> Scene:
    run = insert_run(id=UUID(int=2**128 - 1))
    WorkflowRun.objects.cancel(run.run_id)
    for number in range(3):
        cleanup = insert_run(id=UUID(int=number + 1), cleanup_of_id=run.run_id)
        WorkflowRun.objects.cancel(cleanup.run_id)
    return run


def undoable() -> Scene:
    """A run with a hook, with a step that can be undone, and one that is in flight."""
    scene = held_run_with_step()
    done = {"status": StepStatus.COMPLETED, "finished_at": timezone.now(), "has_undo": True}
    StepAttempt.objects.create(
        workflow_run_id=scene.run_id, step_name="done", kind=StepKind.FUNCTION, **done
    )
    WorkflowRun.objects.filter(pk=scene.run_id).update(has_cancel_hook=True)
    StepAttempt.objects.filter(pk=scene.attempt_id).update(has_undo=True)
    return scene


def ended_long_ago() -> list[Scene]:
    """A parent with children, one of them with a clean-up."""
    family = insert_family(None, 0, 0, parked_ones=3)
    WorkflowRun.objects.all().cancel_active()
    cleanup = insert_run(cleanup_of_id=family[1].run_id)
    WorkflowRun.objects.cancel(cleanup.run_id)
    return family


def waiting_for_one_signal() -> list[Scene]:
    scenes = [waiting_run() for _ in range(3)]
    context = {"kind": "signal-wait", "signal": "all", "timeoutAt": "2999-01-01T00:00:00.000Z"}
    StepAttempt.objects.update(context=context)
    return scenes


def keep_signal() -> None:
    BufferedSignal.objects.create(signal="all", data=None)


# --- people's verbs


def cancel_a_forest() -> Callable[[], object]:
    forest()
    return lambda: WorkflowRun.objects.order_by("?").cancel_active(cascade=True)


def cancel_what_can_be_undone() -> Callable[[], object]:
    scene = undoable()
    return lambda: WorkflowRun.objects.cancel(scene.run_id)


def retry() -> Callable[[], object]:
    scene = canceled_with_cleanups()
    return lambda: WorkflowRun.objects.retry(scene.run_id)


def send_to_many() -> Callable[[], object]:
    waiting_for_one_signal()
    return lambda: send_signal("all", idempotency_key="once")


def send_to_nobody() -> Callable[[], object]:
    return lambda: send_signal("all", buffered=True)


def start_once() -> Callable[[], object]:
    new = NewRun(workflow_name="new", version=None, input=None)
    return lambda: enqueue.insert_run_once(new, "key", using="default")


def prune() -> Callable[[], object]:
    ended_long_ago()
    before = clock.read("default") + timedelta(minutes=1)
    return lambda: list(Retention(using="default", finished_before=before).batches())


# --- workers' verbs


def late_outcome() -> Callable[[], object]:
    scene = undoable()
    WorkflowRun.objects.cancel(scene.run_id)
    complete_step = next(duel.act for duel in DUELS if duel.name == "step result")
    return partial(complete_step, scene, submit_once)


def fail_below_a_parent() -> Callable[[], object]:
    _, child = insert_family(None, 0, parked_ones=1)
    fail = RunFailed(lease=child.lease, parent_run_id=child.parent_id, error="{}")
    return partial(submit_once, fail)


def send_from_a_step() -> Callable[[], object]:
    waiting_for_one_signal()
    scene = held_run()
    sent = SignalSent(
        lease=scene.lease, attempt_id=uuid4(), step_name="send", signal="all", data=None
    )
    return partial(submit_and_wait, sent)


def take_a_kept_signal() -> Callable[[], object]:
    keep_signal()
    scene = held_run()
    wait = SignalWaitStarted(
        lease=scene.lease, attempt_id=uuid4(), step_name="wait", signal="all", timeout=None
    )
    return partial(submit_once, wait)


def time_out() -> Callable[[], object]:
    scene = waiting_run()
    WorkflowRun.objects.update(worker_id=scene.lease.worker_id)
    return partial(submit_once, WaitTimedOut(lease=scene.lease, attempt_id=scene.attempt_id))


def deliver_kept() -> Callable[[], object]:
    waiting_for_one_signal()
    keep_signal()
    return lambda: signalling.deliver_buffered("default")


def sweep_children() -> Callable[[], object]:
    insert_family(None, 0, 1, parked_ones=3)
    WorkflowRun.objects.update(deadline_at=timezone.now() - timedelta(seconds=1))
    return lambda: sweeps.fail_overdue(store_for("default"))


def put_back() -> Callable[[], object]:
    due = {"worker_id": None, "available_at": timezone.now(), "status": RunStatus.PENDING}
    WorkflowRun.objects.bulk_create([new_run(**due) for _ in range(3)])
    return lambda: sweeps.put_back_unknown(store_for("default"), [])


VERBS: Final = [
    cancel_a_forest,
    cancel_what_can_be_undone,
    retry,
    send_to_many,
    start_once,
    prune,
    late_outcome,
    fail_below_a_parent,
    send_from_a_step,
    take_a_kept_signal,
    time_out,
    deliver_kept,
    sweep_children,
    put_back,
]


@pytest.mark.parametrize("prepare", VERBS, ids=lambda prepare: prepare.__name__)
def test_of_every_other_verb(prepare: Callable[[], Callable[[], object]]) -> None:
    assert any(recorded(prepare()).written.values())
