"""Rules: runs are started and claimed, their leases are kept, their steps begin and end."""

from __future__ import annotations

from django.db import DEFAULT_DB_ALIAS
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from django_openworkflow.identifiers import new_id
from django_openworkflow.models import WorkflowRun
from django_openworkflow.states import RunStatus, StepKind
from django_openworkflow.store import operations as ops
from django_openworkflow.store.base import ClaimRequest
from django_openworkflow.store.enqueue import insert_runs
from django_openworkflow.store.operations import Lease, Verdict
from tests.model.base import Machine, any_run, pick, span
from tests.model.reference import LEASE, NAP, Run


class Working(Machine):
    """Runs on their way, in the hands of workers."""

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
