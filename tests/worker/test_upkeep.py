"""Heartbeats: what nobody confirms is lost, whatever keeps the confirmation away."""

from __future__ import annotations

from collections.abc import Collection, Iterable
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
from django_openworkflow.worker.ledger import DirectLedger
from django_openworkflow.worker.pool import executors_of
from django_openworkflow.worker.upkeep import Leases, Upkeep
from tests.races.rivals import held_open, requires_row_locks, rivals
from tests.worker.workers import wait_until

if TYPE_CHECKING:
    from django_openworkflow.engine.execution import Execution
    from django_openworkflow.store.operations import Lease, Verdict

LEASE_SECONDS = 0.6


class UnreachableRecord(WorkerRecord):
    """A worker's row on a database that does not answer."""

    def beat(self) -> None:
        raise OperationalError


class UnreachableStore(Store):
    """A store on a database that does not answer heartbeats."""

    def extend(
        self, leases: Iterable[Lease], lease_seconds: float, *, now: datetime | None = None
    ) -> dict[Lease, Verdict]:
        raise OperationalError


def record(kind: type[WorkerRecord] = WorkerRecord) -> WorkerRecord:
    """Return a worker's row."""
    workflows: Collection[tuple[str, str | None]] = registry.claimable()
    return kind(
        id=new_id(), name="w", concurrency=1, queues=None, workflows=workflows, using="default"
    )


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


def upkeep_of(
    execution: Execution, store: Store | None = None, row: WorkerRecord | None = None
) -> Upkeep:
    """Return the upkeep of one execution."""
    leases = Leases()
    leases.add(execution)
    return Upkeep(
        store or store_for("default"), leases, row or record(), lease_seconds=LEASE_SECONDS
    )


def beat(upkeep: Upkeep) -> bool:
    """Beat once as the upkeep's thread does; return whether the database answered."""
    try:
        upkeep.beat()
    except OperationalError:
        return False
    return True


def test_a_confirmed_lease_is_kept_and_extended(execution: Execution) -> None:
    upkeep = upkeep_of(execution)
    first = WorkflowRun.objects.get().available_at
    assert first is not None
    wait_until(
        lambda: beat(upkeep) and (WorkflowRun.objects.get().available_at or first) > first,
        "an extended lease",
    )

    assert not execution.is_unwanted
    assert WorkerProcess.objects.get().name == "w"


def test_a_lease_that_no_heartbeat_confirms_is_given_up_in_time(execution: Execution) -> None:
    upkeep = upkeep_of(execution, UnreachableStore("default"))
    assert not beat(upkeep)
    assert not execution.is_unwanted  # there is time left
    wait_until(lambda: beat(upkeep) or execution.is_unwanted, "the end of the lease")

    assert execution.is_unwanted


def test_a_lease_is_extended_although_the_workers_own_row_cannot_be_written(
    execution: Execution,
) -> None:
    upkeep = upkeep_of(execution, row=record(UnreachableRecord))
    first = WorkflowRun.objects.get().available_at
    assert first is not None
    wait_until(
        lambda: not beat(upkeep) and (WorkflowRun.objects.get().available_at or first) > first,
        "an extended lease",
    )

    assert not execution.is_unwanted


def test_a_heartbeat_tells_of_a_cancel_and_of_a_thief(execution: Execution) -> None:
    upkeep = upkeep_of(execution)
    WorkflowRun.objects.cancel(execution.claimed.lease.run_id)
    upkeep.beat()

    assert execution.is_unwanted


@requires_row_locks
def test_a_row_held_by_somebody_else_is_still_ours(execution: Execution) -> None:
    upkeep = upkeep_of(execution)
    run = WorkflowRun.objects.get()
    with rivals("canceler") as (rival,), held_open(rival, run.cancel):
        upkeep.beat()
        assert not execution.is_unwanted
