"""Cascades, and the parents of canceled runs."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_openworkflow.models import StepAttempt, WorkflowRun
from django_openworkflow.querysets import CancelOutcome
from django_openworkflow.states import StepKind, StepStatus
from django_openworkflow.store.operations import (
    Lease,
    RunCompleted,
    Verdict,
)
from tests.cancelling.scenes import (
    ENDED_TRAITS,
    active_runs,
    family,
    make,
    notes,
    row,
)
from tests.factories import (
    StepAttemptFactory,
)

if TYPE_CHECKING:
    from django_openworkflow.store.base import Store

pytestmark = pytest.mark.django_db


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
