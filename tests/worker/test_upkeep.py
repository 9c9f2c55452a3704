"""Heartbeats: what nobody confirms is lost, whatever keeps the confirmation away."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import pytest
from django.db import OperationalError

from django_openworkflow import Step, workflow
from django_openworkflow.identifiers import new_id
from django_openworkflow.models import WorkerProcess, WorkflowRun
from django_openworkflow.registry import registry
from django_openworkflow.store.base import ClaimRequest, Store
from django_openworkflow.store.factory import store_for
from django_openworkflow.store.workers import WorkerRecord
from django_openworkflow.worker.direct import DirectLedger
from django_openworkflow.worker.intake import Intake
from django_openworkflow.worker.leases import Leases
from django_openworkflow.worker.ledger import GroupLedger
from django_openworkflow.worker.pool import executors_of
from django_openworkflow.worker.upkeep import Upkeep
from tests.races.rivals import held_open, requires_row_locks, rivals
from tests.worker.workers import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from django_openworkflow.engine.execution import Execution
    from django_openworkflow.store.operations import Lease, Verdict

LEASE_SECONDS = 6.0


class UnreachableRecord(WorkerRecord):
    """A worker's row on a database that does not answer."""

    def beat(self) -> None:
        raise OperationalError


class UnreachableStore(Store):
    """A store on a database that does not answer heartbeats."""

    def _extend(
        self, leases: Sequence[Lease], lease_seconds: float, now: datetime | None
    ) -> dict[Lease, Verdict]:
        raise OperationalError


@pytest.fixture
def execution() -> Execution:
    """Return the execution of a run that was claimed just now."""

    @workflow("held")
    def held(step: Step) -> None:
        return None

    held.start()
    store = store_for("default")
    request = ClaimRequest(
        worker_name="w", limit=1, lease_seconds=LEASE_SECONDS, workflows=registry.claimable()
    )
    (executor,) = executors_of(store, store.claim(request), DirectLedger(store))
    return executor.execution


@pytest.fixture
def leases(execution: Execution) -> Leases:
    """Return what looks after that execution."""
    leases = Leases(LEASE_SECONDS)
    leases.add(execution)
    return leases


class Beater:
    """Takes a ledger's turns, as a worker does when a heartbeat is due."""

    def __init__(self, store: Store, leases: Leases) -> None:
        self._leases = leases
        intake = Intake(
            1,
            leases,
            worker_name="w",
            lease_seconds=LEASE_SECONDS,
            queues=None,
            hand_out=lambda _result: None,
        )
        self.ledger = GroupLedger(store, lease_seconds=LEASE_SECONDS, intake=intake)

    def beat(self) -> None:
        """Beat now, and give up what nobody has confirmed."""
        self._leases.hurry()
        self.ledger.take_turn()
        self._leases.lose_unconfirmed()


@pytest.fixture
def beater_on(leases: Leases) -> Iterator[Callable[[Store], Beater]]:
    """Return what makes a beater on a store."""
    made: list[Beater] = []

    def make(store: Store) -> Beater:
        made.append(Beater(store, leases))
        return made[-1]

    yield make
    for beater in made:
        beater.ledger.close()


def test_a_confirmed_lease_is_kept_and_extended(
    execution: Execution, beater_on: Callable[[Store], Beater]
) -> None:
    beater = beater_on(store_for("default"))
    first = WorkflowRun.objects.get().available_at
    assert first is not None

    def is_extended() -> bool:
        beater.beat()
        return (WorkflowRun.objects.get().available_at or first) > first

    wait_until(is_extended, "an extended lease")

    assert not execution.is_unwanted


def age(leases: Leases) -> None:
    """Let the last confirmation of each lease be older than a lease is long."""
    with leases._mutex:
        for lease, (execution, confirmed_at) in leases._held.items():
            leases._held[lease] = (execution, confirmed_at - LEASE_SECONDS)


def test_a_lease_that_no_heartbeat_confirms_is_given_up_in_time(
    execution: Execution, leases: Leases, beater_on: Callable[[Store], Beater]
) -> None:
    beater = beater_on(UnreachableStore("default"))
    beater.beat()
    assert not execution.is_unwanted  # there is time left

    age(leases)
    beater.beat()
    assert execution.is_unwanted


def test_a_heartbeat_is_due_three_times_in_a_lease_and_sooner_after_a_failure(
    leases: Leases,
) -> None:
    assert len(leases.take_due()) == 0  # it was claimed just now
    leases.hurry()
    assert len(leases.take_due()) == 1
    assert len(leases.take_due()) == 0
    due = leases.seconds_until_due()
    assert due is not None
    assert 0 < due <= LEASE_SECONDS / 3
    leases.retry_soon()
    assert (leases.seconds_until_due() or 0) <= LEASE_SECONDS / 12
    leases.hurry()
    assert len(leases.take_due()) == 1


def test_a_heartbeat_tells_of_a_cancel(
    execution: Execution, beater_on: Callable[[Store], Beater]
) -> None:
    beater = beater_on(store_for("default"))
    WorkflowRun.objects.cancel(execution.claimed.lease.run_id)
    beater.beat()

    assert execution.is_unwanted


def test_a_heartbeat_tells_of_a_thief(
    execution: Execution, beater_on: Callable[[Store], Beater]
) -> None:
    beater = beater_on(store_for("default"))
    WorkflowRun.objects.update(worker_id="thief:token")
    beater.beat()

    assert execution.is_unwanted


@requires_row_locks
def test_a_row_held_by_somebody_else_is_still_ours(
    execution: Execution, beater_on: Callable[[Store], Beater]
) -> None:
    beater = beater_on(store_for("default"))
    run = WorkflowRun.objects.get()
    with rivals("canceler") as (rival,), held_open(rival, run.cancel):
        beater.beat()
        assert not execution.is_unwanted


# --- the worker's own row -----------------------------------------------------------------------


def upkeep_of(leases: Leases, kind: type[WorkerRecord]) -> Upkeep:
    """Return the upkeep of a worker with these leases."""
    row = kind(
        id=new_id(),
        name="w",
        concurrency=1,
        queues=None,
        workflows=registry.claimable(),
        using="default",
    )
    return Upkeep(store_for("default"), leases, row, lease_seconds=LEASE_SECONDS)


def test_a_worker_has_a_row_while_its_upkeep_goes_on() -> None:
    upkeep = upkeep_of(Leases(LEASE_SECONDS), WorkerRecord)
    upkeep.start()
    wait_until(WorkerProcess.objects.exists, "the worker's row")
    upkeep.stop()

    assert not WorkerProcess.objects.exists()


def test_leases_are_given_up_although_the_workers_own_row_cannot_be_written(
    execution: Execution, leases: Leases
) -> None:
    upkeep = upkeep_of(leases, UnreachableRecord)
    upkeep.start()
    age(leases)
    wait_until(lambda: execution.is_unwanted, "the end of a lease that nobody confirms")
    upkeep.stop()
