"""Claims of runs that the next crash would fail: one at a time, whoever they were beside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from django_openworkflow.models import WorkflowRun
from tests.factories import WorkflowRunFactory
from tests.store.claims import ago, claimed_ids, expire, request

if TYPE_CHECKING:
    from django_openworkflow.store.base import Store

pytestmark = pytest.mark.django_db


def lost(crashes: int, *, seconds: float = 10, **columns: Any) -> WorkflowRun:
    """Make a run whose worker is gone, after so many before it."""
    return WorkflowRunFactory.create(
        running=True, crashes=crashes, available_at=ago(seconds=seconds), **columns
    )


def test_of_several_the_first_is_claimed_beside_all_others(store: Store) -> None:
    others = [lost(crashes, seconds=40 - crashes) for crashes in (0, 1, 2)]
    suspects = [lost(3, seconds=30 - number) for number in range(3)]
    young = WorkflowRunFactory.create(available_at=ago(seconds=1))
    claimed = store.claim(request())
    assert [run.lease.run_id for run in claimed] == [
        *(run.pk for run in others),
        suspects[0].pk,
        young.pk,
    ]
    assert [run.is_suspect for run in claimed] == [False, False, False, True, False]
    left = WorkflowRun.objects.filter(pk__in=[run.pk for run in suspects[1:]])
    assert set(left.values_list("crashes", "takeovers", "attempts")) == {(3, 0, 1)}


def test_the_first_across_priorities(store: Store) -> None:
    low, high = lost(3, priority=0, seconds=60), lost(3, priority=9, seconds=1)
    assert claimed_ids(store) == [high.pk]
    assert claimed_ids(store) == [low.pk]


def test_the_first_across_queues(store: Store) -> None:
    later, earlier = lost(3, queue="a", seconds=1), lost(3, queue="b", seconds=60)
    assert claimed_ids(store) == [earlier.pk]
    assert claimed_ids(store) == [later.pk]


def test_whoever_executes_one_takes_no_other_and_is_not_kept_from_the_rest(store: Store) -> None:
    for number in range(3):
        lost(3, seconds=30 - number)
    plain = [WorkflowRunFactory.create(available_at=ago(seconds=1)) for _ in range(2)]
    found = claimed_ids(store, limit=2, takes_suspect=False)
    assert found == [run.pk for run in plain]


def test_it_is_one_still_when_its_worker_has_let_go_of_it(store: Store) -> None:
    released = WorkflowRunFactory.create(crashes=4, available_at=ago(seconds=5))
    lost(3, seconds=1)
    (claimed,) = store.claim(request())
    assert (claimed.lease.run_id, claimed.is_suspect) == (released.pk, True)


def test_none_is_lost_in_the_end(store: Store) -> None:
    suspects = {lost(3, seconds=number).pk for number in range(1, 5)}
    found = [pk for _ in suspects for pk in claimed_ids(store)]
    assert len(found) == 4
    assert set(found) == suspects
    assert claimed_ids(store) == []


@pytest.mark.parametrize("most_crashes", [1, 2])
def test_a_run_that_has_lost_nobody_is_none(store: Store, settings: Any, most_crashes: int) -> None:
    settings.OPENWORKFLOW = {"MAX_CRASHES": most_crashes}
    for _ in range(3):
        WorkflowRunFactory.create()
    claimed = store.claim(request())
    assert [run.is_suspect for run in claimed] == [False] * 3


def test_where_two_crashes_are_the_limit_the_first_makes_suspects(
    store: Store, settings: Any
) -> None:
    settings.OPENWORKFLOW = {"MAX_CRASHES": 2}
    for _ in range(3):
        WorkflowRunFactory.create()
    for run in store.claim(request()):
        expire(run.lease)
    assert len(claimed_ids(store)) == 1
