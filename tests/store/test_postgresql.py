"""The turn on PostgreSQL: one trip, few statements, a connection that is used again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from django.db import DEFAULT_DB_ALIAS, connection, connections

from django_openworkflow.models import StepAttempt, WorkflowRun
from django_openworkflow.states import StepKind
from django_openworkflow.store.base import ClaimRequest, Store
from django_openworkflow.store.factory import store_for
from django_openworkflow.store.operations import (
    ClaimedRun,
    Lease,
    Operation,
    RunCompleted,
    RunFailed,
    RunParked,
    RunReleased,
    RunRescheduled,
    StepCompleted,
    StepFailed,
    StepStarted,
    Verdict,
)
from tests.engine.turns import ERROR, HOUR
from tests.factories import WorkflowRunFactory, create_many
from tests.races.rivals import held_open, rivals
from tests.store.claims import request

if connection.vendor != "postgresql" or type(store_for(DEFAULT_DB_ALIAS)) is Store:
    pytest.skip("the store of PostgreSQL is not in use", allow_module_level=True)

from django_openworkflow.packets import trips

if TYPE_CHECKING:
    from django_openworkflow.packets.wire import Query

pytestmark = pytest.mark.django_db(transaction=True, available_apps=["django_openworkflow"])


class Sent:
    """What left for the server: the statements of each packet."""

    def __init__(self) -> None:
        self.packets: list[list[str]] = []

    @property
    def last(self) -> list[str]:
        return self.packets[-1]


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Sent:
    """Watch the packets; they are sent all the same."""
    watched = Sent()
    exchange = trips._exchange

    def watching(raw: Any, packet: Sequence[tuple[Query, Any]], *, is_prepared: bool) -> Any:
        watched.packets.append([query.sql.decode() for query, _ in packet])
        return exchange(raw, list(packet), is_prepared=is_prepared)

    monkeypatch.setattr(trips, "_exchange", watching)
    return watched


def claim(store: Store, size: int) -> list[ClaimedRun]:
    create_many(size)
    claimed = store.take_turn((), claim=request(limit=size)).claimed
    assert len(claimed) == size
    return claimed


def start(lease: Lease) -> StepStarted:
    return StepStarted(lease=lease, attempt_id=uuid4(), step_name="a", kind=StepKind.FUNCTION)


def every_kind(runs: list[ClaimedRun]) -> list[Operation]:
    """One operation of each kind that is written in one trip, over and over."""
    operations: list[Operation] = []
    for number, run in enumerate(runs):
        lease, begun = run.lease, start(run.lease)
        resumed = StepStarted(
            lease=lease, attempt_id=uuid4(), step_name="b", kind="function", resumed=True
        )
        ended = StepCompleted(lease=lease, attempt_id=uuid4(), output="1")
        failed = StepFailed(lease=lease, attempt_id=uuid4(), error=ERROR)
        ends: list[Operation] = [
            RunCompleted(lease=lease, parent_run_id=None, output="1"),
            RunFailed(lease=lease, parent_run_id=None, error=ERROR),
            RunRescheduled(lease=lease, error=ERROR, delay=HOUR, is_failure=True),
            RunParked(lease=lease, wake_at=run.claimed_at + HOUR),
            RunReleased(lease=lease),
        ]
        operations += [begun, resumed, ended, failed, ends[number % len(ends)]]
    return operations


# --- cost ---------------------------------------------------------------------------------------


class TestCost:
    def test_a_turn_is_one_packet_and_its_statements_do_not_grow_with_it(self, sent: Sent) -> None:
        store = store_for(DEFAULT_DB_ALIAS)
        counts = []
        for size in (5, 100):
            runs = claim(store, size)
            before = len(sent.packets)
            leases = [run.lease for run in runs]
            result = store.take_turn(
                every_kind(runs), claim=request(), leases=leases, lease_seconds=30
            )
            assert {receipt.verdict for receipt in result.receipts} == {Verdict.ACCEPTED}
            assert len(sent.packets) == before + 1
            counts.append(len(sent.last))
            WorkflowRun.objects.all().delete()
        assert counts[0] == counts[1]
        # The transaction's begin and commit, the planner's settings, the fence, three kinds of
        # steps, three ways to give up, the look after a park, two ends, the heartbeats, the claim,
        # the histories.
        assert counts[0] == 16

    def test_a_run_of_three_steps_alone_takes_four_commits(self, sent: Sent) -> None:
        """Its start marker shares the turn of its result where the body is that short."""
        store = store_for(DEFAULT_DB_ALIAS)
        (run,) = claim(store, 1)
        lease = run.lease
        steps = [start(lease)]
        for name in ("b", "c"):
            begun = StepStarted(lease=lease, attempt_id=uuid4(), step_name=name, kind="function")
            ended = StepCompleted(lease=lease, attempt_id=steps[-1].attempt_id, output="1")
            first = [] if len(steps) > 1 else [steps[0]]
            store.take_turn([*first, ended, begun])
            steps.append(begun)
        ended = StepCompleted(lease=lease, attempt_id=steps[-1].attempt_id, output="1")
        store.take_turn([ended, RunCompleted(lease=lease, parent_run_id=None, output="1")])

        assert len(sent.packets) == 4
        assert WorkflowRun.objects.get().status == "completed"
        assert list(StepAttempt.objects.values_list("status", flat=True)) == ["completed"] * 3

    @pytest.mark.parametrize(("claims", "expected"), [(False, "off"), (True, "on")])
    def test_only_a_turn_of_markers_does_not_wait_for_the_disk(
        self, monkeypatch: pytest.MonkeyPatch, expected: str, *, claims: bool
    ) -> None:
        store = store_for(DEFAULT_DB_ALIAS)
        (run,) = claim(store, 1)
        found: list[Any] = []
        make = trips.Trip.make

        def asking(trip: trips.Trip) -> Any:
            place = trip.add("SELECT current_setting('synchronous_commit')", {})
            rows = make(trip)
            found.extend(rows[place])
            return rows

        with connection.cursor() as cursor:
            cursor.execute("SET synchronous_commit = on")  # the server's default may be another
        monkeypatch.setattr(trips.Trip, "make", asking)
        store.take_turn([start(run.lease)], claim=request() if claims else None)
        assert found == [(expected,)]


# --- the assumption -----------------------------------------------------------------------------


def test_one_run_that_was_canceled_keeps_no_other_from_being_written(sent: Sent) -> None:
    store = store_for(DEFAULT_DB_ALIAS)
    runs = claim(store, 3)
    WorkflowRun.objects.cancel(runs[1].lease.run_id)
    result = store.take_turn([start(run.lease) for run in runs], claim=request())

    verdicts = [receipt.verdict for receipt in result.receipts]
    assert verdicts == [Verdict.ACCEPTED, Verdict.CANCELED, Verdict.ACCEPTED]
    written = set(StepAttempt.objects.values_list("workflow_run_id", flat=True))
    assert written == {runs[0].lease.run_id, runs[2].lease.run_id}


def test_a_turn_whose_assumption_was_wrong_has_claimed_nothing_by_it() -> None:
    store = store_for(DEFAULT_DB_ALIAS)
    (run,) = claim(store, 1)
    WorkflowRun.objects.cancel(run.lease.run_id)
    due = WorkflowRunFactory.create()
    result = store.take_turn([start(run.lease)], claim=request())
    due.refresh_from_db()

    (claimed,) = result.claimed
    assert (due.worker_id, due.attempts) == (claimed.lease.worker_id, 1)


@pytest.mark.parametrize("is_parent", [False, True])
def test_a_row_that_somebody_holds_is_busy_and_the_rest_is_written(*, is_parent: bool) -> None:
    store = store_for(DEFAULT_DB_ALIAS)
    busy, free = claim(store, 2)
    parent = WorkflowRunFactory.create(parked=True)
    held_id = parent.pk if is_parent else busy.lease.run_id

    def lock() -> None:
        WorkflowRun.objects.select_for_update(no_key=True).get(pk=held_id)

    end = RunCompleted(lease=busy.lease, parent_run_id=parent.pk, output=None)
    with rivals("other") as (other,), held_open(other, lock):
        result = store.take_turn([end, start(free.lease)])
    assert [receipt.verdict for receipt in result.receipts] == [Verdict.BUSY, Verdict.ACCEPTED]
    assert WorkflowRun.objects.get(pk=busy.lease.run_id).status == "running"


# --- the connection -----------------------------------------------------------------------------


def prepared_names() -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT name FROM pg_prepared_statements")
        return [name for (name,) in cursor.fetchall()]


@pytest.fixture
def fresh() -> Iterator[None]:
    connection.close()
    yield
    connection.close()


@pytest.mark.usefixtures("fresh")
class TestPrepared:
    def test_by_default(self) -> None:
        claim(store_for(DEFAULT_DB_ALIAS), 1)
        assert any(name.startswith("openworkflow_") for name in prepared_names())

    @pytest.mark.parametrize(
        ("name", "value"),
        [("DISABLE_SERVER_SIDE_CURSORS", True), ("OPTIONS", {"prepare_threshold": None})],
    )
    def test_not_behind_a_pooler(
        self, monkeypatch: pytest.MonkeyPatch, name: str, value: object
    ) -> None:
        settings = connections[DEFAULT_DB_ALIAS].settings_dict
        given = {**settings["OPTIONS"], **value} if isinstance(value, dict) else value
        monkeypatch.setitem(settings, name, given)
        claim(store_for(DEFAULT_DB_ALIAS), 1)
        assert prepared_names() == []

    def test_a_pooler_that_nobody_told_of_costs_one_try(self, sent: Sent) -> None:
        store = store_for(DEFAULT_DB_ALIAS)
        claim(store, 1)
        with connection.cursor() as cursor:
            cursor.execute("DEALLOCATE ALL")  # as on another connection of the server's
        before = len(sent.packets)
        claim(store, 1)
        assert len(sent.packets) == before + 2
        claim(store, 1)
        assert len(sent.packets) == before + 3

    def test_settings_end_with_the_turn(self) -> None:
        claim(store_for(DEFAULT_DB_ALIAS), 1)
        with connection.cursor() as cursor:
            cursor.execute("SHOW enable_seqscan")
            assert cursor.fetchone() == ("on",)


def test_a_refused_row_leaves_the_connection_usable_and_nothing_written() -> None:
    from django.db import IntegrityError

    store = store_for(DEFAULT_DB_ALIAS)
    first, second = claim(store, 2)
    begun = [start(first.lease), start(first.lease)]
    ends = [StepCompleted(lease=first.lease, attempt_id=each.attempt_id) for each in begun]
    with pytest.raises(IntegrityError):
        store.take_turn([start(second.lease), *begun, *ends])
    assert not StepAttempt.objects.exists()
    assert store.take_turn([start(second.lease)]).receipts[0].verdict is Verdict.ACCEPTED


def test_a_claim_by_a_worker_that_knows_many_workflows() -> None:
    store = store_for(DEFAULT_DB_ALIAS)
    run = WorkflowRunFactory.create(version="2")
    known = [("process-order", "2"), *((f"other-{number}", None) for number in range(100))]
    claimed = store.claim(
        ClaimRequest(worker_name="worker", limit=5, lease_seconds=30, workflows=known)
    )
    assert [each.lease.run_id for each in claimed] == [run.pk]
