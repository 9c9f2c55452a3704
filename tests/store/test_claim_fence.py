"""``Store.claim``: the fence, the count of crashes, and rows that somebody holds."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from django_openworkflow import conf
from django_openworkflow.models import StepAttempt, WorkflowRun
from django_openworkflow.states import StepKind
from django_openworkflow.store.factory import store_for
from django_openworkflow.store.operations import (
    Lease,
    RunParked,
    RunReleased,
    RunRescheduled,
    StepCompleted,
    StepStarted,
    Verdict,
)
from tests.factories import WorkflowRunFactory
from tests.races.rivals import Rival, held_open, requires_row_locks, rivals
from tests.store.claims import ago, claimed_ids, expire, request

if TYPE_CHECKING:
    from django_openworkflow.store.base import Store

pytestmark = pytest.mark.django_db


# --- the fence ----------------------------------------------------------------------------------


class TestTheFence:
    def test_is_new_for_every_claim_of_one_worker(self, store: Store) -> None:
        """A worker that claims its own run again must not let its older pass write."""
        run = WorkflowRunFactory.create()
        tokens = []
        for _ in range(5):
            (claimed,) = store.claim(request())
            tokens.append(claimed.lease.worker_id)
            assert WorkflowRun.objects.get(pk=run.pk).worker_id == claimed.lease.worker_id
            assert store.apply([RunReleased(lease=claimed.lease)])[0].verdict is Verdict.ACCEPTED
        assert len(set(tokens)) == 5
        assert all(token.startswith("worker:") for token in tokens)

    def test_refuses_the_older_claim_of_the_same_worker(self, store: Store) -> None:
        run = WorkflowRunFactory.create()
        (old,) = store.claim(request())
        expire(old.lease)
        (new,) = store.claim(request())
        late = started(old.lease)
        assert store.apply([late])[0].verdict is Verdict.LOST
        assert store.extend([old.lease], 30) == {old.lease: Verdict.LOST}
        assert not StepAttempt.objects.exists()
        assert store.apply([started(new.lease)])[0].verdict is Verdict.ACCEPTED
        assert WorkflowRun.objects.get(pk=run.pk).worker_id == new.lease.worker_id


def started(lease: Lease) -> StepStarted:
    return StepStarted(lease=lease, attempt_id=uuid4(), step_name="charge", kind=StepKind.FUNCTION)


# --- crashes ------------------------------------------------------------------------------------


def counters(run: WorkflowRun) -> tuple[int, int]:
    now = WorkflowRun.objects.get(pk=run.pk)
    return (now.crashes, now.takeovers)


class TestCrashes:
    def test_a_lease_that_ran_out_counts(self, store: Store) -> None:
        run = WorkflowRunFactory.create()
        for crashes in range(4):
            (claimed,) = store.claim(request())
            assert counters(run) == (crashes, crashes)
            expire(claimed.lease)

    def test_giving_the_run_back_does_not(self, store: Store) -> None:
        run = WorkflowRunFactory.create()
        (claimed,) = store.claim(request())
        store.apply([RunReleased(lease=claimed.lease)])
        (claimed,) = store.claim(request())
        store.apply([RunParked(lease=claimed.lease, wake_at=ago(seconds=1))])
        (claimed,) = store.claim(request())
        retry = RunRescheduled(lease=claimed.lease, error="{}", delay=timedelta(0), is_failure=True)
        store.apply([retry])
        (claimed,) = store.claim(request())
        assert claimed.attempts == 4
        assert counters(run) == (0, 0)

    def test_progress_forgives_crashes_but_not_take_overs(self, store: Store) -> None:
        run = WorkflowRunFactory.create(running=True, crashes=2, takeovers=2)
        expire(Lease(run_id=run.pk, worker_id=""))
        (claimed,) = store.claim(request())
        assert counters(run) == (3, 3)
        step = started(claimed.lease)
        store.apply([step])
        assert counters(run) == (3, 3)  # a body that began is no progress: it may be what kills
        store.apply([StepCompleted(lease=claimed.lease, attempt_id=step.attempt_id)])
        assert counters(run) == (0, 3)

    def test_a_poison_pill_is_left_to_the_sweep(self, store: Store, settings: Any) -> None:
        settings.OPENWORKFLOW = {"MAX_CRASHES": 3}
        run = WorkflowRunFactory.create()
        for _ in range(3):
            (claimed,) = store.claim(request())
            expire(claimed.lease)
        assert counters(run) == (2, 2)
        assert store.claim(request()) == []
        assert WorkflowRun.objects.get(pk=run.pk).status == "running"

    def test_a_run_that_was_given_back_is_no_poison_pill(self, store: Store) -> None:
        limit = conf.get_settings().MAX_CRASHES
        run = WorkflowRunFactory.create(crashes=limit + 1)
        assert claimed_ids(store) == [run.pk]

    def test_a_claim_forgets_that_nobody_knew_the_workflow(self, store: Store) -> None:
        run = WorkflowRunFactory.create(deferrals=4)
        store.claim(request())
        assert WorkflowRun.objects.get(pk=run.pk).deferrals == 0


# --- locks --------------------------------------------------------------------------------------


@requires_row_locks
@pytest.mark.django_db(transaction=True)
class TestLockedRows:
    @pytest.fixture
    def other(self) -> Iterator[Rival]:
        with rivals("other") as (thread,):
            yield thread

    def test_are_skipped_and_not_waited_for(self, store: Store, other: Rival) -> None:
        busy, *free = (
            WorkflowRunFactory.create(available_at=ago(seconds=age)) for age in (9, 8, 7)
        )

        def lock() -> None:
            WorkflowRun.objects.select_for_update(no_key=True).get(pk=busy.pk)

        with held_open(other, lock) as held:
            assert claimed_ids(store) == [run.pk for run in free]
            held.end(commit=True)
        assert claimed_ids(store) == [busy.pk]

    def test_fill_up_with_what_is_free(self, store: Store, other: Rival) -> None:
        runs = [WorkflowRunFactory.create(available_at=ago(seconds=9 - age)) for age in range(6)]
        busy = [run.pk for run in runs[:4]]

        def lock() -> None:
            list(WorkflowRun.objects.filter(pk__in=busy).select_for_update(no_key=True))

        with held_open(other, lock):
            assert claimed_ids(store, limit=2) == [run.pk for run in runs[4:]]

    @pytest.mark.parametrize(("commit", "left"), [(True, 0), (False, 1)])
    def test_an_open_cancel_is_passed_by(
        self, store: Store, other: Rival, *, commit: bool, left: int
    ) -> None:
        canceled, free = WorkflowRunFactory.create_batch(2)

        with held_open(other, lambda: WorkflowRun.objects.cancel(canceled.pk)) as held:
            assert claimed_ids(store) == [free.pk]
            held.end(commit=commit)
        assert claimed_ids(store) == [canceled.pk][:left]

    def test_an_open_claim_is_passed_by(self, store: Store, other: Rival) -> None:
        runs = WorkflowRunFactory.create_batch(4)
        with held_open(other, lambda: claimed_ids(store_for("default"), limit=2)) as held:
            mine = claimed_ids(store)
            theirs = held.end(commit=True)
        assert sorted([*mine, *theirs]) == sorted(run.pk for run in runs)
        assert len(mine) == len(theirs) == 2
