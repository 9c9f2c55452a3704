"""Somebody who does everything there is to do to runs, at random, and never gives way."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final
from uuid import UUID, uuid4

from django.utils import timezone

from django_openworkflow import clock, send_signal
from django_openworkflow.exceptions import RunNotCancelable, RunNotFound, RunNotRetryable
from django_openworkflow.models import StepAttempt, WorkflowRun
from django_openworkflow.states import RETRYABLE, StepKind
from django_openworkflow.store import signalling, sweeps
from django_openworkflow.store.base import ClaimRequest
from django_openworkflow.store.factory import store_for
from django_openworkflow.store.operations import (
    ChildStarted,
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
    StepStarted,
    WaitTimedOut,
)
from django_openworkflow.store.retention import Retention
from tests.races.scenes import Scene, submit_and_wait, submit_until_answered

ADDRESSES: Final = ("red", "green", "blue")
_HOUR: Final = timedelta(hours=1)
_DAY: Final = timedelta(days=1)


@dataclass
class Arena:
    """The forest that is fought over, and the claims of its runs that are known to all."""

    forest: list[Scene]
    claims: list[Scene] = field(default_factory=list)
    names: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.claims.extend(self.forest)
        self.names.update(str(scene.run_id) for scene in self.forest)


class Brawler:
    """Does one random thing after the other. Ids are drawn at random: children may be lower."""

    def __init__(self, arena: Arena, seed: int) -> None:
        self._arena = arena
        self._store = store_for("default")
        self._random = random.Random(seed)  # noqa: S311 - not a secret
        self.done: Counter[str] = Counter()

    def fight(self, rounds: int) -> None:
        """Errors end the fight, but for a run that has ended, or is gone."""
        for _ in range(rounds):
            deed = self._random.choice(self._deeds())
            try:
                deed()
            except (RunNotCancelable, RunNotRetryable, RunNotFound):
                self.done["refused"] += 1
            self.done[deed.__name__] += 1

    def _deeds(self) -> list[Callable[[], object]]:
        people = [self.cancel, self.cascade, *[self.cancel_many] * 2, self.send, self.prune]
        workers = [self.beat, self.sweep, *[self.claim] * 3, *[self.write] * 10]
        return [*people, *[self.retry] * 4, *workers]

    def _one(self) -> UUID:
        return self._random.choice(self._arena.forest).run_id

    # --- people ---------------------------------------------------------------------------------

    def cancel(self) -> None:
        WorkflowRun.objects.cancel(self._one())

    def cascade(self) -> None:
        WorkflowRun.objects.cancel(self._one(), cascade=True)

    def cancel_many(self) -> None:
        """Cancel some of all runs, clean-ups and late children among them."""
        some = WorkflowRun.objects.order_by("?").values_list("pk", flat=True)[:6]
        cascade = self._random.random() < 0.5
        WorkflowRun.objects.filter(pk__in=list(some)).cancel_active(cascade=cascade)

    def retry(self) -> None:
        """Retry what may be retried, more often than not."""
        ended = WorkflowRun.objects.filter(status__in=RETRYABLE).order_by("?")
        WorkflowRun.objects.retry(ended.values_list("pk", flat=True).first() or self._one())

    def send(self) -> None:
        key = self._random.choice((None, str(self._random.randrange(20))))
        buffered = self._random.random() < 0.3
        address = self._random.choice(ADDRESSES)
        send_signal(address, None, idempotency_key=key, buffered=buffered)

    def prune(self) -> None:
        """Delete a little of what has ended; most of it is still to be fought over."""
        now = clock.read("default")
        Retention(using="default", finished_before=now, batch=2).next_batch(uuid4())

    # --- workers --------------------------------------------------------------------------------

    def claim(self) -> None:
        names = [name for each in tuple(self._arena.names) for name in (each, f"{each}:cleanup")]
        known = [(name, None) for name in names]
        request = ClaimRequest(worker_name="w", limit=3, lease_seconds=60, workflows=known)
        for run in self._store.claim(request):
            scene = Scene(run_id=run.lease.run_id, lease=run.lease, parent_id=run.parent_run_id)
            self._arena.claims.append(scene)

    def beat(self) -> None:
        leases = [scene.lease for scene in self._random.choices(self._arena.claims, k=10)]
        self._store.extend(leases, 60)

    def sweep(self) -> None:
        some = WorkflowRun.objects.filter(pk__in=[self._one() for _ in range(2)]).active()
        ids = list(some.values_list("pk", flat=True))
        some.filter(pk__in=ids[:1]).update(deadline_at=timezone.now() - timedelta(seconds=1))
        sweeps.fail_overdue(self._store)
        sweeps.fail_poisoned(self._store)
        sweeps.put_back_unknown(self._store, [(name, None) for name in tuple(self._arena.names)])
        signalling.deliver_buffered("default")

    def write(self) -> None:
        """Write one or two operations of a claim that may be gone, as its worker would."""
        scene = self._random.choice(self._arena.claims[-30:])
        submit: Any = self._random.choice((submit_until_answered, submit_and_wait))
        if self._random.random() < 0.6:
            verdict = submit(*self._begin(scene))
            self.done[f"begin {verdict.name}"] += 1
        verdict = submit(self._end(scene))
        self.done[f"end {verdict.name}"] += 1

    def _begin(self, scene: Scene) -> tuple[Operation, ...]:
        own: dict[str, Any] = {"lease": scene.lease, "attempt_id": uuid4()}
        started = StepStarted(
            **own, step_name=str(own["attempt_id"]), kind=StepKind.FUNCTION, has_undo=True
        )
        address = self._random.choice(ADDRESSES)
        sent = SignalSent(**own, step_name=str(uuid4()), signal=address, data=None)
        waits = self._wait(scene)
        return self._random.choice(
            ((started, StepCompleted(**own)), (started,), (sent,), (waits,), (waits,))
        )

    def _wait(self, scene: Scene) -> SleepStarted | SignalWaitStarted | ChildStarted:
        own: dict[str, Any] = {"lease": scene.lease, "attempt_id": uuid4(), "step_name": "wait"}
        child_id = uuid4()
        self._arena.names.add(str(child_id))
        child = NewRun(workflow_name=str(child_id), version=None, input=None, has_cancel_hook=True)
        return self._random.choice(
            (
                SleepStarted(**own, duration=_HOUR),
                SignalWaitStarted(**own, signal=self._random.choice(ADDRESSES), timeout=_DAY),
                ChildStarted(**own, child_id=child_id, child=child, timeout=_DAY),
                ChildStarted(**own, child_id=child_id, child=child, timeout=_DAY),
            )
        )

    def _end(self, scene: Scene) -> Operation:
        own: dict[str, Any] = {"lease": scene.lease}
        family: dict[str, Any] = {**own, "parent_run_id": scene.parent_id}
        error = '{"message":"no"}'
        wait = self._wait(scene)
        return self._random.choice(
            (
                RunCompleted(**family, output=None),
                RunFailed(**family, error=error),
                RunReleased(**own),
                RunRescheduled(**own, error=error, delay=timedelta(), is_failure=True),
                RunParked(**own, waits=(wait,)),
                RunParked(**own, waits=(wait,), wake_at=timezone.now()),
                WaitTimedOut(**own, attempt_id=self._open_wait(scene)),
            )
        )

    def _open_wait(self, scene: Scene) -> UUID:
        waits = StepAttempt.objects.filter(workflow_run=scene.run_id, kind=StepKind.SIGNAL_WAIT)
        return waits.values_list("pk", flat=True).first() or uuid4()
