"""Rules: who has lost the lease of a run writes to it all the same."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from django_openworkflow.identifiers import new_id
from django_openworkflow.states import StepKind
from django_openworkflow.store import operations as ops
from django_openworkflow.store.operations import Verdict
from tests.model.base import Machine, any_run, pick, span
from tests.model.reference import NAP

GIVING_UP = (ops.RunParked, ops.RunRescheduled, ops.RunReleased, ops.RunFailed)


class Zombies(Machine):
    """Writes that come too late."""

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
