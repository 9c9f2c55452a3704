"""Rules: runs end, are given back or begin again, by workers, by people and by time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.db import DEFAULT_DB_ALIAS
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from django_openworkflow import clock
from django_openworkflow.exceptions import RunNotCancelable, RunNotRetryable
from django_openworkflow.models import WorkflowRun
from django_openworkflow.states import RunStatus
from django_openworkflow.store import operations as ops
from django_openworkflow.store import sweeps
from django_openworkflow.store.retention import Retention
from tests.model.base import Machine, any_run, pick, span
from tests.model.reference import BACKOFF, ENDED, LEASE, MOST_CRASHES, NAP, Run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class Ending(Machine):
    """Ends of all kinds, and what comes after an end."""

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
