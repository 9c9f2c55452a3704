"""A cancel joins the caller's transaction: what is undone never happened, nobody hears of it."""

from __future__ import annotations

import logging
from uuid import UUID

import pytest
from django.contrib.auth import get_user_model
from django.db import transaction

from django_openworkflow import signals
from django_openworkflow.models import StepAttempt, WorkflowRun
from django_openworkflow.states import CancelSource
from tests.cancelling.scenes import (
    ACTIVE_TRAITS,
    ENDED_TRAITS,
    Heard,
    make,
    row,
)
from tests.factories import (
    StepAttemptFactory,
)
from tests.rollbacks import undone

pytestmark = pytest.mark.django_db


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

    @pytest.mark.django_db(transaction=True)
    def test_where_autocommit_is_off_the_commit_decides(self, heard: list[Heard]) -> None:
        run = make("pending")
        transaction.set_autocommit(False)
        try:
            assert run.cancel("dup").status == "canceled"
            transaction.rollback()
            assert row(run)["status"] == "pending"
            assert run.cancel("dup").status == "canceled"
            transaction.commit()
            assert heard == []
        finally:
            transaction.set_autocommit(True)
        assert [item.run_id for item in heard] == [run.pk]
