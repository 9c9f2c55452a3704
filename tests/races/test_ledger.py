"""The ledger of a worker never waits for a row lock: one held row stops nobody else's run."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
from django.db import connection

from django_openworkflow.models import WorkflowRun
from django_openworkflow.store.operations import Verdict
from tests.races.duels import cancel_run, nap, run_completed, step_completed
from tests.races.families import insert_family
from tests.races.rivals import PATIENCE_SECONDS, ending, held_open, race, rivals
from tests.races.scenes import held_run, held_run_with_step

if TYPE_CHECKING:
    from django_openworkflow.store.base import Store
    from django_openworkflow.worker.ledger import GroupLedger

pytestmark = race


def lock(*run_ids: UUID) -> None:
    """Hold rows as a long transaction of somebody's would."""
    list(WorkflowRun.objects.filter(pk__in=run_ids).select_for_update(no_key=True))


def anybody_waits_for_a_lock() -> bool:
    """Whether somebody waits, but for its turn to notify: that lock is the whole cluster's."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT EXISTS (SELECT FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock'"
            " AND wait_event <> 'object')"
        )
        return bool(cursor.fetchone()[0])


@pytest.mark.parametrize(
    ("commit", "verdict"), [(True, Verdict.CANCELED), (False, Verdict.ACCEPTED)]
)
def test_an_open_cancel_stops_nobody_else(
    ledger: GroupLedger, *, commit: bool, verdict: Verdict
) -> None:
    canceled = held_run_with_step()
    others = [held_run_with_step() for _ in range(30)]
    with rivals("caller", "one", "another") as (caller, one, another):
        with held_open(caller, partial(cancel_run, canceled)) as cancel:
            stuck = one.do(ledger.submit, step_completed(canceled))
            for other in others:
                done = another.do(ledger.submit, step_completed(other))
                assert ending(done).told().verdict is Verdict.ACCEPTED
                assert not anybody_waits_for_a_lock()
            assert not stuck.done()
            cancel.end(commit=commit)
        assert ending(stuck).told().verdict is verdict
    assert canceled.attempt is not None
    assert canceled.attempt.status == "completed"  # kept either way: it was in flight


def test_a_held_parent_stops_its_child_only(
    ledger: GroupLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr("django_openworkflow.notices.notify_due", told.append)
    parent, child = insert_family(None, 0, parked_ones=1)
    other = held_run()
    with rivals("holder", "one", "another") as (holder, one, another):
        with held_open(holder, partial(lock, parent.run_id)):
            stuck = one.do(ledger.submit, run_completed(child))
            done = another.do(ledger.submit, run_completed(other))
            assert ending(done).told().verdict is Verdict.ACCEPTED
            assert not anybody_waits_for_a_lock()
            assert not stuck.done()
            assert told == []  # the parent is not due yet
        assert ending(stuck).told().verdict is Verdict.ACCEPTED
    assert told == ["default"]
    assert WorkflowRun.objects.due().filter(pk=parent.run_id).exists()


def test_one_turn_holds_answers_of_both_kinds(store: Store) -> None:
    held, *free = (held_run() for _ in range(5))
    with rivals("holder") as (holder,), held_open(holder, partial(lock, held.run_id)):
        receipts = store.apply([nap(scene) for scene in (held, *free)])
    verdicts = [receipt.verdict for receipt in receipts]
    assert verdicts == [Verdict.BUSY, *[Verdict.ACCEPTED] * 4]
    assert held.attempt is None
    assert all(scene.attempt is not None for scene in free)


def test_a_heartbeat_goes_round_a_held_row(store: Store) -> None:
    held, *free = (held_run() for _ in range(20))
    before = time.monotonic()
    with rivals("holder") as (holder,), held_open(holder, partial(cancel_run, held)):
        verdicts = store.extend([scene.lease for scene in (held, *free)], 77)
    assert time.monotonic() - before < PATIENCE_SECONDS
    assert verdicts.pop(held.lease) is Verdict.BUSY
    assert set(verdicts.values()) == {Verdict.ACCEPTED}
    assert len(verdicts) == 19
