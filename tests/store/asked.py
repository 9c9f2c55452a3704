"""Operations of every kind on the runs of a scene, drawn before it stands."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.utils import timezone
from hypothesis import strategies as st

from django_openworkflow.models import StepAttempt
from django_openworkflow.store.operations import (
    ChildStarted,
    Lease,
    NewRun,
    Operation,
    RunCompleted,
    RunFailed,
    RunParked,
    RunReleased,
    RunRescheduled,
    SignalSent,
    SignalWaitStarted,
    SleepStarted,
    StepCompleted,
    StepFailed,
    StepStarted,
    WaitTimedOut,
)
from tests.store.scenes import FAR, RUNS, attempt_id, run_id

HOUR = timedelta(hours=1)
ERROR = '{"message":"No stock"}'

Build = Callable[[Lease, UUID, int, Any], Operation]
BUILDERS: dict[str, Build] = {
    "start": lambda lease, attempt, step, _: StepStarted(
        lease=lease, attempt_id=attempt, step_name=f"step-{step}", kind="function"
    ),
    "resume": lambda lease, attempt, step, _: StepStarted(
        lease=lease,
        attempt_id=attempt,
        step_name=f"step-{step}",
        kind="function",
        resumed=True,
        has_undo=True,
    ),
    "complete step": lambda lease, attempt, _, value: StepCompleted(
        lease=lease, attempt_id=attempt, output=value
    ),
    "fail step": lambda lease, attempt, _, __: StepFailed(
        lease=lease, attempt_id=attempt, error=ERROR
    ),
    "sleep": lambda lease, attempt, step, _: SleepStarted(
        lease=lease, attempt_id=attempt, step_name=f"step-{step}", duration=HOUR
    ),
    "wait": lambda lease, attempt, step, _: SignalWaitStarted(
        lease=lease, attempt_id=attempt, step_name=f"step-{step}", signal="s1", timeout=HOUR
    ),
    "send": lambda lease, attempt, step, value: SignalSent(
        lease=lease, attempt_id=attempt, step_name=f"step-{step}", signal="s1", data=value
    ),
    "time out": lambda lease, attempt, _, __: WaitTimedOut(lease=lease, attempt_id=attempt),
    "child": lambda lease, attempt, step, value: ChildStarted(
        lease=lease,
        attempt_id=attempt,
        step_name=f"step-{step}",
        child_id=UUID(int=attempt.int + 500),
        child=NewRun(workflow_name="c", version=None, input=value, available_at=FAR),
        timeout=HOUR,
    ),
    "complete": lambda lease, _, __, value: RunCompleted(
        lease=lease, parent_run_id=parent_of(lease), output=value
    ),
    "fail": lambda lease, _, __, ___: RunFailed(
        lease=lease, parent_run_id=parent_of(lease), error=ERROR
    ),
    "reschedule": lambda lease, _, step, __: RunRescheduled(
        lease=lease, error=ERROR, delay=HOUR * step, is_failure=step % 2 == 0
    ),
    "reschedule, waiting": lambda lease, _, step, __: RunRescheduled(
        lease=lease,
        error=ERROR,
        delay=HOUR * 9,
        is_failure=False,
        wake_at=timezone.now() + HOUR * step,
    ),
    "park": lambda lease, _, step, __: RunParked(lease=lease, wake_at=timezone.now() + HOUR * step),
    "park asleep": lambda lease, attempt, step, _: RunParked(
        lease=lease,
        waits=(
            SleepStarted(
                lease=lease, attempt_id=attempt, step_name=f"step-{step}", duration=HOUR * 2
            ),
        ),
    ),
    "park, waiting": lambda lease, attempt, step, _: RunParked(
        lease=lease,
        waits=(
            SignalWaitStarted(
                lease=lease, attempt_id=attempt, step_name=f"step-{step}", signal="s1", timeout=HOUR
            ),
        ),
    ),
    "release": lambda lease, _, __, ___: RunReleased(lease=lease),
}
COMMON = ("start", "complete step", "fail step", "complete", "park")


def parent_of(lease: Lease) -> UUID | None:
    linked = StepAttempt._base_manager.filter(pk=attempt_id(0, 99)).exists()
    return run_id(0) if linked and lease.run_id == run_id(1) else None


@dataclasses.dataclass(frozen=True)
class Asked:
    """One operation, to be built once its scene stands."""

    name: str
    number: int
    step: int
    owner: str
    value: str | None

    def build(self) -> Operation:
        lease = Lease(run_id=run_id(self.number), worker_id=self.owner)
        build = BUILDERS[self.name]
        return build(lease, attempt_id(self.number, self.step), self.step, self.value)


asked = st.builds(
    Asked,
    name=st.one_of(st.sampled_from(COMMON), st.sampled_from(list(BUILDERS))),
    number=st.integers(0, RUNS - 1),
    step=st.integers(0, 4),
    owner=st.sampled_from(["ours", "ours", "ours", "theirs"]),
    value=st.sampled_from([None, "null", '{"a":1e22}', '"\\u00e9"', "[1]"]),
)
