"""Group commit: one turn for many, one bad apple alone, and a database that comes and goes."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

import pytest
from django.db import IntegrityError, OperationalError, connection

from django_openworkflow import Step, workflow
from django_openworkflow.models import StepAttempt, WorkflowRun
from django_openworkflow.registry import registry
from django_openworkflow.store.base import ClaimRequest, Store, TurnResult
from django_openworkflow.store.factory import store_for
from django_openworkflow.store.operations import (
    Operation,
    RunCompleted,
    StepCompleted,
    StorageInterrupted,
    Verdict,
)
from django_openworkflow.worker.ledger import GroupLedger
from django_openworkflow.worker.pool import executors_of
from tests.engine.turns import OPERATIONS, held
from tests.factories import StepAttemptFactory, WorkflowRunFactory
from tests.races.rivals import held_open, requires_row_locks, rivals
from tests.worker.ledgers import Pause, WatchedStore, broken_once, callers, start_of
from tests.worker.workers import PATIENCE_SECONDS, backend_pid, wait_until, work_until_idle

if TYPE_CHECKING:
    from concurrent.futures import Future

    from django_openworkflow.store.operations import Receipt

# --- group commit -------------------------------------------------------------------------------


def test_what_gathers_during_a_turn_is_written_in_one() -> None:
    store = WatchedStore("default")
    runs = [WorkflowRunFactory.create(running=True) for _ in range(10)]
    with callers(store) as them:
        pause = Pause(store)
        futures = [them.submit(start_of(runs[0]))]
        assert pause.is_reached.wait(PATIENCE_SECONDS)
        futures += [them.submit(start_of(run)) for run in runs[1:]]
        them.wait_until_all_submit()
        pause.may_go_on.set()
        verdicts = {future.result(PATIENCE_SECONDS).verdict for future in futures}

    assert verdicts == {Verdict.ACCEPTED}
    assert store.turns[0] == 1
    assert sum(store.turns) == 10
    assert len(store.turns) < 10
    assert StepAttempt.objects.count() == 10


def test_a_lone_caller_writes_at_once() -> None:
    store = WatchedStore("default")
    run = WorkflowRunFactory.create(running=True)
    with callers(store) as them:
        assert them.ledger.submit(start_of(run), start_of(run)).verdict is Verdict.ACCEPTED

    assert store.turns == [2]


def test_a_turn_ends_before_its_connection_is_closed_and_none_comes_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = WatchedStore("default")
    first, second = (WorkflowRunFactory.create(running=True) for _ in range(2))
    with callers(store) as them:
        ledger = them.ledger
        closed_while_busy: list[bool] = []
        close = ledger._connection.close

        def noted_close() -> None:
            closed_while_busy.append(ledger.is_busy)
            close()

        monkeypatch.setattr(ledger._connection, "close", noted_close)
        pause = Pause(store)
        in_flight = them.submit(start_of(first))
        assert pause.is_reached.wait(PATIENCE_SECONDS)
        closer = threading.Thread(target=ledger.close)
        closer.start()
        wait_until(lambda: ledger.is_closed, "a ledger that takes nothing more")
        with pytest.raises(StorageInterrupted):
            ledger.submit(start_of(second))
        with pytest.raises(StorageInterrupted):
            ledger.post(start_of(second))
        pause.may_go_on.set()
        closer.join(PATIENCE_SECONDS)

    assert in_flight.result(0).verdict is Verdict.ACCEPTED
    assert closed_while_busy[0] is False
    assert store.turns == [1]


class LockWithAfterthought:
    """The lock of a ledger, which lets something happen just after ``_pass_on`` has given it back.

    It happens once, and before the thread that had the lock comes to its next line.
    """

    def __init__(self, ledger: GroupLedger, afterthought: Callable[[], object]) -> None:
        self._lock = ledger._mutex
        self._afterthoughts = [afterthought]
        ledger._mutex = cast("threading.Lock", self)

    def __enter__(self) -> bool:
        return self._lock.__enter__()

    def __exit__(self, *error: Any) -> None:
        self._lock.__exit__(*error)
        if self._afterthoughts and sys._getframe(1).f_code.co_name == "_pass_on":
            self._afterthoughts.pop()()


def test_a_turn_that_begins_while_another_is_given_up_has_one_leader() -> None:
    store = WatchedStore("default")
    first, second = (WorkflowRunFactory.create(running=True) for _ in range(2))
    with callers(store) as them:
        ledger = them.ledger
        pause = Pause(store)
        pause.may_go_on.set()
        began: list[Future[Receipt]] = []

        def begin() -> None:
            pause.may_go_on.clear()
            pause.is_reached.clear()
            began.append(them.submit(start_of(second)))
            assert pause.is_reached.wait(PATIENCE_SECONDS)

        LockWithAfterthought(ledger, begin)
        assert ledger.submit(start_of(first)).verdict is Verdict.ACCEPTED
        assert ledger.is_busy
        assert ledger._thread is None  # it was not called to lead beside the one who does
        pause.may_go_on.set()
        assert began[0].result(PATIENCE_SECONDS).verdict is Verdict.ACCEPTED

    assert store.turns == [1, 1]


def test_one_bad_operation_fails_alone() -> None:
    store = WatchedStore("default")
    runs = [WorkflowRunFactory.create(running=True) for _ in range(4)]
    spoilt, attempt, lease = held()
    StepAttemptFactory.create(workflow_run=spoilt, step_name="body", completed=True)
    with callers(store) as them:
        pause = Pause(store)
        good = [them.submit(start_of(runs[0]))]
        assert pause.is_reached.wait(PATIENCE_SECONDS)
        bad = them.submit(StepCompleted(lease=lease, attempt_id=attempt.pk, output="2"))
        good += [them.submit(start_of(run)) for run in runs[1:]]
        them.wait_until_all_submit()
        pause.may_go_on.set()
        verdicts = {future.result(PATIENCE_SECONDS).verdict for future in good}
        with pytest.raises(StorageInterrupted) as caught:
            bad.result(PATIENCE_SECONDS)

    assert verdicts == {Verdict.ACCEPTED}
    assert isinstance(caught.value.__cause__, IntegrityError)
    attempt.refresh_from_db()
    assert attempt.status == "running"


def test_each_caller_hears_the_verdict_of_its_own_run() -> None:
    store = WatchedStore("default")
    states = {"running": "accepted", "canceled": "canceled", "parked": "lost", "failed": "lost"}
    runs = [WorkflowRunFactory.create(**{state: True}) for state in states]
    with callers(store) as them:
        pause = Pause(store)
        first = them.submit(start_of(runs[0]))
        assert pause.is_reached.wait(PATIENCE_SECONDS)
        futures = [first, *(them.submit(start_of(run)) for run in runs[1:])]
        them.wait_until_all_submit()
        pause.may_go_on.set()
        verdicts = [future.result(PATIENCE_SECONDS).verdict.value for future in futures]

    assert verdicts == list(states.values())


@requires_row_locks
def test_a_row_that_somebody_holds_waits_while_all_others_go_on() -> None:
    blocked, *free = (WorkflowRunFactory.create(running=True) for _ in range(4))
    with callers(store_for("default")) as them:
        with rivals("canceler") as (rival,), held_open(rival, blocked.cancel) as canceling:
            waiting = them.submit(start_of(blocked))
            for run in free:
                assert them.ledger.submit(start_of(run)).verdict is Verdict.ACCEPTED
            assert not waiting.done()
            canceling.end(commit=True)
        assert waiting.result(PATIENCE_SECONDS).verdict is Verdict.CANCELED

    assert StepAttempt.objects.filter(workflow_run=blocked).count() == 0


# --- a database that comes and goes -------------------------------------------------------------


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_connection_lost_around_a_commit_fails_nothing_and_writes_nothing_twice(
    when: str,
) -> None:
    for name in ("start", "step-completed", "step-failed", "completed"):
        store = WatchedStore("default")
        run, attempt, lease = held()
        setattr(store, when, broken_once(3))
        with callers(store) as them:
            receipt = them.ledger.submit(OPERATIONS[name](lease, attempt.pk))

        assert receipt.verdict is Verdict.ACCEPTED
        assert store.turns == [1] * 4
        assert StepAttempt.objects.filter(workflow_run=run).count() == 1 + (name == "start")


@requires_row_locks
def test_a_killed_connection_of_the_ledger_is_opened_again() -> None:
    pids: list[int] = []
    store = WatchedStore("default")
    run = WorkflowRunFactory.create(running=True)

    store.after = lambda: pids.append(backend_pid())
    with callers(store) as them:
        assert them.ledger.submit(start_of(run)).verdict is Verdict.ACCEPTED
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s)", pids)
        assert them.ledger.submit(start_of(run)).verdict is Verdict.ACCEPTED

    assert len(set(pids)) == 2
    assert StepAttempt.objects.count() == 2


def test_a_database_that_stays_away_for_a_lease_interrupts_every_caller() -> None:
    store = WatchedStore("default")
    store.before = broken_once(10**9)
    runs = [WorkflowRunFactory.create(running=True) for _ in range(3)]
    before = list(WorkflowRun.objects.values())
    with callers(store, lease_seconds=0.2) as them:
        futures = [them.submit(start_of(run)) for run in runs]
        for future in futures:
            with pytest.raises(StorageInterrupted):
                future.result(PATIENCE_SECONDS)

    assert list(WorkflowRun.objects.values()) == before


@pytest.mark.parametrize("fails_at", [StepCompleted, RunCompleted])
def test_a_database_that_stays_away_is_never_blamed_on_the_run(fails_at: type[Any]) -> None:
    class AwayStore(Store):
        def take_turn(self, operations: Sequence[Operation], **wanted: Any) -> TurnResult:
            if any(isinstance(operation, fails_at) for operation in operations):
                raise OperationalError
            return super().take_turn(operations, **wanted)

    calls: list[int] = []

    @workflow("innocent")
    def innocent(step: Step) -> str:
        try:
            step.run("work", calls.append, 1)
        except Exception:
            return "blamed"
        return "done"

    handle = innocent.start()
    store = AwayStore("default")
    ledger = GroupLedger(store, lease_seconds=0.1)
    request = ClaimRequest(
        worker_name="w", limit=1, lease_seconds=0.1, workflows=registry.claimable()
    )
    (executor,) = executors_of(store, store.claim(request), ledger)
    executor.execute()
    ledger.close()

    run = handle.run
    assert (run.status, run.error, run.failures) == ("running", None, 0)
    assert run.worker_id is not None  # left to its lease
    assert not StepAttempt.objects.filter(status="failed").exists()
    wait_until(lambda: work_until_idle().executed, "the take-over")
    assert handle.result(timeout=0) == "done"
