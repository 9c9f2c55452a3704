"""Rules: runs wait for a time, a signal or a child, and what they wait for comes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from django_openworkflow import send_signal
from django_openworkflow.identifiers import new_id
from django_openworkflow.states import RunStatus, StepKind
from django_openworkflow.store import operations as ops
from tests.model.base import Machine, any_run, pick, span
from tests.model.reference import ENDED, FAR, NAP, Run, Wait

if TYPE_CHECKING:
    from django_openworkflow.store.operations import Lease

SIGNALS = ("red", "green")


class Waiting(Machine):
    """Waits, from their beginning to their end."""

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


def _child_ended(wait: Wait) -> bool:
    return wait.child is not None and wait.child.status in ENDED
