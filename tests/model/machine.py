"""Random histories: every verb of the store and of people, against the reference.

Hypothesis draws what happens next; after each rule the rows must be what the reference says, and
the invariants must hold. A failure is printed as the history that shows it.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from django.conf import settings
from django.db import DEFAULT_DB_ALIAS
from django.test import override_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from django_openworkflow import clock, send_signal
from django_openworkflow.exceptions import RunNotCancelable, RunNotRetryable
from django_openworkflow.identifiers import new_id
from django_openworkflow.models import BufferedSignal, SignalDelivery, StepAttempt, WorkflowRun
from django_openworkflow.states import RunStatus, StepKind
from django_openworkflow.store import operations as ops
from django_openworkflow.store import sweeps
from django_openworkflow.store.base import ClaimRequest
from django_openworkflow.store.enqueue import insert_runs
from django_openworkflow.store.factory import store_for
from django_openworkflow.store.operations import Lease, Verdict
from django_openworkflow.store.retention import Retention
from tests.model.invariants import agree
from tests.model.reference import BACKOFF, ENDED, FAR, LEASE, MOST_CRASHES, NAP, Run, Wait

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

pick = st.integers(0, 1000)
SIGNALS = ("red", "green")
GIVING_UP = (ops.RunParked, ops.RunRescheduled, ops.RunReleased, ops.RunFailed)


def span(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


def empty_tables() -> None:
    """Delete all rows; the two tables refer to each other."""
    WorkflowRun._base_manager.update(parent_step_attempt=None)
    for model in (BufferedSignal, SignalDelivery, StepAttempt, WorkflowRun):
        rows = model._base_manager.all()
        rows._raw_delete(DEFAULT_DB_ALIAS)


def any_run(found: Callable[[Run], bool]) -> Callable[[Any], bool]:
    """Enable a rule only when there is such a run."""
    return lambda machine: any(map(found, machine.runs))


class RunMachine(RuleBasedStateMachine):
    """The database on one side, ``runs`` on the other."""

    steps_made: ClassVar[int] = 0

    def __init__(self) -> None:
        super().__init__()
        self.store = store_for(DEFAULT_DB_ALIAS)
        self.runs: list[Run] = []
        self.now = 0.0
        chosen = {**settings.OPENWORKFLOW, "MAX_CRASHES": MOST_CRASHES}
        self.settings = override_settings(OPENWORKFLOW=chosen)
        self.settings.enable()
        empty_tables()
        clock.reset()
        self.began_at = clock.read(DEFAULT_DB_ALIAS)

    def teardown(self) -> None:
        self.settings.disable()
        clock.reset()

    def check_invariants(self, *args: Any, **kwargs: Any) -> None:
        """Compare after each rule."""
        type(self).steps_made += 1
        agree(self.runs, self.began_at)
        super().check_invariants(*args, **kwargs)

    # --- helpers --------------------------------------------------------------------------------

    def choose(self, number: int, found: Callable[[Run], bool]) -> Run:
        candidates = [run for run in self.runs if found(run)]
        return candidates[number % len(candidates)]

    def held(self, number: int) -> tuple[Run, Lease]:
        run = self.choose(number, lambda run: run.is_held)
        assert run.lease is not None
        return run, run.lease

    def submit(self, *operations: ops.Operation) -> ops.Receipt:
        """Write a turn that must be accepted; one that is issued again must be as well."""
        receipts = self.store.take_turn(operations).receipts
        assert {receipt.verdict for receipt in receipts} == {Verdict.ACCEPTED}
        return receipts[-1]

    def known(self) -> list[tuple[str, str | None]]:
        return [("flow", None)]

    # --- starting and claiming ------------------------------------------------------------------

    @rule(later=st.booleans(), has_deadline=st.booleans())
    def start(self, *, later: bool, has_deadline: bool) -> None:
        new_run = ops.NewRun(
            workflow_name="flow",
            version=None,
            input=None,
            available_at=span(NAP) if later else None,
            deadline_at=span(3 * NAP) if has_deadline else None,
        )
        (run_id,) = insert_runs(new_run, [None], using=DEFAULT_DB_ALIAS)
        available_at = self.now + NAP if later else self.now
        deadline_at = self.now + 3 * NAP if has_deadline else None
        self.runs.append(Run(id=run_id, available_at=available_at, deadline_at=deadline_at))

    @rule(limit=st.integers(1, 3))
    def claim(self, limit: int) -> None:
        """As many due runs as asked for, the oldest due first, each under a lease of its own.

        Of the suspects among them the first alone.
        """
        due = [run for run in self.runs if self.may_be_claimed(run)]
        moments = dict(WorkflowRun.objects.values_list("pk", "available_at"))  # to the millisecond
        due.sort(key=lambda run: (run.available_at, moments[run.id], run.id))
        claimed = self.store.claim(
            ClaimRequest(
                worker_name="worker", limit=limit, lease_seconds=LEASE, workflows=self.known()
            )
        )
        suspects = [run for run in due[:limit] if run.is_suspect()]
        taken = [run for run in due[:limit] if run not in suspects[1:]]
        assert [one.lease.run_id for one in claimed] == [run.id for run in taken]
        for run, one in zip(taken, claimed, strict=True):
            self.take(run, one.lease)
            assert one.is_suspect == (run in suspects)

    def may_be_claimed(self, run: Run) -> bool:
        return run.is_due(self.now) and not run.is_poisoned() and not run.is_overdue(self.now)

    def take(self, run: Run, lease: Lease) -> None:
        if run.lease is not None:
            run.zombies.append(run.lease)
            run.crashes += 1
            run.takeovers += 1
        assert lease not in run.zombies
        run.lease, run.status = lease, RunStatus.RUNNING
        run.available_at = self.now + LEASE
        run.claims += 1

    @precondition(any_run(lambda run: run.is_held))
    @rule()
    def heartbeat(self) -> None:
        """Leases that are held are extended, those that were lost are told so."""
        held = [run for run in self.runs if run.lease is not None]
        lost = [lease for run in self.runs for lease in run.zombies[-1:]]
        leases = [run.lease for run in held if run.lease is not None]
        verdicts = self.store.extend([*leases, *lost], LEASE)
        for run, lease in zip(held, leases, strict=True):
            assert verdicts[lease] is Verdict.ACCEPTED
            run.available_at = self.now + LEASE
        assert {verdicts[lease] for lease in lost} <= {Verdict.LOST, Verdict.CANCELED}

    # --- steps ----------------------------------------------------------------------------------

    @precondition(any_run(lambda run: run.is_held))
    @rule(number=pick)
    def begin_step(self, number: int) -> None:
        run, lease = self.held(number)
        name = f"step-{run.steps}"
        run.steps += 1
        operation = ops.StepStarted(
            lease=lease, attempt_id=new_id(), step_name=name, kind=StepKind.FUNCTION
        )
        self.submit(operation)
        self.submit(operation)  # a turn whose commit was in doubt
        run.started[name] = operation.attempt_id
        run.begun_by[operation.attempt_id] = lease

    @precondition(any_run(lambda run: run.is_held and bool(run.started)))
    @rule(number=pick, fails=st.booleans())
    def end_step(self, number: int, *, fails: bool) -> None:
        run = self.choose(number, lambda run: run.is_held and bool(run.started))
        assert run.lease is not None
        name, attempt_id = next(iter(run.started.items()))
        if fails:
            failed = ops.StepFailed(lease=run.lease, attempt_id=attempt_id, error='{"message":"x"}')
            self.submit(failed)
        else:
            completed = ops.StepCompleted(lease=run.lease, attempt_id=attempt_id, output="1")
            self.submit(completed)
            self.submit(ops.StepCompleted(lease=run.lease, attempt_id=attempt_id, output="2"))
            run.done.add(name)
        del run.started[name]
        run.crashes = 0

    # --- waits ----------------------------------------------------------------------------------

    @precondition(any_run(lambda run: run.is_held))
    @rule(number=pick)
    def sleep(self, number: int) -> None:
        run, lease = self.held(number)
        wait = Wait(attempt_id=new_id(), kind=StepKind.SLEEP, until=self.now + NAP)
        started = ops.SleepStarted(
            lease=lease,
            attempt_id=wait.attempt_id,
            step_name=self.name_wait(run),
            duration=span(NAP),
        )
        self.park(run, lease, wait, started)

    @precondition(any_run(lambda run: run.is_held))
    @rule(number=pick, signal=st.sampled_from(SIGNALS))
    def wait_for_signal(self, number: int, signal: str) -> None:
        run, lease = self.held(number)
        wait = Wait(
            attempt_id=new_id(), kind=StepKind.SIGNAL_WAIT, until=self.now + FAR, signal=signal
        )
        started = ops.SignalWaitStarted(
            lease=lease,
            attempt_id=wait.attempt_id,
            step_name=self.name_wait(run),
            signal=signal,
            timeout=span(FAR),
        )
        self.park(run, lease, wait, started)

    @precondition(any_run(lambda run: run.is_held))
    @rule(number=pick)
    def start_child(self, number: int) -> None:
        run, lease = self.held(number)
        child = Run(id=new_id(), available_at=self.now, parent=run)
        wait = Wait(attempt_id=new_id(), kind=StepKind.WORKFLOW, until=self.now + FAR, child=child)
        started = ops.ChildStarted(
            lease=lease,
            attempt_id=wait.attempt_id,
            step_name=self.name_wait(run),
            child_id=child.id,
            child=ops.NewRun(workflow_name="flow", version=None, input=None),
            timeout=span(FAR),
        )
        self.park(run, lease, wait, started)
        self.runs.append(child)

    def name_wait(self, run: Run) -> str:
        run.steps += 1
        return f"wait-{run.steps}"

    def park(self, run: Run, lease: Lease, wait: Wait, started: ops.WaitOperation) -> None:
        """Park on a new wait; one that has happened already makes the run due at once."""
        others = [other.until for other in run.waits]
        earliest = min([*others, wait.until])
        wake_at = self.began_at + span(min(others)) if others else None
        self.submit(ops.RunParked(lease=lease, wake_at=wake_at, waits=(started,)))
        run.waits.append(wait)
        run.gave_up = lease
        run.give_up(RunStatus.RUNNING, earliest)
        happened = [each for each in run.waits if each.received or _child_ended(each)]
        if happened:
            run.available_at = self.now

    @precondition(any_run(lambda run: run.is_held and bool(run.waits)))
    @rule(number=pick)
    def end_wait(self, number: int) -> None:
        """What a pass does when it comes to a wait that is over."""
        run = self.choose(number, lambda run: run.is_held and bool(run.waits))
        over = [wait for wait in run.waits if wait.is_over(self.now)]
        if run.lease is None or not over:
            return
        wait = over[0]
        if wait.kind == StepKind.SIGNAL_WAIT and not wait.received:
            receipt = self.submit(ops.WaitTimedOut(lease=run.lease, attempt_id=wait.attempt_id))
            assert receipt.value is None
        else:
            self.submit(ops.StepCompleted(lease=run.lease, attempt_id=wait.attempt_id, output="1"))
            run.crashes = 0
        run.waits.remove(wait)

    @rule(signal=st.sampled_from(SIGNALS))
    def signal(self, signal: str) -> None:
        """Everybody who waits receives it once, and nobody else is counted."""
        received = send_signal(signal, {"of": signal})
        waiting = {
            run.id: wait
            for run in self.runs
            for wait in run.waits
            if run.is_active and wait.signal == signal and not wait.received
        }
        assert set(received) == waiting.keys()
        for run in self.runs:
            for wait in run.waits:
                if run.id in waiting and wait.signal == signal:
                    wait.received = True
                    run.wake(self.now)

    # --- ends -----------------------------------------------------------------------------------

    @precondition(any_run(lambda run: run.is_held))
    @rule(number=pick, fails=st.booleans())
    def end_run(self, number: int, *, fails: bool) -> None:
        run, lease = self.held(number)
        parent_id = run.parent.id if run.parent else None
        if fails:
            error = '{"message":"x"}'
            self.submit(ops.RunFailed(lease=lease, parent_run_id=parent_id, error=error))
            run.failures += 1
            run.gave_up = lease
            run.end(RunStatus.FAILED, self.now)
            return
        completed = ops.RunCompleted(lease=lease, parent_run_id=parent_id, output="[1]")
        self.submit(completed)
        self.submit(completed)
        run.output = [1]
        run.end(RunStatus.COMPLETED, self.now)
        run.zombies.remove(lease)  # completing once more is answered as the first time

    @precondition(any_run(lambda run: run.is_held))
    @rule(number=pick, is_failure=st.booleans())
    def reschedule(self, number: int, *, is_failure: bool) -> None:
        run, lease = self.held(number)
        self.submit(
            ops.RunRescheduled(
                lease=lease, error='{"message":"x"}', delay=span(BACKOFF), is_failure=is_failure
            )
        )
        run.failures += is_failure
        run.gave_up = lease
        run.give_up(RunStatus.PENDING, self.now + BACKOFF)

    @precondition(any_run(lambda run: run.is_held))
    @rule(number=pick)
    def release(self, number: int) -> None:
        run, lease = self.held(number)
        self.submit(ops.RunReleased(lease=lease))
        run.gave_up = lease
        run.give_up(RunStatus.RUNNING, self.now)

    @precondition(any_run(lambda _run: True))
    @rule(number=pick, cascade=st.booleans())
    def cancel(self, number: int, *, cascade: bool) -> None:
        run = self.choose(number, lambda _run: True)
        below = [other for other in self.runs if run in other.family() and other.is_active]
        if run.status in (RunStatus.COMPLETED, RunStatus.FAILED):
            with pytest.raises(RunNotCancelable, match=run.status):
                WorkflowRun.objects.cancel(run.id, cascade=cascade)
            return
        WorkflowRun.objects.cancel(run.id, cascade=cascade)
        self.cancel_all([run] if run.is_active else [])
        self.cancel_all(below if cascade else [])

    def cancel_all(self, runs: Iterable[Run]) -> None:
        for run in runs:
            run.end(RunStatus.CANCELED, self.now)

    @precondition(any_run(lambda run: not run.is_active))
    @rule(number=pick)
    def retry(self, number: int) -> None:
        run = self.choose(number, lambda run: not run.is_active)
        if run.status == RunStatus.COMPLETED:
            with pytest.raises(RunNotRetryable):
                WorkflowRun.objects.retry(run.id)
            return
        WorkflowRun.objects.retry(run.id)
        run.status, run.available_at, run.ended_at = RunStatus.PENDING, self.now, None
        run.failures = run.crashes = 0
        run.retried += 1
        if run.deadline_at is not None and run.deadline_at <= self.now:
            run.deadline_at = None

    # --- time, upkeep, retention ----------------------------------------------------------------

    @rule(seconds=st.sampled_from([LEASE * 1.5, BACKOFF * 1.2, NAP * 1.3]))
    def advance(self, seconds: float) -> None:
        """Leases run out, sleeps end, deadlines pass."""
        clock.shift(span(seconds))
        self.now += seconds

    @rule()
    def sweep(self) -> None:
        """Overdue runs fail, then poison pills; each wakes its parent."""
        self.swept(sweeps.fail_overdue(self.store), lambda run: run.is_overdue(self.now))
        poisoned = {run.id for run in self.runs if self.is_pill(run)}
        self.swept(sweeps.fail_poisoned(self.store), lambda run: run.id in poisoned)
        for run in self.runs:
            if run.id in poisoned:
                run.crashes = MOST_CRASHES

    def is_pill(self, run: Run) -> bool:
        return run.is_due(self.now) and run.is_poisoned()

    def swept(self, failed: list[Any], expected: Callable[[Run], bool]) -> None:
        ending = [run for run in self.runs if expected(run)]
        assert sorted(failed) == sorted(run.id for run in ending)
        for run in ending:
            run.end(RunStatus.FAILED, self.now)

    @rule()
    def prune(self) -> None:
        """Runs that have ended go away; a child stays for as long as its parent is active."""
        before = self.began_at + span(self.now - NAP)
        for _ in Retention(using=DEFAULT_DB_ALIAS, finished_before=before).batches():
            pass
        left = set(WorkflowRun.objects.values_list("pk", flat=True))
        for run in [run for run in self.runs if run.id not in left]:
            assert run.status in ENDED
            assert run.ended_at is not None
            assert run.ended_at < self.now - NAP / 2
            assert run.parent is None or not run.parent.is_active or run.parent.id not in left
            self.runs.remove(run)
        for run in self.runs:
            run.waits = [wait for wait in run.waits if wait.child is None or wait.child.id in left]
            if run.parent is not None and run.parent.id not in left:
                run.parent = None

    # --- zombies --------------------------------------------------------------------------------

    @precondition(any_run(lambda run: bool(run.zombies)))
    @rule(number=pick, what=st.integers(0, 6))
    def zombie_writes(self, number: int, what: int) -> None:
        """Whoever has lost the lease changes nothing, whatever it tries; it is told so."""
        run = self.choose(number, lambda run: bool(run.zombies))
        lease = run.zombies[-1]
        parent_id = run.parent.id if run.parent else None
        start = ops.StepStarted(
            lease=lease, attempt_id=new_id(), step_name="zombie", kind=StepKind.FUNCTION
        )
        nap = ops.SleepStarted(
            lease=lease, attempt_id=new_id(), step_name="zombie", duration=span(NAP)
        )
        operations: list[ops.Operation] = [
            start,
            ops.RunParked(lease=lease, waits=(nap,)),
            ops.RunCompleted(lease=lease, parent_run_id=parent_id, output="[666]"),
            ops.RunFailed(lease=lease, parent_run_id=parent_id, error='{"message":"zombie"}'),
            ops.RunRescheduled(lease=lease, error="{}", delay=span(1), is_failure=True),
            ops.RunReleased(lease=lease),
            ops.SignalSent(
                lease=lease, attempt_id=new_id(), step_name="zombie", signal="red", data=None
            ),
        ]
        (receipt,) = self.store.take_turn([operations[what]]).receipts
        refused = (Verdict.LOST, Verdict.CANCELED)
        # Who gave the run up may say so again: the reply may have been lost. It writes nothing.
        gives_up = isinstance(operations[what], GIVING_UP) and lease == run.gave_up
        assert receipt.verdict in ((*refused, Verdict.ACCEPTED) if gives_up else refused)

    @precondition(any_run(lambda run: bool(run.zombies) and bool(run.started)))
    @rule(number=pick)
    def zombie_ends_step(self, number: int) -> None:
        """A step in flight is recorded only after the end of its run, and by who began it."""
        run = self.choose(number, lambda run: bool(run.zombies) and bool(run.started))
        name, attempt_id = next(iter(run.started.items()))
        lease = run.zombies[-1]
        late = ops.StepCompleted(lease=lease, attempt_id=attempt_id, output="3")
        (receipt,) = self.store.take_turn([late]).receipts
        assert receipt.verdict in (Verdict.LOST, Verdict.CANCELED)
        if not run.is_active and run.begun_by[attempt_id] == lease:
            del run.started[name]
            run.done.add(name)


def _child_ended(wait: Wait) -> bool:
    return wait.child is not None and wait.child.status in ENDED
