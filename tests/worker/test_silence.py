"""A worker that falls silent within a transaction, frozen or cut off, holds no run for long."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import Group
from django.db import InternalError, connection, connections, transaction

from django_openworkflow import RetryPolicy, Step, workflow
from django_openworkflow.models import StepAttempt, WorkflowRun
from django_openworkflow.store.factory import store_for
from django_openworkflow.transactions import private_connection, write_transaction
from django_openworkflow.worker.ledger import GroupLedger
from tests.engine.turns import OPERATIONS, held
from tests.races.rivals import (
    PATIENCE_SECONDS,
    OpenTransaction,
    Rival,
    requires_row_locks,
    rivals,
)
from tests.worker.workers import (
    SHORT_LEASE_SECONDS,
    backend_pid,
    is_alive,
    wait_for_end,
    wait_until,
    working,
)

if TYPE_CHECKING:
    from django_openworkflow.store.operations import Receipt, StepCompleted

pytestmark = requires_row_locks

SHORT_LEASE = {"LEASE_SECONDS": 0.5}
SILENCE = "SELECT current_setting('idle_in_transaction_session_timeout')::interval"


def use_own_connection() -> None:
    """Let this thread do as the threads of the engine do."""
    connections.close_all()
    connections["default"] = private_connection("default")


@pytest.fixture
def engine() -> Iterator[Rival]:
    """A thread that has the connection of the engine's threads."""
    with rivals("engine") as (thread,):
        thread.do(use_own_connection).result(PATIENCE_SECONDS)
        yield thread


@pytest.fixture
def short_lease(settings: Any) -> None:
    """Let a lease be over soon."""
    settings.OPENWORKFLOW = {**settings.OPENWORKFLOW, **SHORT_LEASE}


@pytest.fixture
def worker(short_lease: None) -> Iterator[Rival]:
    """A thread of a worker whose leases are short."""
    with rivals("worker") as (thread,):
        yield thread


def book() -> None:
    """Write a row of the project's own."""
    Group.objects.create(name="booked")


def seconds_of_silence() -> float:
    """Return how long the server lets this transaction be silent; 0 for ever."""
    with connection.cursor() as cursor:
        cursor.execute(SILENCE)
        return float(cursor.fetchone()[0].total_seconds())


def cancel_in_time(run: WorkflowRun) -> None:
    """Cancel, and wait for a lock no longer than tests are patient."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT set_config('lock_timeout', %s, true)", [f"{PATIENCE_SECONDS}s"])
        run.cancel()


def silent_after(thread: Rival, write: Callable[[], Any], run: WorkflowRun) -> InternalError:
    """Let a thread write and then say nothing more, cancel its run; return what it met later."""
    frozen = OpenTransaction(thread, write)
    cancel_in_time(run)
    with pytest.raises(InternalError) as met:
        frozen.end(commit=True)
    return met.value


@pytest.mark.usefixtures("short_lease")
def test_a_cancel_waits_no_longer_than_a_lease_for_a_turn_that_never_ends(engine: Rival) -> None:
    run, attempt, lease = held()
    store = store_for("default")
    turn = (OPERATIONS["step-completed"](lease, attempt.pk),)

    error = silent_after(engine, lambda: store.apply(turn), run)

    assert "idle-in-transaction timeout" in str(error)
    attempt.refresh_from_db()
    assert attempt.status == "running"


def test_nor_for_a_step_in_a_transaction_once_its_body_is_over(worker: Rival) -> None:
    run, attempt, lease = held()
    ledger = GroupLedger(store_for("default"), lease_seconds=0.5)
    completion: StepCompleted = OPERATIONS["step-completed"](lease, attempt.pk)  # type: ignore[assignment]

    silent_after(worker, lambda: ledger.commit_with(completion), run)

    attempt.refresh_from_db()
    assert attempt.status == "running"
    ledger.close()


def test_a_step_frozen_before_its_commit_is_tried_again_at_nobodys_expense(
    worker: Rival, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit_with = GroupLedger.commit_with
    frozen: list[int] = []

    def freeze_once(ledger: GroupLedger, operation: StepCompleted) -> Receipt:
        receipt = commit_with(ledger, operation)
        if not frozen:
            frozen.append(pid := backend_pid())
            wait_until(lambda: not worker.do(is_alive, pid).result(), "the end of the connection")
        return receipt

    monkeypatch.setattr(GroupLedger, "commit_with", freeze_once)

    @workflow("booking", retry_policy=RetryPolicy(maximum_attempts=1))
    def booking(step: Step) -> None:
        once = RetryPolicy(maximum_attempts=1)
        step.transaction("book", book, retry_policy=once)

    handle = booking.start()
    with working(lease_seconds=SHORT_LEASE_SECONDS):
        wait_for_end(handle)

    assert frozen
    assert handle.run.status == "completed"
    assert Group.objects.count() == 1
    assert list(StepAttempt.objects.values_list("status", flat=True)) == ["completed"]


def test_a_transaction_of_the_project_may_be_silent_for_as_long_as_it_likes() -> None:
    with write_transaction("default"):
        assert seconds_of_silence() == 0


@pytest.mark.parametrize(("own", "expected"), [("10s", 10), ("1h", 30), ("0", 30)])
def test_the_servers_own_limit_counts_where_it_is_stricter(
    own: str, expected: float, engine: Rival
) -> None:
    def look() -> float:
        with connection.cursor() as cursor:
            cursor.execute(f"SET idle_in_transaction_session_timeout = '{own}'")
        with write_transaction("default"):
            return seconds_of_silence()

    assert engine.do(look).result(PATIENCE_SECONDS) == expected


def test_the_limit_ends_with_the_transaction(engine: Rival) -> None:
    def look() -> float:
        with write_transaction("default"):
            StepAttempt.objects.count()
        return seconds_of_silence()

    assert engine.do(look).result(PATIENCE_SECONDS) == 0
