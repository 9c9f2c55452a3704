"""What the worker of a canceled run may still write, and what becomes of its waits."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from django.utils import timezone

from django_openworkflow.models import StepAttempt, WorkflowRun
from django_openworkflow.states import StepKind, StepStatus
from django_openworkflow.store.base import ClaimRequest, Store
from django_openworkflow.store.operations import (
    Lease,
    Operation,
    RunCompleted,
    RunFailed,
    RunParked,
    RunReleased,
    RunRescheduled,
    SleepStarted,
    StepCompleted,
    StepFailed,
    StepStarted,
    Verdict,
)
from tests.cancelling.scenes import (
    ACTIVE_TRAITS,
    make,
    row,
)
from tests.factories import (
    SignalDeliveryFactory,
    StepAttemptFactory,
)

pytestmark = pytest.mark.django_db


def claim(store: Store, run: WorkflowRun) -> Lease:
    """Claim this run, which is the only one that is due."""
    request = ClaimRequest(
        worker_name="worker", limit=10, lease_seconds=30, workflows=[(run.workflow_name, None)]
    )
    (claimed,) = store.claim(request)
    assert claimed.lease.run_id == run.pk
    return claimed.lease


def started(lease: Lease, attempt_id: UUID, name: str = "charge") -> StepStarted:
    return StepStarted(lease=lease, attempt_id=attempt_id, step_name=name, kind=StepKind.FUNCTION)


def sleeping(lease: Lease) -> SleepStarted:
    return SleepStarted(
        lease=lease, attempt_id=uuid4(), step_name="nap", duration=timedelta(hours=1)
    )


LATE: dict[str, Callable[[Lease], Operation]] = {
    "step started": lambda lease: started(lease, uuid4(), "another"),
    "step resumed": lambda lease: StepStarted(
        lease=lease,
        attempt_id=StepAttempt.objects.get().pk,
        step_name="charge",
        kind=StepKind.FUNCTION,
        resumed=True,
    ),
    "sleep started": sleeping,
    "run completed": lambda lease: RunCompleted(lease=lease, parent_run_id=None, output='"late"'),
    "run failed": lambda lease: RunFailed(lease=lease, parent_run_id=None, error="{}"),
    "run parked": lambda lease: RunParked(
        lease=lease, wake_at=timezone.now() + timedelta(hours=1), waits=(sleeping(lease),)
    ),
    "run rescheduled": lambda lease: RunRescheduled(
        lease=lease, error="{}", delay=timedelta(seconds=1), is_failure=True
    ),
    "run released": lambda lease: RunReleased(lease=lease),
}


class TestTheWorkerOfACanceledRun:
    @pytest.mark.parametrize("late", LATE.values(), ids=LATE)
    @pytest.mark.parametrize("wait", [False, True])
    def test_writes_nothing_more(
        self, store: Store, late: Callable[[Lease], Operation], *, wait: bool
    ) -> None:
        run = make("pending")
        lease = claim(store, run)
        store.apply([started(lease, uuid4())])
        run.cancel()
        before, steps = row(run), list(StepAttempt.objects.values())
        (receipt,) = store.apply([late(lease)], wait=wait)
        assert receipt.verdict is Verdict.CANCELED
        assert row(run) == before
        assert list(StepAttempt.objects.values()) == steps

    @pytest.mark.parametrize("wait", [False, True])
    def test_still_records_how_the_step_in_flight_went_well(
        self, store: Store, *, wait: bool
    ) -> None:
        run, attempt_id = make("pending"), uuid4()
        lease = claim(store, run)
        store.apply([started(lease, attempt_id)])
        run.cancel()
        before = row(run)
        done = StepCompleted(lease=lease, attempt_id=attempt_id, output='{"charged":7}')
        assert store.apply([done], wait=wait)[0].verdict is Verdict.CANCELED
        attempt = StepAttempt.objects.get()
        assert (attempt.status, attempt.output) == ("completed", {"charged": 7})
        assert attempt.finished_at is not None
        assert row(run) == before

    def test_still_records_how_the_step_in_flight_failed(self, store: Store) -> None:
        run, attempt_id = make("pending"), uuid4()
        lease = claim(store, run)
        store.apply([started(lease, attempt_id)])
        run.cancel()
        before = row(run)
        failed = StepFailed(lease=lease, attempt_id=attempt_id, error='{"message":"declined"}')
        assert store.apply([failed])[0].verdict is Verdict.CANCELED
        attempt = StepAttempt.objects.get()
        assert (attempt.status, attempt.error) == ("failed", {"message": "declined"})
        assert row(run) == before

    def test_keeps_the_first_of_two_outcomes(self, store: Store) -> None:
        run, attempt_id = make("pending"), uuid4()
        lease = claim(store, run)
        store.apply([started(lease, attempt_id)])
        run.cancel()
        store.apply([StepCompleted(lease=lease, attempt_id=attempt_id, output="1")])
        store.apply([StepCompleted(lease=lease, attempt_id=attempt_id, output="2")])
        store.apply([StepFailed(lease=lease, attempt_id=attempt_id, error="{}")])
        attempt = StepAttempt.objects.get()
        assert (attempt.status, attempt.output, attempt.error) == ("completed", 1, None)

    def test_cannot_record_a_step_that_another_claim_took_over(self, store: Store) -> None:
        run, attempt_id = make("pending"), uuid4()
        zombie = claim(store, run)
        store.apply([started(zombie, attempt_id)])
        WorkflowRun.objects.filter(pk=run.pk).update(
            available_at=timezone.now() - timedelta(seconds=1)
        )
        heir = claim(store, run)
        resumed = StepStarted(
            lease=heir,
            attempt_id=attempt_id,
            step_name="charge",
            kind=StepKind.FUNCTION,
            resumed=True,
        )
        assert store.apply([resumed])[0].verdict is Verdict.ACCEPTED
        run.cancel()
        store.apply([StepCompleted(lease=zombie, attempt_id=attempt_id, output='"zombie"')])
        assert StepAttempt.objects.get().status == "running"
        store.apply([StepCompleted(lease=heir, attempt_id=attempt_id, output='"heir"')])
        assert StepAttempt.objects.get().output == "heir"

    def test_cannot_complete_a_step_twice_by_being_late(self, store: Store) -> None:
        """Two attempts of one step: the second result would break a constraint, so it is left."""
        run, attempt_id = make("pending"), uuid4()
        lease = claim(store, run)
        store.apply([started(lease, attempt_id)])
        StepAttemptFactory.create(workflow_run=run, step_name="charge", completed=True)
        run.cancel()
        late = StepCompleted(lease=lease, attempt_id=attempt_id, output="2")
        assert store.apply([late])[0].verdict is Verdict.CANCELED
        assert StepAttempt.objects.completed().count() == 1

    def test_cannot_reopen_a_wait_that_the_cancel_closed(self, store: Store) -> None:
        run = make("pending")
        lease = claim(store, run)
        nap = sleeping(lease)
        store.apply([nap])
        run.cancel()
        store.apply([StepCompleted(lease=lease, attempt_id=nap.attempt_id)])
        assert StepAttempt.objects.get().status == "failed"

    def test_is_told_by_its_heartbeat(self, store: Store) -> None:
        run = make("pending")
        lease = claim(store, run)
        assert store.extend([lease], 30) == {lease: Verdict.ACCEPTED}
        run.cancel()
        before = row(run)
        assert store.extend([lease], 30) == {lease: Verdict.CANCELED}
        assert row(run) == before

    @pytest.mark.parametrize("trait", ACTIVE_TRAITS)
    def test_never_claims_it_again(self, store: Store, trait: str) -> None:
        run = make(trait)
        run.cancel()
        request = ClaimRequest(
            worker_name="worker", limit=10, lease_seconds=30, workflows=[(run.workflow_name, None)]
        )
        far = timezone.now() + timedelta(days=400)
        assert store.claim(request) == []
        assert store.claim(request, now=far) == []
        assert row(run)["status"] == "canceled"


class TestOpenWaits:
    @pytest.mark.parametrize("kind", ["sleep", "signal_wait", "workflow", "signal_send"])
    def test_are_closed(self, kind: str) -> None:
        run = make("parked")
        wait = StepAttemptFactory.create(workflow_run=run, **{kind: True})
        run.cancel()
        wait.refresh_from_db()
        assert wait.status == "failed"
        assert wait.finished_at is not None
        assert isinstance(wait.error, dict)
        assert "canceled" in wait.error["message"]
        assert wait.output is None

    def test_a_function_step_stays_open_for_its_outcome(self) -> None:
        run = make("running")
        step = StepAttemptFactory.create(workflow_run=run)
        run.cancel()
        step.refresh_from_db()
        assert (step.status, step.finished_at) == ("running", None)

    @pytest.mark.parametrize("state", ["completed", "failed", "succeeded_legacy"])
    def test_what_has_ended_stays_as_it_is(self, state: str) -> None:
        run = make("parked")
        step = StepAttemptFactory.create(workflow_run=run, sleep=True, **{state: True})
        before = StepAttempt.objects.values().get(pk=step.pk)
        run.cancel()
        assert StepAttempt.objects.values().get(pk=step.pk) == before

    def test_a_later_signal_finds_no_receiver(self) -> None:
        """The receivers of a signal are the running waits for it; the original reads them so."""
        run, other = make("parked"), make("parked")
        StepAttemptFactory.create(workflow_run=run, signal_wait=True)
        theirs = StepAttemptFactory.create(workflow_run=other, signal_wait=True)
        receivers = StepAttempt.objects.filter(
            kind=StepKind.SIGNAL_WAIT, status=StepStatus.RUNNING, context__signal="approval"
        )
        assert receivers.count() == 2
        WorkflowRun.objects.filter(pk=run.pk).cancel_active()
        assert list(receivers) == [theirs]

    def test_a_delivered_signal_does_not_keep_the_run_alive(self) -> None:
        delivery = SignalDeliveryFactory.create()
        delivery.workflow_run.cancel()
        assert row(delivery.workflow_run)["status"] == "canceled"
        assert StepAttempt.objects.get(pk=delivery.step_attempt_id).status == "failed"

    def test_of_other_runs_stay_open(self) -> None:
        run = make("parked")
        others = StepAttemptFactory.create_batch(3, sleep=True)
        run.cancel()
        statuses = StepAttempt.objects.filter(pk__in=[step.pk for step in others])
        assert set(statuses.values_list("status", flat=True)) == {"running"}
