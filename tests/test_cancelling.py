"""The cancellation rules, row by row and guarantee by guarantee."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth import get_user_model
from django.db import connection, models, transaction
from django.template import Context, Template
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_openworkflow import RunHandle, Step, signals, workflow
from django_openworkflow.exceptions import (
    InvalidInput,
    OpenWorkflowError,
    RunCanceled,
    RunNotCancelable,
    RunNotFound,
    WorkflowCanceled,
)
from django_openworkflow.models import StepAttempt, WorkflowRun
from django_openworkflow.querysets import CancelOutcome
from django_openworkflow.registry import registry
from django_openworkflow.states import CancelSource, RunStatus, StepKind, StepStatus
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
from django_openworkflow.testing import run_until_idle
from tests.factories import (
    ERROR,
    SignalDeliveryFactory,
    StepAttemptFactory,
    WorkflowRunFactory,
    create_many,
)

pytestmark = pytest.mark.django_db

ACTIVE_TRAITS = (
    "pending",
    "scheduled",
    "retrying",
    "running",
    "expired",
    "parked",
    "sleeping_legacy",
)
ENDED_TRAITS = {
    "completed": "completed",
    "succeeded_legacy": "succeeded",
    "failed": "failed",
}


def make(trait: str, **columns: Any) -> WorkflowRun:
    return WorkflowRunFactory.create(**({} if trait == "pending" else {trait: True}), **columns)


def row(run: WorkflowRun) -> dict[str, Any]:
    """All columns as they are in the database."""
    return dict(WorkflowRun._base_manager.values().get(pk=run.pk))


def active_runs() -> Any:
    return WorkflowRun.objects.active()


# --- the doors ----------------------------------------------------------------------------------


def handle_of(run_id: UUID) -> RunHandle[Any]:
    return RunHandle(run_id)


def through_acancel(run: WorkflowRun, **options: Any) -> WorkflowRun:
    return async_to_sync(handle_of(run.pk).acancel)(**options)


DOORS: dict[str, Callable[..., WorkflowRun]] = {
    "manager, run": lambda run, **options: WorkflowRun.objects.cancel(run, **options),
    "manager, UUID": lambda run, **options: WorkflowRun.objects.cancel(run.pk, **options),
    "manager, text": lambda run, **options: WorkflowRun.objects.cancel(str(run.pk), **options),
    "queryset": lambda run, **options: WorkflowRun.objects.all().cancel(run.pk, **options),
    "run": lambda run, **options: run.cancel(**options),
    "handle": lambda run, **options: handle_of(run.pk).cancel(**options),
    "async handle": through_acancel,
}

each_door = pytest.mark.parametrize("cancel", DOORS.values(), ids=DOORS)


@dataclass
class Heard:
    """What a receiver of ``run_canceled`` was told."""

    run_id: UUID
    status: str
    reason: str
    actor: object
    source: str


@pytest.fixture
def heard() -> Iterator[list[Heard]]:
    received: list[Heard] = []

    def listen(sender: object, run: WorkflowRun, **facts: Any) -> None:
        assert sender is WorkflowRun
        facts.pop("signal")
        received.append(Heard(run_id=run.pk, status=run.status, **facts))

    signals.run_canceled.connect(listen)
    yield received
    signals.run_canceled.disconnect(listen)


# --- the table ----------------------------------------------------------------------------------


class TestAnActiveRun:
    @each_door
    @pytest.mark.parametrize("trait", ACTIVE_TRAITS)
    def test_is_canceled(self, trait: str, cancel: Callable[..., WorkflowRun]) -> None:
        run = make(trait, deadline_at=timezone.now() + timedelta(days=1))
        before = row(run)
        returned = cancel(run, reason="duplicate", actor="alice")
        after = row(run)
        assert after == {
            **before,
            "status": "canceled",
            "worker_id": None,
            "available_at": None,
            "finished_at": after["finished_at"],
            "updated_at": after["updated_at"],
            "cancel_reason": "duplicate",
            "cancel_actor": "alice",
            "cancel_source": "api",
        }
        assert after["finished_at"] is not None
        assert after["finished_at"] >= before["created_at"]
        assert after["updated_at"] > before["updated_at"]
        assert {name: getattr(returned, name) for name in after} == after

    @pytest.mark.parametrize("trait", ACTIVE_TRAITS)
    def test_is_canceled_by_a_queryset(self, trait: str) -> None:
        run = make(trait)
        outcome = WorkflowRun.objects.filter(pk=run.pk).cancel_active(reason="all")
        assert outcome == CancelOutcome(canceled=[run.pk])
        assert row(run)["status"] == "canceled"
        assert row(run)["cancel_reason"] == "all"

    def test_needs_neither_reason_nor_actor(self) -> None:
        run = WorkflowRun.objects.cancel(make("running"))
        assert (run.cancel_reason, run.cancel_actor, run.cancel_source) == ("", "", "api")

    def test_keeps_a_user_by_name(self) -> None:
        user = get_user_model().objects.create_user("bob")
        assert make("running").cancel(actor=user).cancel_actor == "bob"
        assert make("running").cancel(actor=7).cancel_actor == "7"

    def test_ends_by_the_clock_of_the_database(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Not by the caller's clock, which may be wrong, nor by that of a long transaction."""
        run = make("running")
        long_ago = datetime(2000, 1, 1, tzinfo=UTC)
        with monkeypatch.context() as patch:
            patch.setattr(timezone, "now", lambda: long_ago)
            WorkflowRun.objects.cancel(run)
        second = make("running")
        WorkflowRun.objects.cancel(second)
        first_end, second_end = row(run)["finished_at"], row(second)["finished_at"]
        assert long_ago < first_end < second_end  # within one transaction of this test

    def test_is_found_canceled_afterwards(self) -> None:
        run, other = make("running"), make("parked")
        run.cancel()
        assert list(WorkflowRun.objects.canceled()) == [run]
        assert list(WorkflowRun.objects.active()) == [other]

    def test_in_another_transaction_order_than_loaded(self) -> None:
        """What the caller's instance says does not matter: the row decides."""
        stale = make("pending")
        WorkflowRun.objects.filter(pk=stale.pk).update(
            status=RunStatus.FAILED, available_at=None, finished_at=timezone.now(), error=ERROR
        )
        assert stale.status == "pending"
        with pytest.raises(RunNotCancelable, match="with status failed"):
            stale.cancel()


class TestACanceledRun:
    @each_door
    def test_stays_as_it_is(
        self,
        cancel: Callable[..., WorkflowRun],
        heard: list[Heard],
        django_capture_on_commit_callbacks: Any,
    ) -> None:
        run = make("canceled")
        before = row(run)
        with django_capture_on_commit_callbacks(execute=True):
            returned = cancel(run, reason="second reason", actor="second actor")
        assert row(run) == before
        assert {name: getattr(returned, name) for name in before} == before
        assert returned.cancel_reason == "first reason"
        assert heard == []

    def test_stays_as_it_is_in_a_queryset(
        self, heard: list[Heard], django_capture_on_commit_callbacks: Any
    ) -> None:
        run = make("canceled")
        before = row(run)
        with django_capture_on_commit_callbacks(execute=True):
            outcome = WorkflowRun.objects.all().cancel_active(reason="second reason")
        assert outcome == CancelOutcome(already_canceled=[run.pk])
        assert row(run) == before
        assert heard == []


class TestARunThatEndedOtherwise:
    @each_door
    @pytest.mark.parametrize(("trait", "status"), ENDED_TRAITS.items())
    @pytest.mark.parametrize("cascade", [False, True])
    def test_is_refused(
        self, trait: str, status: str, cancel: Callable[..., WorkflowRun], *, cascade: bool
    ) -> None:
        run = make(trait)
        child = make("parked", child=True, parent=run)
        before, child_before = row(run), row(child)
        with pytest.raises(RunNotCancelable) as caught:
            cancel(run, reason="too late", cascade=cascade)
        assert str(caught.value) == f"Cannot cancel workflow run {run.pk} with status {status}"
        assert (caught.value.run_id, caught.value.status) == (run.pk, status)
        assert isinstance(caught.value, OpenWorkflowError)
        assert row(run) == before
        assert row(child) == child_before

    @pytest.mark.parametrize(("trait", "status"), ENDED_TRAITS.items())
    def test_is_reported_by_a_queryset(self, trait: str, status: str) -> None:
        run = make(trait)
        before = row(run)
        outcome = WorkflowRun.objects.all().cancel_active(cascade=True)
        assert outcome == CancelOutcome(skipped={run.pk: status})
        assert row(run) == before


class TestNoSuchRun:
    @each_door
    def test_deleted(self, cancel: Callable[..., WorkflowRun]) -> None:
        run = make("running")
        WorkflowRun.objects.filter(pk=run.pk).delete()
        with pytest.raises(RunNotFound) as caught:
            cancel(run)
        assert str(caught.value) == f"Workflow run {run.pk} does not exist"
        assert caught.value.run_id == run.pk

    @pytest.mark.parametrize("given", ["", "7", "no-uuid", "process-order", "{}", "\x00"])
    def test_text_that_is_no_id(self, given: str) -> None:
        with pytest.raises(RunNotFound) as caught:
            WorkflowRun.objects.cancel(given)
        assert str(caught.value) == f"Workflow run {given} does not exist"

    def test_the_id_of_something_else(self) -> None:
        attempt = StepAttemptFactory.create()
        with pytest.raises(RunNotFound):
            WorkflowRun.objects.cancel(attempt.pk)

    def test_a_queryset_of_nothing(self) -> None:
        make("running")
        assert WorkflowRun.objects.none().cancel_active(cascade=True) == CancelOutcome()
        assert WorkflowRun.objects.filter(pk=uuid4()).cancel_active() == CancelOutcome()
        assert active_runs().count() == 1


# --- namespaces ---------------------------------------------------------------------------------


class TestAnotherNamespace:
    @each_door
    def test_is_out_of_reach(self, cancel: Callable[..., WorkflowRun]) -> None:
        run = make("running", namespace_id="other")
        before = row(run)
        with pytest.raises(RunNotFound) as caught:
            cancel(run)
        assert str(caught.value) == f"Workflow run {run.pk} does not exist"
        assert row(run) == before

    def test_is_left_alone_by_a_cancel_of_everything(self) -> None:
        mine = make("running")
        theirs = [make(trait, namespace_id="other") for trait in ACTIVE_TRAITS]
        before = [row(run) for run in theirs]
        outcome = WorkflowRun.objects.all().cancel_active(cascade=True)
        assert outcome.canceled == [mine.pk]
        assert [row(run) for run in theirs] == before

    def test_has_its_own_runs(self, settings: Any) -> None:
        mine, theirs = make("running"), make("running", namespace_id="other")
        settings.OPENWORKFLOW = {"NAMESPACE": "other"}
        outcome = WorkflowRun.objects.all().cancel_active()
        assert outcome.canceled == [theirs.pk]
        assert row(mine)["status"] == "running"


# --- 1. transactional ---------------------------------------------------------------------------


class Undo(Exception):
    """Rolls a transaction back."""


@contextmanager
def undone() -> Iterator[None]:
    """A transaction that rolls back at the end of the block."""
    with suppress(Undo), transaction.atomic():
        yield
        raise Undo


class TestTransactions:
    @pytest.mark.django_db(transaction=True)
    @pytest.mark.parametrize("cascade", [False, True])
    def test_a_rollback_undoes_the_cancel_and_nobody_hears_of_it(
        self, heard: list[Heard], *, cascade: bool
    ) -> None:
        parent = make("parked")
        run = make("parked", child=True, parent=parent)
        child = make("parked", child=True, parent=run)
        wait = StepAttemptFactory.create(workflow_run=run, signal_wait=True)
        before = [row(each) for each in (parent, run, child)]
        steps_before = list(StepAttempt.objects.in_order().values())

        with undone():
            assert run.cancel(cascade=cascade).status == "canceled"
        assert [row(each) for each in (parent, run, child)] == before
        assert list(StepAttempt.objects.in_order().values()) == steps_before
        assert StepAttempt.objects.get(pk=wait.pk).status == "running"
        assert heard == []

    @pytest.mark.django_db(transaction=True)
    def test_a_rolled_back_savepoint_undoes_only_its_own_cancel(self, heard: list[Heard]) -> None:
        kept, other = make("running"), make("running")
        with transaction.atomic():
            kept.cancel()
            with undone():
                other.cancel()
        assert (row(kept)["status"], row(other)["status"]) == ("canceled", "running")
        assert [item.run_id for item in heard] == [kept.pk]

    @pytest.mark.django_db(transaction=True)
    def test_the_django_signal_waits_for_the_commit(self, heard: list[Heard]) -> None:
        user = get_user_model().objects.create_user("bob")
        run = make("running")
        with transaction.atomic():
            run.cancel(reason="duplicate", actor=user)
            assert heard == []
        assert heard == [Heard(run.pk, "canceled", "duplicate", user, "api")]
        run.cancel(reason="again")
        assert len(heard) == 1

    @pytest.mark.django_db(transaction=True)
    def test_without_a_transaction_it_is_sent_at_once(self, heard: list[Heard]) -> None:
        run = make("running")
        run.cancel(reason="now")
        assert heard == [Heard(run.pk, "canceled", "now", None, "api")]

    @pytest.mark.django_db(transaction=True)
    def test_one_for_each_run_and_none_for_the_others(self, heard: list[Heard]) -> None:
        runs = [make(trait) for trait in ACTIVE_TRAITS]
        for trait in (*ENDED_TRAITS, "canceled"):
            make(trait)
        child = make("running", child=True, parent=runs[-1])
        outcome = WorkflowRun.objects.exclude(pk=child.pk).cancel_active(
            reason="stop", actor="ops", cascade=True, source=CancelSource.COMMAND
        )
        assert heard == [
            *(Heard(pk, "canceled", "stop", "ops", "command") for pk in outcome.canceled),
            Heard(child.pk, "canceled", "stop", "ops", "cascade"),
        ]
        assert outcome.canceled == sorted(run.pk for run in runs)

    @pytest.mark.django_db(transaction=True)
    def test_a_receiver_that_raises_is_logged_and_changes_nothing(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        told: list[UUID] = []

        def broken(**_facts: object) -> None:
            message = "the receiver is broken"
            raise RuntimeError(message)

        def sound(run: WorkflowRun, **_facts: object) -> None:
            told.append(run.pk)

        first, second = make("running"), make("running")
        signals.run_canceled.connect(broken)
        signals.run_canceled.connect(sound)
        try:
            with caplog.at_level(logging.ERROR):
                outcome = WorkflowRun.objects.all().cancel_active()
        finally:
            signals.run_canceled.disconnect(broken)
            signals.run_canceled.disconnect(sound)
        assert outcome.canceled == [first.pk, second.pk]
        assert {row(first)["status"], row(second)["status"]} == {"canceled"}
        assert told == [first.pk, second.pk]
        assert caplog.text.count("the receiver is broken") >= 2

    @pytest.mark.django_db(transaction=True)
    def test_a_receiver_may_cancel_other_runs(self, heard: list[Heard]) -> None:
        first, second = make("running"), make("running")

        def go_on(run: WorkflowRun, **_facts: object) -> None:
            if run.pk == first.pk:
                second.cancel(reason="follows")

        signals.run_canceled.connect(go_on)
        try:
            first.cancel(reason="starts")
        finally:
            signals.run_canceled.disconnect(go_on)
        assert {(item.run_id, item.reason) for item in heard} == {
            (first.pk, "starts"),
            (second.pk, "follows"),
        }


# --- 3. what a canceled run's worker may still write --------------------------------------------


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


# --- 3. open waits ------------------------------------------------------------------------------


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


# --- 4. inside the workflow ---------------------------------------------------------------------


@pytest.fixture
def own_registry() -> Iterator[None]:
    with registry.isolated():
        yield


@pytest.mark.usefixtures("own_registry")
class TestWorkflowCode:
    def test_starts_no_step_after_the_cancel_and_keeps_the_one_in_flight(self) -> None:
        seen: list[str] = []

        @workflow("cancels-itself")
        def cancels_itself(step: Step) -> None:
            def body() -> str:
                handle_of(step.info.id).cancel(reason="inside")
                seen.append("first")
                return "kept"

            try:
                step.run("first", body)
            except Exception:  # what careless code does
                seen.append("swallowed")
            step.run("second", seen.append, "second")

        handle = cancels_itself.start()
        run_until_idle()
        assert seen == ["first"]
        assert handle.run.status == "canceled"
        attempt = StepAttempt.objects.get()
        assert (attempt.step_name, attempt.status, attempt.output) == (
            "first",
            "completed",
            "kept",
        )

    def test_cannot_go_on_by_swallowing_everything(self) -> None:
        seen: list[str] = []

        @workflow("stubborn")
        def stubborn(step: Step) -> str:
            for name in ("first", "second", "third"):
                try:
                    step.run(name, handle_of(step.info.id).cancel)
                except BaseException as error:  # what hostile code does
                    seen.append(type(error).__name__)
            return "done all the same"

        handle = stubborn.start()
        run_until_idle()
        assert seen == ["RunCanceled"] * 3
        run = handle.run
        assert (run.status, run.output) == ("canceled", None)
        assert StepAttempt.objects.count() == 1

    def test_is_told_by_an_exception_that_is_no_exception(self) -> None:
        assert not issubclass(RunCanceled, Exception)
        assert str(RunCanceled("7")) == "Workflow run 7 was canceled"


# --- 5. families --------------------------------------------------------------------------------


def family() -> list[WorkflowRun]:
    """A parked root, its parked child, and a running grandchild."""
    root = make("parked")
    child = make("parked", child=True, parent=root)
    return [root, child, make("running", child=True, parent=child)]


def notes(run: WorkflowRun) -> tuple[str, str, str, str]:
    now = row(run)
    return (now["status"], now["cancel_reason"], now["cancel_actor"], now["cancel_source"])


class TestCascade:
    def test_reaches_every_descendant(self) -> None:
        root, child, grandchild = family()
        sibling = make("pending", child=True, parent=root)
        returned = root.cancel(reason="stop", actor="ops", cascade=True)
        assert returned.status == "canceled"
        assert notes(root) == ("canceled", "stop", "ops", "api")
        for run in (child, grandchild, sibling):
            assert notes(run) == ("canceled", "stop", "ops", "cascade")
        waits = StepAttempt.objects.filter(kind=StepKind.WORKFLOW)
        assert set(waits.values_list("status", flat=True)) == {"failed"}

    def test_is_not_the_default(self) -> None:
        root, child, grandchild = family()
        before = [row(child), row(grandchild)]
        assert WorkflowRun.objects.filter(pk=root.pk).cancel_active() == CancelOutcome(
            canceled=[root.pk]
        )
        assert [row(child), row(grandchild)] == before

    def test_tells_the_chosen_from_their_descendants(self) -> None:
        root, child, grandchild = family()
        chosen = WorkflowRun.objects.filter(pk__in=[root.pk, grandchild.pk])
        outcome = chosen.cancel_active(cascade=True)
        assert outcome == CancelOutcome(
            canceled=[root.pk, grandchild.pk], children_canceled=[child.pk]
        )
        assert notes(grandchild)[3] == "api"
        assert notes(child)[3] == "cascade"

    @pytest.mark.parametrize("trait", [*ENDED_TRAITS, "canceled"])
    def test_goes_through_a_run_that_has_ended(self, trait: str) -> None:
        root = make("parked")
        ended = make(trait, child=True, parent=root)
        grandchild = make("running", child=True, parent=ended)
        before = row(ended)
        outcome = WorkflowRun.objects.filter(pk=root.pk).cancel_active(cascade=True)
        assert outcome == CancelOutcome(canceled=[root.pk], children_canceled=[grandchild.pk])
        assert row(ended) == before

    def test_of_a_root_that_is_canceled_already_reaches_what_is_left(self) -> None:
        root = make("canceled")
        child = make("running", child=True, parent=root)
        before = row(root)
        assert root.cancel(reason="the rest", cascade=True).cancel_reason == "first reason"
        assert row(root) == before
        assert notes(child) == ("canceled", "the rest", "", "cascade")
        outcome = WorkflowRun.objects.filter(pk=root.pk).cancel_active(cascade=True)
        assert outcome == CancelOutcome(already_canceled=[root.pk])

    def test_leaves_parents_and_strangers_alone(self) -> None:
        root, child, grandchild = family()
        stranger = make("running")
        child.cancel(cascade=True)
        assert row(grandchild)["status"] == "canceled"
        assert row(root)["status"] == "running"
        assert row(stranger)["status"] == "running"

    def test_of_a_deep_family(self) -> None:
        runs = [make("parked")]
        for _ in range(20):
            runs.append(make("parked", child=True, parent=runs[-1]))
        outcome = WorkflowRun.objects.filter(pk=runs[0].pk).cancel_active(cascade=True)
        assert outcome.children_canceled == sorted(run.pk for run in runs[1:])
        assert not active_runs().exists()

    def test_of_a_ring_ends(self) -> None:
        """Nobody makes one, but a broken row must not hang the caller."""
        root, child, _ = family()
        attempt = StepAttemptFactory.create(workflow_run=child, workflow=True)
        WorkflowRun.objects.filter(pk=root.pk).update(
            parent_step_attempt=attempt, parent_step_attempt_namespace_id="default"
        )
        outcome = WorkflowRun.objects.filter(pk=root.pk).cancel_active(cascade=True)
        assert outcome.canceled == [root.pk]
        assert not active_runs().exists()

    def test_a_wide_family_takes_few_statements(self) -> None:
        counts = []
        for size in (5, 50):
            root = make("parked")
            for _ in range(size):
                make("pending", child=True, parent=root)
            with CaptureQueriesContext(connection) as captured:
                root.cancel(cascade=True)
            counts.append(len(captured))
        assert counts[0] == counts[1]
        assert not active_runs().exists()


class TestTheParentOfACanceledRun:
    @pytest.mark.parametrize("trait", ["parked", "sleeping_legacy"])
    def test_wakes_when_it_waits(self, trait: str) -> None:
        parent = make(trait)
        child = make("running", child=True, parent=parent)
        before = row(parent)
        child.cancel()
        after = row(parent)
        assert after == {
            **before,
            "available_at": after["available_at"],
            "updated_at": after["updated_at"],
        }
        assert WorkflowRun.objects.due().filter(pk=parent.pk).exists()
        link = StepAttempt.objects.get(workflow_run=parent)
        assert (link.status, link.child_workflow_run_id) == ("running", child.pk)

    def test_is_not_made_to_wait_longer(self) -> None:
        parent = make("parked", available_at=timezone.now() - timedelta(minutes=1))
        child = make("running", child=True, parent=parent)
        before = row(parent)
        child.cancel()
        assert row(parent) == before

    @pytest.mark.parametrize("trait", ["running", "retrying", "scheduled"])
    def test_is_left_alone_when_it_does_not_park(self, trait: str) -> None:
        """A worker holds it and will look, or it backs off and must not be hurried."""
        parent = make(trait)
        child = make("running", child=True, parent=parent)
        before = row(parent)
        child.cancel()
        assert row(parent) == before

    @pytest.mark.parametrize("trait", [*ENDED_TRAITS, "canceled"])
    def test_stays_ended(self, trait: str) -> None:
        parent = make(trait)
        child = make("running", child=True, parent=parent)
        before = row(parent)
        child.cancel()
        assert row(parent) == before

    def test_is_not_woken_by_a_child_that_it_no_longer_waits_for(self) -> None:
        parent = make("parked")
        child = make("running", child=True, parent=parent)
        StepAttempt.objects.filter(workflow_run=parent).update(
            status=StepStatus.FAILED, finished_at=timezone.now()
        )
        before = row(parent)
        child.cancel()
        assert row(parent) == before

    @pytest.mark.parametrize("wait", [False, True])
    def test_may_be_gone_when_its_child_ends(self, store: Store, *, wait: bool) -> None:
        """Pruned, say: the child's worker still believes that it has a parent."""
        parent = make("canceled")
        child = make("running", child=True, parent=parent)
        parent.delete()
        lease = Lease(run_id=child.pk, worker_id=str(child.worker_id))
        done = RunCompleted(lease=lease, parent_run_id=parent.pk, output=None)
        assert store.apply([done], wait=wait)[0].verdict is Verdict.ACCEPTED
        assert row(child)["status"] == "completed"

    def test_wakes_once_for_many_children(self) -> None:
        parent, other = make("parked"), make("parked")
        children = [make("running", child=True, parent=parent) for _ in range(3)]
        before = row(other)
        WorkflowRun.objects.filter(pk__in=[child.pk for child in children]).cancel_active()
        assert WorkflowRun.objects.due().get() == parent
        assert row(other) == before


# --- 6. the handle ------------------------------------------------------------------------------


class TestResult:
    def test_raises_what_happened(self) -> None:
        run = make("running", workflow_name="sync")
        run.cancel(reason="duplicate")
        with pytest.raises(WorkflowCanceled) as caught:
            handle_of(run.pk).result(timeout=0)
        assert str(caught.value) == "Workflow sync was canceled"
        assert caught.value.reason == "duplicate"

    def test_raises_what_happened_asynchronously(self) -> None:
        run = make("canceled")
        with pytest.raises(WorkflowCanceled, match="Workflow process-order was canceled"):
            async_to_sync(handle_of(run.pk).aresult)(timeout=0)


# --- many runs ----------------------------------------------------------------------------------


class TestQuerysets:
    def test_the_outcome_of_a_mixed_lot_is_exact(self) -> None:
        canceled = [make(trait) for trait in ACTIVE_TRAITS]
        already = [make("canceled") for _ in range(2)]
        skipped = {make(trait).pk: status for trait, status in ENDED_TRAITS.items()}
        untouched = make("running", workflow_name="another")
        outcome = WorkflowRun.objects.for_workflow("process-order").cancel_active()
        assert outcome == CancelOutcome(
            canceled=sorted(run.pk for run in canceled),
            already_canceled=sorted(run.pk for run in already),
            skipped=skipped,
        )
        assert row(untouched)["status"] == "running"
        assert WorkflowRun.objects.canceled().count() == len(canceled) + len(already)

    def test_ordered_and_sliced(self) -> None:
        runs = [make("running", priority=number) for number in range(5)]
        highest = WorkflowRun.objects.order_by("-priority")[:2]
        assert highest.cancel_active().canceled == [runs[3].pk, runs[4].pk]
        middle = WorkflowRun.objects.active().order_by("priority")[1:2]
        assert middle.cancel_active().canceled == [runs[1].pk]
        assert set(active_runs()) == {runs[0], runs[2]}

    def test_joined_rows_count_once(self) -> None:
        run, other = make("running"), make("running")
        StepAttemptFactory.create_batch(3, workflow_run=run, step_name="charge", failed=True)
        joined = WorkflowRun.objects.filter(step_attempts__step_name="charge")
        assert joined.count() == 3
        assert joined.cancel_active() == CancelOutcome(canceled=[run.pk])
        assert row(other)["status"] == "running"

    @pytest.mark.parametrize(
        "narrow",
        [
            lambda rows: rows.only("workflow_name"),
            lambda rows: rows.defer("input"),
            lambda rows: rows.distinct(),
            lambda rows: rows.select_related("parent_step_attempt"),
            lambda rows: rows.prefetch_related("step_attempts"),
            lambda rows: rows.annotate(steps=models.Count("step_attempts")),
            lambda rows: rows | rows.filter(priority=7),
            lambda rows: rows.union(rows.filter(priority=7)),
            lambda rows: rows.reverse(),
            lambda rows: rows.using("default"),
        ],
    )
    def test_of_any_shape(self, narrow: Callable[[Any], Any]) -> None:
        run, other = make("running"), make("running", workflow_name="another")
        rows = narrow(WorkflowRun.objects.filter(workflow_name="process-order"))
        assert rows.cancel_active() == CancelOutcome(canceled=[run.pk])
        assert row(other)["status"] == "running"

    def test_read_before(self) -> None:
        """The database decides, not what the queryset has read."""
        run, late = make("running"), make("running")
        rows = WorkflowRun.objects.active()
        assert len(rows) == 2
        WorkflowRun.objects.filter(pk=late.pk).update(
            status=RunStatus.COMPLETED, available_at=None, finished_at=timezone.now()
        )
        assert rows.cancel_active() == CancelOutcome(canceled=[run.pk])

    def test_children_of_a_step(self) -> None:
        child = make("running", child=True, parent=make("parked"))
        attempt = StepAttempt.objects.get()
        assert attempt.child_runs.all().cancel_active().canceled == [child.pk]

    def test_thousands_of_runs_in_one_call(self) -> None:
        """Each thousand takes the same few statements: nothing is done run by run."""
        statements = {}
        for size in (500, 1500, 2500):
            name = f"batch-{size}"
            runs = create_many(size, parked=True, workflow_name=name)
            with CaptureQueriesContext(connection) as captured:
                outcome = WorkflowRun.objects.for_workflow(name).cancel_active(reason="all")
            assert outcome == CancelOutcome(canceled=sorted(run.pk for run in runs))
            assert WorkflowRun.objects.for_workflow(name).canceled().count() == size
            statements[size] = len(captured)
        per_chunk = statements[1500] - statements[500]
        assert statements[2500] - statements[1500] == per_chunk
        assert per_chunk <= 6

    @pytest.mark.django_db(transaction=True)
    def test_all_or_nothing(self, heard: list[Heard]) -> None:
        create_many(1200, parked=True)
        with undone():
            assert len(WorkflowRun.objects.all().cancel_active().canceled) == 1200
        assert not WorkflowRun.objects.canceled().exists()
        assert heard == []


# --- doors that stay shut -----------------------------------------------------------------------


class TestTemplates:
    """A page that is only shown must not cancel anything."""

    @pytest.mark.parametrize(
        "source",
        [
            "{{ run.cancel }}",
            "{{ runs.cancel_active }}",
            "{{ runs.cancel }}",
            "{{ runs.all.cancel_active }}",
            "{% with outcome=runs.cancel_active %}{{ outcome.canceled }}{% endwith %}",
            "{% for run in runs %}{{ run.cancel }}{% endfor %}",
            "{{ handle.cancel }}",
        ],
    )
    def test_cannot_cancel(self, source: str) -> None:
        run = make("running")
        before = row(run)
        context = {
            "run": run,
            "runs": WorkflowRun.objects.all(),
            "handle": handle_of(run.pk),
        }
        rendered = Template(source).render(Context(context))
        assert row(run) == before
        assert rendered == ""


class TestTheManager:
    def test_cannot_cancel_everything_by_a_slip(self) -> None:
        run = make("running")
        assert not hasattr(WorkflowRun.objects, "cancel_active")
        assert hasattr(WorkflowRun.objects.all(), "cancel_active")
        assert row(run)["status"] == "running"

    def test_of_related_runs_neither(self) -> None:
        make("running", child=True, parent=make("parked"))
        attempt = StepAttempt.objects.get()
        assert not hasattr(attempt.child_runs, "cancel_active")

    def test_takes_options_by_name_only(self) -> None:
        run = make("running")
        manager: Any = WorkflowRun.objects
        with pytest.raises(TypeError):
            manager.cancel(run, "reason")
        with pytest.raises(TypeError):
            manager.all().cancel_active("reason")
        assert row(run)["status"] == "running"


class TestBadNotes:
    @pytest.mark.parametrize(
        "bad", ["a\x00b", "\x00", "\ud800", "x\udfff", None, 7, b"bytes", ["list"], object()]
    )
    def test_a_reason_that_cannot_be_stored(self, bad: Any) -> None:
        run = make("running")
        before = row(run)
        with pytest.raises(InvalidInput, match="reason"):
            run.cancel(reason=bad)
        with pytest.raises(InvalidInput, match="reason"):
            WorkflowRun.objects.all().cancel_active(reason=bad, cascade=True)
        assert row(run) == before

    @pytest.mark.parametrize("bad", ["a\x00b", "\ud800"])
    def test_an_actor_that_cannot_be_stored(self, bad: str) -> None:
        run = make("running")
        before = row(run)
        with pytest.raises(InvalidInput, match="actor"):
            run.cancel(actor=bad)
        user = get_user_model()(username=bad)
        with pytest.raises(InvalidInput, match="actor"):
            run.cancel(actor=user)
        assert row(run) == before

    def test_do_not_break_the_caller_s_transaction(self) -> None:
        run = make("running")
        with transaction.atomic():
            with pytest.raises(InvalidInput):
                run.cancel(reason="\x00")
            run.cancel(reason="second try")
        assert row(run)["cancel_reason"] == "second try"

    @pytest.mark.parametrize(
        "good", ["", " ", "Zoë → 漢字 🙂", "'; DROP TABLE x; --", "%s %% {}", "x" * 10_000]
    )
    def test_any_other_text_is_kept(self, good: str) -> None:
        run = make("running").cancel(reason=good, actor=good)
        assert (run.cancel_reason, run.cancel_actor) == (good, good)
