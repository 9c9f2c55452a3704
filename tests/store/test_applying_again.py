"""A turn whose reply was lost: what is issued once more is recognized, and written once."""

from __future__ import annotations

import pytest
from django.db import IntegrityError

from django_openworkflow.identifiers import new_id
from django_openworkflow.models import BufferedSignal, SignalDelivery, StepAttempt, WorkflowRun
from django_openworkflow.store.operations import StepCompleted, StepFailed, StepStarted, Verdict
from tests.engine.turns import ERROR, OPERATIONS, held, rows, verdict, write
from tests.factories import BufferedSignalFactory, StepAttemptFactory

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_whose_reply_was_lost_can_be_issued_again(name: str) -> None:
    _, attempt, lease = held()
    operation = OPERATIONS[name](lease, attempt.pk)
    assert verdict(operation) is Verdict.ACCEPTED
    before = rows(but="updated_at")

    assert verdict(operation) is Verdict.ACCEPTED
    assert rows(but="updated_at") == before


@pytest.mark.parametrize("last", ["completed", "failed", "rescheduled", "parked", "released"])
def test_a_step_and_the_end_of_its_pass_can_be_issued_again_together(last: str) -> None:
    _, attempt, lease = held()
    StepAttempt.objects.filter(pk=attempt.pk).update(worker_id=lease.worker_id)
    pair = [OPERATIONS[name](lease, attempt.pk) for name in ("step-completed", last)]
    assert [receipt.verdict for receipt in write(*pair)] == [Verdict.ACCEPTED] * 2
    before = rows()

    assert [receipt.verdict for receipt in write(*pair)] == [Verdict.ACCEPTED] * 2
    assert rows() == before


@pytest.mark.parametrize("name", ["rescheduled", "parked", "released"])
def test_what_gave_up_the_lease_is_recognized_when_another_claim_holds_the_run(name: str) -> None:
    run, attempt, lease = held()
    operation = OPERATIONS[name](lease, attempt.pk)
    write(operation)
    another = {"status": "running", "worker_id": "another:claim"}
    WorkflowRun.objects.filter(pk=run.pk).update(**another)
    before = rows()

    assert verdict(operation) is Verdict.ACCEPTED
    assert verdict(OPERATIONS["step-completed"](lease, attempt.pk)) is Verdict.LOST
    assert verdict(OPERATIONS["start"](lease, attempt.pk)) is Verdict.LOST
    assert rows() == before


@pytest.mark.parametrize("name", ["completed", "failed"])
def test_an_end_after_the_lease_was_given_up_is_no_repetition(name: str) -> None:
    """A drain has released the run although its step was in flight; then the step comes home."""
    _, attempt, lease = held()
    write(OPERATIONS["released"](lease, attempt.pk))
    before = rows()

    assert verdict(OPERATIONS["step-completed"](lease, attempt.pk)) is Verdict.LOST
    assert verdict(OPERATIONS[name](lease, attempt.pk)) is Verdict.LOST
    assert rows() == before


def test_a_step_taken_over_is_counted_as_interrupted_once() -> None:
    _, attempt, lease = held()
    StepAttempt.objects.filter(pk=attempt.pk).update(worker_id="dead:claim")
    for _ in range(2):
        assert verdict(OPERATIONS["resume"](lease, attempt.pk)) is Verdict.ACCEPTED
    attempt.refresh_from_db()

    assert (attempt.worker_id, attempt.interruptions) == (lease.worker_id, 1)


def test_a_signal_sent_to_nobody_is_not_sent_again_to_who_waits_by_then() -> None:
    _, attempt, lease = held()
    operation = OPERATIONS["signal-sent"](lease, attempt.pk)
    (first,) = write(operation)
    StepAttemptFactory.create(signal_wait=True)

    assert (first.value, write(operation)[0].value) == ([], [])
    assert not SignalDelivery.objects.exists()


def test_a_wait_takes_one_buffered_signal_however_often_it_begins() -> None:
    _, attempt, lease = held()
    kept = [BufferedSignalFactory.create(data=number) for number in range(2)]
    operation = OPERATIONS["wait"](lease, attempt.pk)
    for _ in range(2):
        assert verdict(operation) is Verdict.ACCEPTED

    assert SignalDelivery.objects.get().data == 0
    assert BufferedSignal.objects.get() == kept[1]


@pytest.mark.parametrize("fails", [False, True])
def test_a_start_that_the_server_lost_in_a_crash_is_written_with_the_end(*, fails: bool) -> None:
    """A start is committed without waiting for the disk; that of an end is waited for."""
    run, _, lease = held()
    start = StepStarted(
        lease=lease, attempt_id=new_id(), step_name="lost", kind="function", has_undo=True
    )
    write(start)
    StepAttempt.objects.filter(pk=start.attempt_id).delete()
    if fails:
        write(StepFailed(lease=lease, attempt_id=start.attempt_id, error=ERROR, started=start))
    else:
        write(StepCompleted(lease=lease, attempt_id=start.attempt_id, output="1", started=start))
    attempt = StepAttempt.objects.get(pk=start.attempt_id)
    expected = ("failed", None) if fails else ("completed", 1)
    assert (attempt.status, attempt.output) == expected
    assert (attempt.step_name, attempt.kind, attempt.has_undo) == ("lost", "function", True)
    assert (attempt.workflow_run_id, attempt.worker_id) == (run.pk, lease.worker_id)


def test_the_first_outcome_of_an_attempt_is_kept() -> None:
    _, attempt, lease = held()
    write(StepCompleted(lease=lease, attempt_id=attempt.pk, output='"first"'))
    write(
        StepCompleted(lease=lease, attempt_id=attempt.pk, output='"second"'),
        StepFailed(lease=lease, attempt_id=attempt.pk, error=ERROR),
    )
    attempt.refresh_from_db()

    assert (attempt.status, attempt.output, attempt.error) == ("completed", "first", None)


def test_a_step_cannot_be_completed_twice_and_the_turn_writes_nothing_then() -> None:
    run, attempt, lease = held()
    StepAttemptFactory.create(workflow_run=run, step_name="body", completed=True)
    before = rows()
    with pytest.raises(IntegrityError):
        write(
            OPERATIONS["start"](lease, attempt.pk),
            OPERATIONS["step-completed"](lease, attempt.pk),
        )

    assert rows() == before


def test_after_an_operation_that_gave_up_the_run_the_rest_of_the_turn_is_lost() -> None:
    _, attempt, lease = held()
    names = ["step-completed", "parked", "start", "completed"]

    receipts = write(*(OPERATIONS[name](lease, attempt.pk) for name in names))
    assert [receipt.verdict for receipt in receipts] == [
        Verdict.ACCEPTED,
        Verdict.ACCEPTED,
        Verdict.LOST,
        Verdict.LOST,
    ]
