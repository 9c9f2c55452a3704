"""Every pair of operations on one family, in every schedule: as if one had come after the other.

The family: a run that one worker holds under a lease that has run out, with a step in flight and a
signal wait that is open; its child, which another worker holds; and a run that has been canceled.
An operation knows nothing of its rival. What the two leave, and what they are told, must be what
one of the two serial orders leaves and tells.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from itertools import combinations_with_replacement
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from django.db import DEFAULT_DB_ALIAS
from django.utils import timezone

from django_openworkflow import send_signal
from django_openworkflow.exceptions import OpenWorkflowError
from django_openworkflow.identifiers import new_id
from django_openworkflow.models import SignalDelivery, StepAttempt, WorkflowRun
from django_openworkflow.states import RunStatus, StepKind
from django_openworkflow.store import operations as ops
from django_openworkflow.store import sweeps
from django_openworkflow.store.base import ClaimRequest
from django_openworkflow.store.factory import store_for
from django_openworkflow.store.operations import Verdict
from tests.races.families import cascade, insert_family
from tests.races.rivals import Ending, Rival, ending, halted, rivals
from tests.races.scenes import insert_run, submit_once
from tests.tidying import delete_runs

if TYPE_CHECKING:
    from tests.races.scenes import Scene

_ERROR: Final = '{"message":"no"}'
_FAR: Final = timedelta(days=364)
# What did nothing because a row was locked, and is done again: by the worker's next turn.
_NOTHING: Final[tuple[Any, ...]] = (Verdict.BUSY, [], {})


@dataclass
class Stage:
    """The rows of one schedule."""

    parent: Scene
    child: Scene
    canceled: Scene
    step_id: Any
    wait_id: Any

    @classmethod
    def build(cls) -> Stage:
        """Insert the family."""
        parent, child = insert_family(None, 0, parked_ones=0)
        past = timezone.now() - timedelta(seconds=1)
        WorkflowRun.objects.filter(pk=parent.run_id).update(available_at=past, crashes=1)
        canceled = insert_run(
            status=RunStatus.CANCELED, worker_id=None, available_at=None, finished_at=past
        )
        stage = cls(parent, child, canceled, new_id(), new_id())
        address = str(parent.run_id)
        far = "2999-01-01T00:00:00.000Z"
        context = {"kind": "signal-wait", "signal": address, "timeoutAt": far}
        columns = {"workflow_run_id": parent.run_id, "worker_id": parent.lease.worker_id}
        step = StepAttempt(id=stage.step_id, step_name="step", kind=StepKind.FUNCTION, **columns)
        wait = StepAttempt(id=stage.wait_id, step_name="wait", kind=StepKind.SIGNAL_WAIT, **columns)
        wait.context = context
        StepAttempt._base_manager.bulk_create([step, wait])
        return stage

    def rows(self) -> Any:
        """Return what matters of the rows, without ids and times: the same for equal histories."""
        now = timezone.now()
        family = {self.parent.run_id: "parent", self.child.run_id: "child"}
        runs = WorkflowRun._base_manager.exclude(pk=self.canceled.run_id).order_by("created_at")
        return (
            Counter(
                (
                    family.get(run.pk, "new"),
                    run.status,
                    run.worker_id is not None,
                    run.available_at and (run.available_at > now + timedelta(minutes=30)),
                    run.available_at and (run.available_at > now),
                    (run.failures, run.crashes, run.takeovers, run.attempts),
                    str(run.output),
                )
                for run in runs
            ),
            WorkflowRun._base_manager.get(pk=self.canceled.run_id).status,
            Counter(
                (step.kind, step.status, step.is_late, step.superseded_at is None)
                for step in StepAttempt._base_manager.all()
            ),
            SignalDelivery._base_manager.count(),
        )


Act = Callable[[Stage], Any]


def _claim(stage: Stage) -> Any:
    known = [(str(stage.parent.run_id), None)]
    request = ClaimRequest(worker_name="heir", limit=1, lease_seconds=3600, workflows=known)
    return store_for(DEFAULT_DB_ALIAS).claim(request)


def _beat(stage: Stage) -> Any:
    verdicts = store_for(DEFAULT_DB_ALIAS).extend([stage.parent.lease], 3600)
    return verdicts[stage.parent.lease]


def _start_step(stage: Stage) -> Verdict:
    return submit_once(
        ops.StepStarted(
            lease=stage.parent.lease,
            attempt_id=new_id(),
            step_name="another",
            kind=StepKind.FUNCTION,
        )
    )


def _complete_step(stage: Stage) -> Verdict:
    lease = stage.parent.lease
    return submit_once(ops.StepCompleted(lease=lease, attempt_id=stage.step_id, output="1"))


def _fail_step(stage: Stage) -> Verdict:
    lease = stage.parent.lease
    return submit_once(ops.StepFailed(lease=lease, attempt_id=stage.step_id, error=_ERROR))


def _park(stage: Stage) -> Verdict:
    lease = stage.parent.lease
    return submit_once(ops.RunParked(lease=lease, wake_at=timezone.now() + _FAR))


def _start_child(stage: Stage) -> Verdict:
    lease = stage.parent.lease
    start = ops.ChildStarted(
        lease=lease,
        attempt_id=new_id(),
        step_name="child",
        child_id=uuid4(),
        child=ops.NewRun(workflow_name="new", version=None, input=None),
        timeout=_FAR,
    )
    return submit_once(ops.RunParked(lease=lease, waits=(start,)))


def _reschedule(stage: Stage) -> Verdict:
    delay, lease = timedelta(minutes=10), stage.parent.lease
    return submit_once(ops.RunRescheduled(lease=lease, error=_ERROR, delay=delay, is_failure=True))


def _release(stage: Stage) -> Verdict:
    return submit_once(ops.RunReleased(lease=stage.parent.lease))


def _complete(stage: Stage) -> Verdict:
    lease = stage.parent.lease
    return submit_once(ops.RunCompleted(lease=lease, parent_run_id=None, output="[1]"))


def _complete_child(stage: Stage) -> Verdict:
    lease, parent_id = stage.child.lease, stage.parent.run_id
    return submit_once(ops.RunCompleted(lease=lease, parent_run_id=parent_id, output="[2]"))


def _send(stage: Stage) -> Any:
    return send_signal(str(stage.parent.run_id), {"ok": True})


def _cancel(stage: Stage) -> Any:
    return WorkflowRun.objects.cancel(stage.parent.run_id)


def _cancel_child(stage: Stage) -> Any:
    return WorkflowRun.objects.cancel(stage.child.run_id)


def _cascade(stage: Stage) -> Any:
    return cascade(stage.parent)


def _retry(stage: Stage) -> Any:
    return WorkflowRun.objects.retry(stage.canceled.run_id)


def _retry_parent(stage: Stage) -> Any:
    return WorkflowRun.objects.retry(stage.parent.run_id)


def _sweep(_stage: Stage) -> Any:
    store = store_for(DEFAULT_DB_ALIAS)
    return sweeps.fail_overdue(store, now=timezone.now() + timedelta(days=2))


OPERATIONS: Final[tuple[tuple[str, Act], ...]] = (
    ("claim", _claim),
    ("heartbeat", _beat),
    ("step starts", _start_step),
    ("step completes", _complete_step),
    ("step fails", _fail_step),
    ("park", _park),
    ("child starts", _start_child),
    ("retry later", _reschedule),
    ("release", _release),
    ("run completes", _complete),
    ("child completes", _complete_child),
    ("signal", _send),
    ("cancel", _cancel),
    ("child canceled", _cancel_child),
    ("cascade", _cascade),
    ("retry", _retry),
    ("retry of the run", _retry_parent),
)
PAIRS: Final = list(combinations_with_replacement(OPERATIONS, 2))


def told(end: Ending) -> Any:
    """Return what an operation was told, without ids: a verdict, a number of runs, an error."""
    if end.error is not None:
        if not isinstance(end.error, OpenWorkflowError):
            raise end.error
        return type(end.error).__name__
    value = end.value
    if isinstance(value, Verdict):
        return value.name
    if isinstance(value, list):
        return len(value)
    if isinstance(value, WorkflowRun):
        return value.status
    canceled = {name: len(getattr(value, name)) for name in ("canceled", "children_canceled")}
    return str(canceled)


class PairPlay:
    """One pair: both serial orders once, then every schedule against them."""

    def __init__(self, one: Act, other: Act, first: Rival, second: Rival) -> None:
        self._one, self._other = one, other
        self._first, self._second = first, second
        self.schedules = 0
        self._serial = [self._in_order(is_swapped=False), self._in_order(is_swapped=True)]

    def _in_order(self, *, is_swapped: bool) -> Any:
        stage = Stage.build()
        acts = (self._other, self._one) if is_swapped else (self._one, self._other)
        ends = [told(ending(self._first.do(act, stage))) for act in acts]
        return (tuple(ends[::-1] if is_swapped else ends), self._clear(stage))

    def _clear(self, stage: Stage) -> Any:
        rows = stage.rows()
        delete_runs()
        return rows

    def play(self) -> None:
        """Halt each before each of its statements, and compare."""
        for is_swapped in (False, True):
            step = 0
            while self._halted(step + 1, is_swapped=is_swapped):
                step += 1
            self.schedules += step

    def _halted(self, step: int, *, is_swapped: bool) -> bool:
        stage = Stage.build()
        one, other = (self._other, self._one) if is_swapped else (self._one, self._other)
        ends = halted(self._first, lambda: one(stage), self._second, lambda: other(stage), step)
        if ends is None:
            delete_runs()
            return False
        final = [self._again(end, act, stage) for end, act in zip(ends, (one, other), strict=True)]
        found = (tuple(final[::-1] if is_swapped else final), self._clear(stage))
        assert found in self._serial, (found, *self._serial)
        return True

    def _again(self, end: Ending, act: Act, stage: Stage) -> Any:
        """Do again what found its row locked: its rival has ended by now."""
        if end.error is None and end.value in _NOTHING:
            end = ending(self._first.do(act, stage))
        return told(end)


def play_pair(one: tuple[str, Act], other: tuple[str, Act]) -> int:
    """Play every schedule of two operations; return how many there were."""
    with rivals("first", "second") as (first, second):
        pair = PairPlay(one[1], other[1], first, second)
        pair.play()
    return pair.schedules
