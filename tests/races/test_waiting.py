"""Who waits for whom, as on a stage: one holds the row, the other is seen to wait or not to wait.

People wait for a worker's turn, which is short. Workers never wait for people: an open transaction
of somebody's costs the runs in it a little time, and nobody else anything.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from django_openworkflow import send_signal
from django_openworkflow.exceptions import RunNotCancelable, RunNotRetryable
from django_openworkflow.models import StepAttempt, WorkflowRun
from django_openworkflow.states import RunStatus
from django_openworkflow.store.operations import Verdict
from tests.races.duels import DUELS, Duel, cancel_run, complete_step, run_completed
from tests.races.families import FAMILY_DUELS, cascade, insert_family, statuses
from tests.races.rivals import Ending, Rival, ending, held_open, race, rivals
from tests.races.scenes import held_run, held_run_with_step, submit_once, waiting_run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django_openworkflow.store.base import Store
    from tests.races.witness import Witness

pytestmark = race


@pytest.fixture
def worker() -> Iterator[Rival]:
    with rivals("worker") as (thread,):
        yield thread


@pytest.fixture
def caller() -> Iterator[Rival]:
    with rivals("caller") as (thread,):
        yield thread


@pytest.mark.parametrize("duel", [*DUELS, *FAMILY_DUELS], ids=str)
class TestACancelThatMeetsAnOpenTurn:
    def test_waits_and_then_sees_what_was_committed(
        self, duel: Duel, worker: Rival, caller: Rival, witness: Witness
    ) -> None:
        scene = duel.make()
        with held_open(worker, partial(duel.act, scene, submit_once)) as turn:
            cancel = caller.do(duel.cancel, scene)
            caller.wait_until_blocked(cancel)
            rival = Ending(value=turn.end(commit=True))
            duel.judge(scene, rival, ending(cancel))

    def test_waits_and_wins_when_the_turn_comes_to_nothing(
        self, duel: Duel, worker: Rival, caller: Rival, witness: Witness
    ) -> None:
        scene = duel.make()
        with held_open(worker, partial(duel.act, scene, submit_once)) as turn:
            cancel = caller.do(duel.cancel, scene)
            caller.wait_until_blocked(cancel)
            turn.end(commit=False)
            ending(cancel).told()
        assert scene.row["status"] == RunStatus.CANCELED
        assert scene.row["cancel_reason"] == "race"


@pytest.mark.parametrize(
    "duel", [duel for duel in DUELS if duel.name not in ("second cancel", "signal")], ids=str
)
class TestATurnThatMeetsAnOpenCancel:
    def test_does_not_wait(
        self, duel: Duel, worker: Rival, caller: Rival, witness: Witness
    ) -> None:
        scene = duel.make()
        with held_open(caller, partial(duel.cancel, scene)) as cancel:
            act = worker.do(duel.act, scene, submit_once)
            meanwhile = ending(act)  # it ends, though the cancel is still open
            assert meanwhile.told() in (Verdict.BUSY, [], {scene.lease: Verdict.BUSY})
            canceled = Ending(value=cancel.end(commit=True))
            rival = ending(worker.do(duel.act, scene, submit_once))
            duel.judge(scene, rival, canceled)

    def test_loses_nothing_when_the_cancel_comes_to_nothing(
        self, duel: Duel, worker: Rival, caller: Rival
    ) -> None:
        scene = duel.make()
        with held_open(caller, partial(duel.cancel, scene)) as cancel:
            ending(worker.do(duel.act, scene, submit_once)).told()
            cancel.end(commit=False)
        after = ending(worker.do(duel.act, scene, submit_once)).told()
        assert after not in (Verdict.BUSY, Verdict.CANCELED, Verdict.LOST, [])
        assert scene.row["status"] != RunStatus.CANCELED


class TestTwoCancels:
    def test_the_second_waits_and_is_told_of_the_first(self, caller: Rival, worker: Rival) -> None:
        scene = held_run()
        with held_open(worker, partial(_cancel, scene.run_id, reason="first")) as first:
            second = caller.do(_cancel, scene.run_id, reason="second")
            caller.wait_until_blocked(second)
            first.end(commit=True)
            assert ending(second).told().cancel_reason == "first"

    def test_the_second_counts_when_the_first_comes_to_nothing(
        self, caller: Rival, worker: Rival
    ) -> None:
        scene = held_run()
        with held_open(worker, partial(_cancel, scene.run_id, reason="first")) as first:
            second = caller.do(_cancel, scene.run_id, reason="second")
            caller.wait_until_blocked(second)
            first.end(commit=False)
            assert ending(second).told().cancel_reason == "second"

    def test_of_many_wait_in_one_order(self, caller: Rival, worker: Rival) -> None:
        """Both come to the row in the middle first, yet neither holds what the other needs."""
        scenes = sorted((held_run() for _ in range(4)), key=lambda scene: scene.run_id)
        low, high = scenes[:3], scenes[1:]
        with held_open(worker, partial(_cancel_all, [scene.run_id for scene in low])) as first:
            second = caller.do(_cancel_all, [scene.run_id for scene in high])
            caller.wait_until_blocked(second)
            outcome = first.end(commit=True)
            assert outcome.canceled == [scene.run_id for scene in low]
            late = ending(second).told()
        assert late.canceled == [scenes[3].run_id]
        assert late.already_canceled == [scene.run_id for scene in scenes[1:3]]


class TestFamilies:
    def test_a_cascade_waits_for_a_child_that_completes(self, caller: Rival, worker: Rival) -> None:
        parent, child = insert_family(None, 0, parked_ones=1)
        with held_open(worker, partial(submit_once, run_completed(child))) as turn:
            canceling = caller.do(cascade, parent)
            caller.wait_until_blocked(canceling)
            assert turn.end(commit=True) is Verdict.ACCEPTED
            assert ending(canceling).told().children_canceled == []
        assert statuses(parent, child) == ["canceled", "completed"]

    def test_a_child_that_completes_does_not_wait_for_an_open_cancel_of_its_parent(
        self, caller: Rival, worker: Rival
    ) -> None:
        parent, child = insert_family(None, 0, parked_ones=1)
        with held_open(caller, partial(cancel_run, parent)) as canceling:
            done = worker.do(submit_once, run_completed(child))
            assert ending(done).told() is Verdict.BUSY
            canceling.end(commit=True)
        assert submit_once(run_completed(child)) is Verdict.ACCEPTED
        assert statuses(parent, child) == ["canceled", "completed"]

    def test_a_cancel_of_a_child_waits_for_one_of_its_parent(
        self, caller: Rival, worker: Rival
    ) -> None:
        parent, child = insert_family(None, 0, parked_ones=1)
        with held_open(worker, partial(cascade, parent)) as canceling:
            second = caller.do(_cancel, child.run_id, reason="up")
            caller.wait_until_blocked(second)
            assert canceling.end(commit=True).children_canceled == [child.run_id]
            assert ending(second).told().cancel_reason == "race"


class TestSignals:
    def test_a_sender_waits_for_an_open_cancel_and_finds_nobody(
        self, caller: Rival, worker: Rival
    ) -> None:
        scene = waiting_run()
        with held_open(caller, partial(cancel_run, scene)) as cancel:
            sending = worker.do(send_signal, str(scene.run_id), {"ok": True})
            worker.wait_until_blocked(sending)
            cancel.end(commit=True)
            assert ending(sending).told() == []


class TestRetry:
    def test_is_refused_while_a_late_step_is_still_to_be_undone(
        self, caller: Rival, worker: Rival
    ) -> None:
        """The step in flight completes after the cancel, and its undo gets a run of its own.

        A retry that runs at the same time must not think the step done: it is about to be undone.
        """
        scene = held_run_with_step()
        StepAttempt.objects.filter(pk=scene.attempt_id).update(has_undo=True)
        cancel_run(scene)
        with held_open(worker, partial(complete_step, scene, submit_once)) as turn:
            retrying = caller.do(WorkflowRun.objects.retry, scene.run_id)
            caller.wait_until_blocked(retrying)
            turn.end(commit=True)
            retried = ending(retrying)
        assert WorkflowRun.objects.filter(cleanup_of=scene.run_id).active().exists()
        assert isinstance(retried.error, RunNotRetryable)

    def test_waits_for_an_open_cancel(self, caller: Rival, worker: Rival) -> None:
        scene = held_run()
        with held_open(worker, partial(cancel_run, scene)) as cancel:
            retrying = caller.do(WorkflowRun.objects.retry, scene.run_id)
            caller.wait_until_blocked(retrying)
            cancel.end(commit=True)
            assert ending(retrying).told().status == "pending"

    def test_of_a_run_that_is_not_canceled_after_all(self, caller: Rival, worker: Rival) -> None:
        scene = held_run()
        with held_open(worker, partial(cancel_run, scene)) as cancel:
            retrying = caller.do(WorkflowRun.objects.retry, scene.run_id)
            caller.wait_until_blocked(retrying)
            cancel.end(commit=False)
            assert isinstance(ending(retrying).error, RunNotRetryable)


def test_a_turn_that_may_wait_is_told_of_the_cancel(
    store: Store, caller: Rival, worker: Rival
) -> None:
    """Tests and transaction steps write so: on the thread's own connection, waiting."""
    scene = held_run()
    with held_open(caller, partial(cancel_run, scene)) as cancel:
        done = worker.do(store.apply, [run_completed(scene)], wait=True)
        worker.wait_until_blocked(done)
        cancel.end(commit=True)
        (receipt,) = ending(done).told()
    assert receipt.verdict is Verdict.CANCELED
    with pytest.raises(RunNotCancelable):
        _cancel(_completed_run())


def _completed_run() -> Any:
    scene = held_run()
    assert submit_once(run_completed(scene)) is Verdict.ACCEPTED
    return scene.run_id


def _cancel(run_id: Any, reason: str = "") -> WorkflowRun:
    return WorkflowRun.objects.cancel(run_id, reason=reason)


def _cancel_all(run_ids: list[Any]) -> Any:
    return WorkflowRun.objects.filter(pk__in=run_ids).order_by("?").cancel_active()
