"""What a cancel does to a run in each state, through each door."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth import get_user_model
from django.utils import timezone

from django_openworkflow import clock
from django_openworkflow.exceptions import (
    OpenWorkflowError,
    RunNotCancelable,
    RunNotFound,
)
from django_openworkflow.models import WorkflowRun
from django_openworkflow.querysets import CancelOutcome
from django_openworkflow.states import RunStatus
from tests.cancelling.scenes import (
    ACTIVE_TRAITS,
    ENDED_TRAITS,
    Heard,
    active_runs,
    each_door,
    make,
    row,
)
from tests.factories import (
    ERROR,
    StepAttemptFactory,
)
from tests.worker.workers import wait_until

pytestmark = pytest.mark.django_db


class TestAnActiveRun:
    @each_door
    @pytest.mark.parametrize("trait", ACTIVE_TRAITS)
    def test_is_canceled(self, trait: str, cancel: Callable[..., WorkflowRun]) -> None:
        now, day = timezone.now(), timedelta(days=1)
        run = make(trait, deadline_at=now + day, created_at=now - day, updated_at=now - day)
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
        assert after["finished_at"] > before["created_at"]
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
        first_end = row(run)["finished_at"]
        wait_until(lambda: clock.read("default") > first_end, "the next millisecond")
        second = make("running")
        WorkflowRun.objects.cancel(second)
        second_end = row(second)["finished_at"]
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
