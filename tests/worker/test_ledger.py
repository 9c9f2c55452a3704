"""Group commit: one turn for many, one bad apple alone, and a database that comes and goes."""

from __future__ import annotations

<<<<<<< HEAD
from collections.abc import Sequence
from typing import Any
=======
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
>>>>>>> 43adf71 (A claim that gives its run up leaves its name: operations issued again are recognized, whatever their kind)

import pytest
from django.db import IntegrityError, OperationalError, connection, connections

from django_openworkflow import Step, workflow
from django_openworkflow.models import StepAttempt, WorkflowRun
from django_openworkflow.registry import registry
<<<<<<< HEAD
from django_openworkflow.store.base import ClaimRequest, Store, TurnResult
=======
from django_openworkflow.signals import run_completed, run_failed
from django_openworkflow.store.base import ClaimRequest, Store
>>>>>>> 43adf71 (A claim that gives its run up leaves its name: operations issued again are recognized, whatever their kind)
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
from tests.worker.workers import PATIENCE_SECONDS, wait_until, work_until_idle

<<<<<<< HEAD
=======
if TYPE_CHECKING:
    from django.dispatch import Signal


class WatchedStore(Store):
    """The real store, which notes its turns and can be made to wait or to fail around one."""

    def __init__(self, using: str) -> None:
        super().__init__(using)
        self.turns: list[int] = []
        self.before: Callable[[], None] = lambda: None
        self.after: Callable[[], None] = lambda: None

    def apply(self, operations: Sequence[Operation], *, wait: bool = False) -> list[Receipt]:
        self.turns.append(len(operations))
        self.before()
        receipts = super().apply(operations, wait=wait)
        self.after()
        return receipts


class Callers:
    """Threads that submit to one ledger."""

    def __init__(self, ledger: GroupLedger, pool: ThreadPoolExecutor) -> None:
        self.ledger = ledger
        self._pool = pool
        self._about_to: list[object] = []
        self._futures: list[Future[Receipt]] = []

    def submit(self, *operations: Operation) -> Future[Receipt]:
        """Submit in a thread of its own."""

        def call() -> Receipt:
            self._about_to.append(operations)
            return self.ledger.submit(*operations)

        self._futures.append(self._pool.submit(call))
        return self._futures[-1]

    def wait_until_all_submit(self) -> None:
        """Return once every thread is at the ledger's door."""
        wait_until(lambda: len(self._about_to) == len(self._futures), "all threads")


@contextmanager
def callers(store: Store, *, lease_seconds: float = 30) -> Iterator[Callers]:
    """Give a ledger with many threads in front of it."""
    ledger = GroupLedger(store, lease_seconds=lease_seconds)
    with ThreadPoolExecutor(16) as pool:
        yield Callers(ledger, pool)
    ledger.close()


class Pause:
    """Holds the first turn until it may go on."""

    def __init__(self, store: WatchedStore) -> None:
        self.is_reached = threading.Event()
        self.may_go_on = threading.Event()
        store.before = self._hold

    def _hold(self) -> None:
        self.is_reached.set()
        assert self.may_go_on.wait(PATIENCE_SECONDS)


def start_of(run: WorkflowRun) -> Operation:
    """Return an operation that starts a step of a held run."""
    return OPERATIONS["start"](lease_of(run), run.pk)


>>>>>>> 43adf71 (A claim that gives its run up leaves its name: operations issued again are recognized, whatever their kind)
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

    def note_pid() -> None:
        with connections["default"].cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            pids.append(cursor.fetchone()[0])

    store.after = note_pid
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


@pytest.mark.parametrize(
    ("ending", "signal"), [("completed", run_completed), ("failed", run_failed)]
)
def test_an_end_whose_reply_is_lost_is_announced_once(ending: str, signal: Signal) -> None:
    """Every reply of the store is lost once: each operation is committed, and issued again."""

    @workflow("ending")
    def ends(step: Step) -> str:
        step.run("works", lambda: "done")
        if ending == "failed":
            raise ValueError(ending)
        return "done"

    heard: list[WorkflowRun] = []

    def listen(run: WorkflowRun, **_facts: object) -> None:
        heard.append(run)

    signal.connect(listen)
    handle = ends.start()
    store = WatchedStore("default")
    store.after = LosesEveryOther()
    ledger = GroupLedger(store, lease_seconds=PATIENCE_SECONDS)
    request = ClaimRequest(
        worker_name="w", limit=1, lease_seconds=60, workflows=registry.claimable()
    )
    (executor,) = executors_of(store, store.claim(request), ledger)
    executor.execute()
    ledger.close()
    signal.disconnect(listen)

    assert handle.status == ending
    assert [run.pk for run in heard] == [handle.id]
    assert len(store.turns) == 6  # start, result and end: each twice


class LosesEveryOther:
    """Raises what a commit raises whose reply does not come, at every other call."""

    def __init__(self) -> None:
        self._calls = 0

    def __call__(self) -> None:
        self._calls += 1
        if self._calls % 2:
            message = "server closed the connection unexpectedly"
            raise OperationalError(message)
