"""What a cancel can meet: the rival's action, the run it needs, and the judge.

Each duel makes its own run, lets the rival act on it while somebody cancels it, and judges.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from django.db import DEFAULT_DB_ALIAS

from django_openworkflow import send_signal
from django_openworkflow.models import WorkflowRun
from django_openworkflow.states import StepKind
from django_openworkflow.store import sweeps
from django_openworkflow.store.base import ClaimRequest
from django_openworkflow.store.factory import store_for
from django_openworkflow.store.operations import (
    RunCompleted,
    RunFailed,
    RunParked,
    RunReleased,
    RunRescheduled,
    SignalSent,
    SleepStarted,
    StepCompleted,
    StepFailed,
    StepStarted,
)
from tests.races import judges, scenes

if TYPE_CHECKING:
    from uuid import UUID

    from django_openworkflow.store.operations import ClaimedRun, Lease, Verdict
    from tests.races.rivals import Ending
    from tests.races.scenes import Scene, Submit


def cancel_run(scene: Scene) -> WorkflowRun:
    return WorkflowRun.objects.cancel(scene.run_id, reason="race")


@dataclass(frozen=True)
class Duel:
    """A rival's action against a cancel of the same run."""

    name: str
    make: Callable[[], Scene]
    act: Callable[[Scene, Submit], Any]
    judge: Callable[[Scene, Ending, Ending], str]
    rarity: int = 1  # one round in so many
    cancel: Callable[[Scene], Any] = cancel_run
    fewest_statements: int = 4  # of either side: as many schedules there are at least

    def __str__(self) -> str:
        return self.name


def claim(scene: Scene, _submit: Submit) -> Any:
    known = [(str(scene.run_id), None)]  # every run has a workflow of its own
    request = ClaimRequest(worker_name="rival", limit=1, lease_seconds=30, workflows=known)
    return store_for(DEFAULT_DB_ALIAS).claim(request)


def start(scene: Scene, submit: Submit) -> Verdict:
    return submit(
        StepStarted(
            lease=scene.lease,
            attempt_id=scene.attempt_id,
            step_name="charge",
            kind=StepKind.FUNCTION,
        )
    )


def nap(scene: Scene) -> SleepStarted:
    return SleepStarted(
        lease=scene.lease,
        attempt_id=scene.attempt_id,
        step_name="nap",
        duration=timedelta(hours=1),
    )


def sleep(scene: Scene, submit: Submit) -> Verdict:
    return submit(nap(scene))


def step_completed(scene: Scene) -> StepCompleted:
    return StepCompleted(lease=scene.lease, attempt_id=scene.attempt_id, output='{"kept":1}')


def complete_step(scene: Scene, submit: Submit) -> Verdict:
    return submit(step_completed(scene))


def run_completed(scene: Scene) -> RunCompleted:
    return RunCompleted(lease=scene.lease, parent_run_id=scene.parent_id, output='{"ok":1}')


def complete(scene: Scene, submit: Submit) -> Verdict:
    return submit(run_completed(scene))


def complete_all(scene: Scene, submit: Submit) -> Verdict:
    return submit(step_completed(scene), run_completed(scene))


def release(scene: Scene, submit: Submit) -> Verdict:
    return submit(RunReleased(lease=scene.lease))


def beat(scene: Scene, _submit: Submit) -> dict[Lease, Verdict]:
    return store_for(DEFAULT_DB_ALIAS).extend([scene.lease], 30)


def send_to_it(scene: Scene, _submit: Submit) -> list[UUID]:
    return send_signal(str(scene.run_id), {"ok": True})


def send_from_it(scene: Scene, submit: Submit) -> Verdict:
    receiver = str(scene.family[0].run_id)
    return submit(
        SignalSent(
            lease=scene.lease,
            attempt_id=scene.attempt_id,
            step_name="send",
            signal=receiver,
            data=None,
        )
    )


def sweep_deadlines(_scene: Scene, _submit: Submit) -> list[UUID]:
    return sweeps.fail_overdue(store_for(DEFAULT_DB_ALIAS))


def sweep_poison(_scene: Scene, _submit: Submit) -> list[UUID]:
    return sweeps.fail_poisoned(store_for(DEFAULT_DB_ALIAS))


def cancel_too(scene: Scene, _submit: Submit) -> WorkflowRun:
    return WorkflowRun.objects.cancel(scene.run_id, reason="rival")


def fail_step(scene: Scene, submit: Submit) -> Verdict:
    error = '{"message":"declined"}'
    return submit(StepFailed(lease=scene.lease, attempt_id=scene.attempt_id, error=error))


def park(scene: Scene, submit: Submit) -> Verdict:
    return submit(RunParked(lease=scene.lease, waits=(nap(scene),)))


def reschedule(scene: Scene, submit: Submit) -> Verdict:
    return submit(
        RunRescheduled(
            lease=scene.lease,
            error='{"message":"later"}',
            delay=timedelta(seconds=1),
            is_failure=True,
        )
    )


def fail(scene: Scene, submit: Submit) -> Verdict:
    error = '{"message":"no"}'
    return submit(RunFailed(lease=scene.lease, parent_run_id=scene.parent_id, error=error))


def take_over(scene: Scene) -> list[ClaimedRun]:
    """Another worker claims the run, whose lease has run out."""
    known = [(str(scene.run_id), None)]
    request = ClaimRequest(worker_name="heir", limit=1, lease_seconds=30, workflows=known)
    return store_for(DEFAULT_DB_ALIAS).claim(request)


RARE: Final = 5  # in random races; all schedules are gone through all the same

DUELS: Final = [
    # What nobody has claimed is canceled by one statement, after the look at the run.
    Duel("claim", scenes.due_run, claim, judges.claim, fewest_statements=2),
    Duel("step start", scenes.held_run, start, judges.started),
    Duel("step result", scenes.held_run_with_step, complete_step, judges.completed_step),
    Duel("park", scenes.held_run, park, judges.started),
    Duel("retry", scenes.held_run, reschedule, judges.rescheduled),
    Duel("complete", scenes.held_run, complete, judges.completed),
    Duel("fail", scenes.held_run, fail, judges.failed),
    Duel("second cancel", scenes.held_run, cancel_too, judges.second_cancel),
    Duel("signal", scenes.waiting_run, send_to_it, judges.signal),
    Duel("signal sent", scenes.run_that_sends, send_from_it, judges.sent, RARE),
    Duel("step failure", scenes.held_run_with_step, fail_step, judges.failed_step, RARE),
    Duel("sleep start", scenes.held_run, sleep, judges.started, RARE),
    Duel("release", scenes.held_run, release, judges.always_canceled, RARE),
    Duel("last step", scenes.held_run_with_step, complete_all, judges.last_step, RARE),
    Duel("heartbeat", scenes.held_run, beat, judges.heartbeat, RARE),
    Duel("deadline", scenes.overdue_run, sweep_deadlines, judges.sweep, RARE),
    Duel("poison pill", scenes.poisoned_run, sweep_poison, judges.sweep, RARE),
]

# A worker that was thought dead against the one that takes its run over.
TAKE_OVERS: Final = [
    Duel("zombie starts", scenes.expired_run, start, judges.zombie, RARE, cancel=take_over),
    Duel("zombie parks", scenes.expired_run, park, judges.zombie, RARE, cancel=take_over),
    Duel("zombie completes", scenes.expired_run, complete, judges.zombie, RARE, cancel=take_over),
    Duel("zombie beats", scenes.expired_run, beat, judges.zombie, RARE, cancel=take_over),
]
