"""Judging a duel: is the row as one of the two orders leaves it, and were both told the truth?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from uuid import uuid4

from django_openworkflow.exceptions import RunNotCancelable
from django_openworkflow.models import SignalDelivery, StepAttempt
from django_openworkflow.states import RunStatus, StepKind
from django_openworkflow.store.operations import StepStarted, Verdict
from tests.races.scenes import submit_once

if TYPE_CHECKING:
    from tests.races.rivals import Ending
    from tests.races.scenes import Scene

# Who was first at the row.
RIVAL: Final = "first"
CANCEL: Final = "second"


def judge_cancel(scene: Scene, cancel: Ending) -> bool:
    """Check that the canceller was told the truth; return whether the run was canceled."""
    row = scene.row
    if isinstance(cancel.error, RunNotCancelable):
        assert row["status"] == cancel.error.status
        assert row["status"] in (RunStatus.COMPLETED, RunStatus.FAILED)
        assert row["cancel_reason"] == ""
        return False
    run = cancel.told()
    assert row["status"] == RunStatus.CANCELED
    assert row["cancel_reason"] == "race"
    assert {name: getattr(run, name) for name in row} == row
    return True


def always_canceled(scene: Scene, rival: Ending, cancel: Ending) -> str:
    """The run ends canceled whoever was first; the rival's write counts only if it was."""
    assert judge_cancel(scene, cancel)
    verdict = rival.told()
    assert verdict in (Verdict.ACCEPTED, Verdict.CANCELED)
    return RIVAL if verdict is Verdict.ACCEPTED else CANCEL


def exclusive(scene: Scene, rival: Ending, cancel: Ending) -> str:
    """Either the rival ended the run, or the canceller did; never both, never neither."""
    verdict = rival.told()
    if judge_cancel(scene, cancel):
        assert verdict is Verdict.CANCELED
        return CANCEL
    assert verdict is Verdict.ACCEPTED
    return RIVAL


def claim(scene: Scene, rival: Ending, cancel: Ending) -> str:
    assert judge_cancel(scene, cancel)
    claimed = rival.told()
    assert [run.lease.run_id for run in claimed] in ([], [scene.run_id])
    assert scene.row["attempts"] == len(claimed)
    for run in claimed:  # whoever claimed it in time can do nothing with it
        step = StepStarted(
            lease=run.lease, attempt_id=uuid4(), step_name="a", kind=StepKind.FUNCTION
        )
        assert submit_once(step) is Verdict.CANCELED
    assert not StepAttempt.objects.filter(workflow_run=scene.run_id).exists()
    return RIVAL if claimed else CANCEL


def started(scene: Scene, rival: Ending, cancel: Ending) -> str:
    winner = always_canceled(scene, rival, cancel)
    attempt = scene.attempt
    assert (attempt is not None) == (winner == RIVAL)
    if attempt is not None and attempt.kind == StepKind.FUNCTION:
        assert attempt.status == "running"  # its body runs: the outcome may still come
    elif attempt is not None:
        assert attempt.status == "failed"  # a wait that the cancel has closed
    return winner


def completed_step(scene: Scene, rival: Ending, cancel: Ending) -> str:
    winner = always_canceled(scene, rival, cancel)
    attempt = scene.attempt
    assert attempt is not None
    assert (attempt.status, attempt.output) == ("completed", {"kept": 1})
    return winner


def failed_step(scene: Scene, rival: Ending, cancel: Ending) -> str:
    winner = always_canceled(scene, rival, cancel)
    attempt = scene.attempt
    assert attempt is not None
    assert (attempt.status, attempt.error) == ("failed", {"message": "declined"})
    return winner


def rescheduled(scene: Scene, rival: Ending, cancel: Ending) -> str:
    winner = always_canceled(scene, rival, cancel)
    row = scene.row
    expected = (1, {"message": "later"}) if winner == RIVAL else (0, None)
    assert (row["failures"], row["error"]) == expected
    return winner


def completed(scene: Scene, rival: Ending, cancel: Ending) -> str:
    winner = exclusive(scene, rival, cancel)
    row = scene.row
    expected = ("completed", {"ok": 1}) if winner == RIVAL else ("canceled", None)
    assert (row["status"], row["output"]) == expected
    return winner


def last_step(scene: Scene, rival: Ending, cancel: Ending) -> str:
    winner = completed(scene, rival, cancel)
    attempt = scene.attempt
    assert attempt is not None
    assert (attempt.status, attempt.output) == ("completed", {"kept": 1})
    return winner


def failed(scene: Scene, rival: Ending, cancel: Ending) -> str:
    winner = exclusive(scene, rival, cancel)
    row = scene.row
    expected = ("failed", {"message": "no"}) if winner == RIVAL else ("canceled", None)
    assert (row["status"], row["error"]) == expected
    return winner


def sweep(scene: Scene, rival: Ending, cancel: Ending) -> str:
    failed = rival.told()
    if judge_cancel(scene, cancel):
        assert failed == []
        return CANCEL
    assert failed == [scene.run_id]
    assert scene.row["status"] == RunStatus.FAILED
    return RIVAL


def second_cancel(scene: Scene, rival: Ending, cancel: Ending) -> str:
    theirs, mine = rival.told(), cancel.told()
    row = scene.row
    assert row["status"] == RunStatus.CANCELED
    for run in (theirs, mine):  # both were shown the cancel that counts, whoever made it
        assert {name: getattr(run, name) for name in row} == row
    assert row["cancel_reason"] in ("rival", "race")
    return RIVAL if row["cancel_reason"] == "rival" else CANCEL


def signal(scene: Scene, rival: Ending, cancel: Ending) -> str:
    """The sender counts the run as a receiver only if the signal came before the cancel."""
    assert judge_cancel(scene, cancel)
    received = rival.told()
    deliveries = SignalDelivery.objects.filter(workflow_run=scene.run_id).count()
    assert (received, deliveries) in (([scene.run_id], 1), ([], 0))
    assert scene.attempt is not None
    assert scene.attempt.status == "failed"
    return RIVAL if received else CANCEL


def sent(scene: Scene, rival: Ending, cancel: Ending) -> str:
    """A canceled run sends nothing; what it sent before has been received."""
    winner = always_canceled(scene, rival, cancel)
    attempt = scene.attempt
    deliveries = SignalDelivery.objects.filter(workflow_run=scene.family[0].run_id).count()
    assert (attempt is not None) == (winner == RIVAL)
    assert deliveries == (1 if winner == RIVAL else 0)
    return winner


def heartbeat(scene: Scene, rival: Ending, cancel: Ending) -> str:
    assert judge_cancel(scene, cancel)
    (verdict,) = rival.told().values()
    assert verdict in (Verdict.ACCEPTED, Verdict.BUSY, Verdict.CANCELED)
    return RIVAL if verdict is Verdict.ACCEPTED else CANCEL


def zombie(scene: Scene, rival: Ending, heir: Ending) -> str:
    """A worker that was too late has lost its lease, and has written nothing."""
    verdict, claimed = rival.told(), heir.told()
    verdict = verdict.get(scene.lease) if isinstance(verdict, dict) else verdict
    row = scene.row
    if not claimed:
        assert verdict is Verdict.ACCEPTED
        return RIVAL
    assert row["worker_id"] == claimed[0].lease.worker_id
    assert (row["status"], row["output"], row["takeovers"]) == ("running", None, row["crashes"])
    if verdict is Verdict.ACCEPTED:  # it was in time with what does not end its lease
        assert row["attempts"] == 2
        return RIVAL
    assert verdict in (Verdict.LOST, Verdict.BUSY)
    assert scene.attempt is None
    return CANCEL
