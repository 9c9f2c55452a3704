"""Runs as a race finds them, and how a worker writes to them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from typing import Any, Final, TypeAlias
from uuid import UUID

from django.db import DEFAULT_DB_ALIAS
from django.utils import timezone

from django_openworkflow import clock
from django_openworkflow.identifiers import new_id
from django_openworkflow.models import StepAttempt, WorkflowRun
from django_openworkflow.states import RunStatus, StepKind
from django_openworkflow.store.factory import store_for
from django_openworkflow.store.operations import Lease, Operation, Receipt, Verdict
from tests.races.rivals import PATIENCE_SECONDS

_NEVER: Final = threading.Event()

# Writes operations as a worker would, and says what became of them.
Submit: TypeAlias = Callable[..., Verdict]


@dataclass
class Scene:
    """A run, who holds it, and the identifiers that the rival's operations will use."""

    run_id: UUID
    lease: Lease
    attempt_id: UUID = field(default_factory=new_id)
    parent_id: UUID | None = None
    family: list[Scene] = field(default_factory=list)

    @classmethod
    def of(cls, run: WorkflowRun) -> Scene:
        """Return the scene of a run and of the worker that holds it."""
        return cls(run_id=run.pk, lease=Lease(run_id=run.pk, worker_id=run.worker_id or ""))

    @cached_property
    def row(self) -> dict[str, Any]:
        """The run as the two have left it."""
        return dict(WorkflowRun._base_manager.values().get(pk=self.run_id))

    @cached_property
    def attempt(self) -> StepAttempt | None:
        """The step attempt of this scene as the two have left it, if it was ever written."""
        return StepAttempt.objects.filter(pk=self.attempt_id).first()


def is_due(scene: Scene) -> bool:
    return bool(scene.row["available_at"] <= clock.read("default"))


def _worst(receipts: Sequence[Receipt]) -> Verdict:
    verdicts = [receipt.verdict for receipt in receipts]
    return next((verdict for verdict in verdicts if verdict is not Verdict.ACCEPTED), verdicts[0])


def submit_once(*operations: Operation) -> Verdict:
    """Write a turn as the ledger does; the verdict may be that somebody holds the row."""
    return _worst(store_for(DEFAULT_DB_ALIAS).apply(operations))


def submit_and_wait(*operations: Operation) -> Verdict:
    """Write as transaction steps do: on the thread's own connection, waiting for the row."""
    receipts = store_for(DEFAULT_DB_ALIAS).apply(operations, wait=True)
    return next(
        (r.verdict for r in receipts if r.verdict is not Verdict.ACCEPTED), Verdict.ACCEPTED
    )


def submit_until_answered(*operations: Operation) -> Verdict:
    """Write a turn again and again until nobody else holds the row."""
    gives_up_at = time.monotonic() + 2.5 * PATIENCE_SECONDS
    while (verdict := submit_once(*operations)) is Verdict.BUSY:
        assert time.monotonic() < gives_up_at, "held by somebody for too long"
        _NEVER.wait(0.001)  # as the ledger does: whoever holds the row needs time to let it go
    return verdict


# --- making -------------------------------------------------------------------------------------
# By hand: the factories would take longer than the race.


def new_run(**columns: Any) -> WorkflowRun:
    """Return a run that a worker holds, but for these columns. Its workflow is its own."""
    run_id = columns.pop("id", None) or new_id()
    held = {
        "status": RunStatus.RUNNING,
        "worker_id": f"worker:{run_id}",
        "available_at": timezone.now() + timedelta(hours=1),
        "started_at": timezone.now(),
        "attempts": 1,
    }
    return WorkflowRun(id=run_id, workflow_name=str(run_id), **(held | columns))


def insert_run(**columns: Any) -> Scene:
    run = new_run(**columns)
    WorkflowRun._base_manager.bulk_create([run])
    return Scene.of(run)


def held_run() -> Scene:
    return insert_run()


def held_run_with_step() -> Scene:
    scene = held_run()
    attempt = StepAttempt(
        id=scene.attempt_id,
        workflow_run_id=scene.run_id,
        step_name="charge",
        kind=StepKind.FUNCTION,
        worker_id=scene.lease.worker_id,
    )
    StepAttempt._base_manager.bulk_create([attempt])
    return scene


def waiting_run() -> Scene:
    scene = insert_run(worker_id=None)
    address = str(scene.run_id)
    wait = StepAttempt(
        id=scene.attempt_id,
        workflow_run_id=scene.run_id,
        step_name="approval",
        kind=StepKind.SIGNAL_WAIT,
        context={"kind": "signal-wait", "signal": address, "timeoutAt": "2999-01-01T00:00:00.000Z"},
    )
    StepAttempt._base_manager.bulk_create([wait])
    return scene


def run_that_sends() -> Scene:
    scene = held_run()
    scene.family = [waiting_run()]
    return scene


def due_run() -> Scene:
    return insert_run(
        status=RunStatus.PENDING, worker_id=None, available_at=timezone.now(), attempts=0
    )


def overdue_run() -> Scene:
    return insert_run(deadline_at=timezone.now() - timedelta(seconds=1))


def expired_run() -> Scene:
    return insert_run(available_at=timezone.now() - timedelta(seconds=1))


def poisoned_run() -> Scene:
    return insert_run(available_at=timezone.now() - timedelta(seconds=1), crashes=4)
