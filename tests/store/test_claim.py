"""``Store.claim``: who gets which run, in which order, and what is written."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.utils import timezone

from django_openworkflow.models import WorkflowRun
from django_openworkflow.store.operations import (
    Lease,
)
from tests.factories import WorkflowRunFactory
from tests.rollbacks import undone
from tests.store.claims import NAME, ago, claimed_ids, expire, request

if TYPE_CHECKING:
    from django_openworkflow.store.base import Store

pytestmark = pytest.mark.django_db


# --- order --------------------------------------------------------------------------------------


class TestOrder:
    def test_higher_priority_first_then_oldest_due(self, store: Store) -> None:
        now = ago()
        runs = {
            name: WorkflowRunFactory.create(
                priority=priority, available_at=now - timedelta(seconds=due)
            )
            for name, priority, due in (
                ("young", 0, 1),
                ("old", 0, 60),
                ("low", -5, 3600),
                ("high, young", 7, 1),
                ("high, old", 7, 5),
                ("highest", 2_147_483_647, 1),
            )
        }
        wanted = ["highest", "high, old", "high, young", "old", "young", "low"]
        assert claimed_ids(store) == [runs[name].pk for name in wanted]

    def test_a_woken_run_is_not_behind_new_ones(self, store: Store) -> None:
        new = [WorkflowRunFactory.create(available_at=ago(minutes=10)) for _ in range(3)]
        woken = WorkflowRunFactory.create(parked=True, available_at=ago(minutes=20))
        crashed = WorkflowRunFactory.create(running=True, available_at=ago(minutes=30))
        assert claimed_ids(store) == [crashed.pk, woken.pk, *(run.pk for run in new)]

    def test_of_equally_old_runs_the_first_one_started(self, store: Store) -> None:
        moment = ago(seconds=5)
        runs = [WorkflowRunFactory.create(available_at=moment) for _ in range(5)]
        assert claimed_ids(store, limit=3) == [run.pk for run in runs[:3]]
        assert claimed_ids(store, limit=3) == [run.pk for run in runs[3:]]

    @pytest.mark.parametrize("limit", [1, 2, 5, 6, 7])
    def test_no_more_than_asked_for_across_priorities(self, store: Store, limit: int) -> None:
        runs = [
            WorkflowRunFactory.create(priority=priority, available_at=ago(seconds=age))
            for priority in (2, 1, 0)
            for age in (9, 8)
        ]
        assert claimed_ids(store, limit=limit) == [run.pk for run in runs[:limit]]

    @pytest.mark.parametrize("limit", [0, -1])
    def test_nothing_for_no_free_slot(self, store: Store, limit: int) -> None:
        WorkflowRunFactory.create()
        assert claimed_ids(store, limit=limit) == []

    def test_higher_priority_first_across_queues(self, store: Store) -> None:
        runs = [
            WorkflowRunFactory.create(queue=queue, priority=priority)
            for queue, priority in (("a", 1), ("b", 3), ("c", 2))
        ]
        assert claimed_ids(store, limit=2) == [runs[1].pk, runs[2].pk]

    def test_oldest_due_first_across_queues(self, store: Store) -> None:
        """A backlog in one queue must not starve another queue of the same priority."""
        for queue in ("a", "m", "z"):
            for _ in range(3):
                WorkflowRunFactory.create(queue=queue, available_at=ago(seconds=1))
        oldest = [
            WorkflowRunFactory.create(queue=queue, available_at=ago(seconds=age))
            for queue, age in (("z", 90), ("a", 80), ("m", 70))
        ]
        assert claimed_ids(store, limit=3) == [run.pk for run in oldest]


# --- which --------------------------------------------------------------------------------------


class TestWhich:
    @pytest.mark.parametrize(
        "trait", ["scheduled", "retrying", "running", "parked", "sleeping_legacy"]
    )
    def test_not_before_it_is_due(self, store: Store, trait: str) -> None:
        run = WorkflowRunFactory.create(**{trait: True})
        assert claimed_ids(store) == []
        far = timezone.now() + timedelta(days=1)
        assert claimed_ids(store, now=far) == [run.pk]

    def test_the_moment_it_is_due(self, store: Store) -> None:
        moment = timezone.now() + timedelta(hours=1)
        run = WorkflowRunFactory.create(available_at=moment)
        assert claimed_ids(store, now=moment - timedelta(milliseconds=1)) == []
        assert claimed_ids(store, now=moment) == [run.pk]

    @pytest.mark.parametrize("trait", ["completed", "succeeded_legacy", "failed", "canceled"])
    def test_never_one_that_has_ended(self, store: Store, trait: str) -> None:
        WorkflowRunFactory.create(**{trait: True})
        assert claimed_ids(store, now=timezone.now() + timedelta(days=400)) == []

    def test_only_of_this_namespace(self, store: Store) -> None:
        WorkflowRunFactory.create(namespace_id="other")
        run = WorkflowRunFactory.create()
        assert claimed_ids(store) == [run.pk]

    def test_only_names_and_versions_that_are_registered(self, store: Store) -> None:
        runs = {
            (name, version): WorkflowRunFactory.create(workflow_name=name, version=version)
            for name in ("a", "b")
            for version in (None, "1", "2")
        }
        known = [("a", None), ("b", "2"), ("b", "3"), ("c", None)]
        assert set(claimed_ids(store, workflows=known)) == {
            runs["a", None].pk,
            runs["b", "2"].pk,
        }
        assert claimed_ids(store, workflows=known) == []
        assert claimed_ids(store, workflows=[]) == []
        assert claimed_ids(store, workflows=[("a", "1")]) == [runs["a", "1"].pk]

    def test_a_version_is_not_a_pattern(self, store: Store) -> None:
        WorkflowRunFactory.create(version="10")
        WorkflowRunFactory.create(version="")
        assert claimed_ids(store, workflows=[(NAME, "1"), (NAME, "%"), (NAME, None)]) == []

    def test_only_of_the_queues_that_are_served(self, store: Store) -> None:
        runs = {queue: WorkflowRunFactory.create(queue=queue) for queue in ("a", "b", "c")}
        assert set(claimed_ids(store, queues=["a", "c"])) == {runs["a"].pk, runs["c"].pk}
        assert claimed_ids(store, queues=["a", "unheard of"]) == []
        assert claimed_ids(store, queues=None) == [runs["b"].pk]

    def test_not_past_its_deadline(self, store: Store) -> None:
        WorkflowRunFactory.create(deadline_at=ago(seconds=1))
        run = WorkflowRunFactory.create(deadline_at=timezone.now() + timedelta(hours=1))
        assert claimed_ids(store) == [run.pk]

    def test_not_at_its_deadline(self, store: Store) -> None:
        moment = timezone.now() + timedelta(hours=1)
        run = WorkflowRunFactory.create(deadline_at=moment)
        assert claimed_ids(store, now=moment) == []
        assert claimed_ids(store, now=moment - timedelta(milliseconds=1)) == [run.pk]

    @pytest.mark.parametrize("fraction", ["000", "120", "123"])
    def test_a_run_is_due_in_the_very_millisecond_of_its_start(
        self, store: Store, fraction: str
    ) -> None:
        """As the default of its column writes it, whatever fraction of a second that is."""
        run = WorkflowRunFactory.create()
        with connection.cursor() as cursor:
            cursor.execute(
                f'UPDATE "{WorkflowRun._meta.db_table}" SET available_at = %s',  # noqa: S608
                [f"2026-01-01 00:00:05.{fraction}"],
            )
        moment = datetime(2026, 1, 1, 0, 0, 5, int(fraction) * 1000, tzinfo=UTC)
        assert claimed_ids(store, now=moment - timedelta(milliseconds=1)) == []
        assert claimed_ids(store, now=moment) == [run.pk]


# --- what is written ----------------------------------------------------------------------------


class TestWhatItWrites:
    def test_the_columns_of_the_original(self, store: Store) -> None:
        run = WorkflowRunFactory.create(retrying=True, available_at=ago(seconds=1), input=[1])
        other = WorkflowRunFactory.create(scheduled=True)
        before = WorkflowRun.objects.values().get(pk=run.pk)
        other_before = WorkflowRun.objects.values().get(pk=other.pk)
        moment = timezone.now().replace(microsecond=123_000)
        (claimed,) = store.claim(request(lease_seconds=12.5), now=moment)
        assert WorkflowRun.objects.values().get(pk=run.pk) == {
            **before,
            "status": "running",
            "attempts": before["attempts"] + 1,
            "worker_id": claimed.lease.worker_id,
            "available_at": moment + timedelta(seconds=12.5),
            "started_at": moment,
            "updated_at": moment,
        }
        assert WorkflowRun.objects.values().get(pk=other.pk) == other_before

    def test_the_first_start_stays(self, store: Store) -> None:
        run = WorkflowRunFactory.create(parked=True, available_at=ago(seconds=1))
        store.claim(request())
        assert WorkflowRun.objects.get(pk=run.pk).started_at == run.started_at

    def test_leases_by_the_clock_of_the_database(self, store: Store) -> None:
        run = WorkflowRunFactory.create()
        store.claim(request(lease_seconds=300))
        in_time = WorkflowRun.objects.filter(
            pk=run.pk,
            available_at__gt=Now() + timedelta(seconds=200),
            available_at__lte=Now() + timedelta(seconds=300),
        )
        assert in_time.exists()

    def test_what_the_worker_is_told(self, store: Store) -> None:
        parent = WorkflowRunFactory.create(parked=True)
        deadline = timezone.now() + timedelta(hours=1)
        run = WorkflowRunFactory.create(
            child=True,
            parent=parent,
            input={"order": 7},
            context={"traceContext": {"traceparent": "00-1"}},
            version="2",
            failures=3,
            deadline_at=deadline,
        )
        moment = timezone.now()
        (claimed,) = store.claim(request(workflows=[(NAME, "2")]), now=moment)
        told = {
            "lease": Lease(run_id=run.pk, worker_id=claimed.lease.worker_id),
            "workflow_name": NAME,
            "version": "2",
            "input": {"order": 7},
            "context": {"traceContext": {"traceparent": "00-1"}},
            "attempts": 1,
            "failures": 3,
            "created_at": run.created_at,
            "started_at": moment,
            "claimed_at": moment,
            "deadline_at": deadline,
            "parent_run_id": parent.pk,
            "cleanup_of_id": None,
            "is_first": True,
        }
        assert {name: getattr(claimed, name) for name in told} == told
        expire(claimed.lease)
        (again,) = store.claim(request(workflows=[(NAME, "2")]))
        assert (again.attempts, again.is_first) == (2, False)
        assert again.started_at == moment

    def test_a_rollback_gives_the_run_back(self, store: Store) -> None:
        run = WorkflowRunFactory.create()
        before = WorkflowRun.objects.values().get(pk=run.pk)
        with undone():
            assert claimed_ids(store) == [run.pk]
        assert WorkflowRun.objects.values().get(pk=run.pk) == before
