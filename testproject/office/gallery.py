"""Rows as workers leave them, for the admin to show: runs of every state, with a past.

Nothing is executed. The rows are made up but possible: the database's constraints hold, and a
worker that claims one of the active runs goes on with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Any, Final
from uuid import UUID, uuid4

from django.db import transaction
from django.utils import timezone

from django_openworkflow.identifiers import new_id
from django_openworkflow.models import StepAttempt, WorkerProcess, WorkflowRun
from django_openworkflow.states import CancelSource, RunStatus, StepKind, StepStatus

QUEUE: Final = "gallery"
_WORKER: Final = "web-2:4711"
_TIMEOUT: Final = {
    "name": "GatewayTimeout",
    "message": "no answer within 5s",
    "stack": """Traceback (most recent call last):
  File "/app/office/accounts.py", line 48, in create_account
    return gateway.create(customer.email, plan=customer.plan)
  File "/app/office/gateway.py", line 117, in create
    raise GatewayTimeout(f"no answer within {self.timeout}s")
office.gateway.GatewayTimeout: no answer within 5s
""",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """One try of a step: how long after the one before, and how long it took (None: still on)."""

    name: str
    took: float | None
    after: float = 0.1
    kind: str = StepKind.FUNCTION
    error: dict[str, str] | None = None
    output: Any = None
    context: dict[str, str] | None = None


class Gallery:
    """Collects rows and inserts them at once. The same ``seed`` makes the same gallery."""

    def __init__(self, now: datetime, seed: int = 7) -> None:
        self.now = now
        self.random = Random(seed)  # noqa: S311 - a gallery holds no secrets
        self.runs: list[WorkflowRun] = []
        self.attempts: list[StepAttempt] = []
        self.children: dict[UUID, UUID] = {}  # the run that a step attempt started

    def add(
        self, name: str, past: Sequence[Past], *, ago: float, waited: float = 0.4, **columns: Any
    ) -> WorkflowRun:
        """Add a run that was created so many seconds ago, with these tries of steps."""
        created_at = self.now - timedelta(seconds=ago)
        run = WorkflowRun(
            id=new_id(),
            workflow_name=name,
            queue=QUEUE,
            created_at=created_at,
            started_at=created_at + timedelta(seconds=waited) if past else None,
            updated_at=self.now,
            attempts=min(len(past), 1),
            available_at=self.now,
        )
        at = created_at + timedelta(seconds=waited)
        for one in past:
            at += timedelta(seconds=one.after)
            self.attempts.append(self._attempt(run, one, at))
            at += timedelta(seconds=one.took or 0)
        for column, value in columns.items():
            setattr(run, column, value)
        if run.is_terminal:
            run.finished_at, run.available_at = at, None
            run.worker_id = self.worker_id() if run.status == RunStatus.COMPLETED else None
        self.runs.append(run)
        return run

    def _attempt(self, run: WorkflowRun, past: Past, at: datetime) -> StepAttempt:
        is_running = past.took is None
        status = StepStatus.FAILED if past.error else StepStatus.COMPLETED
        return StepAttempt(
            id=new_id(),
            workflow_run=run,
            step_name=past.name,
            kind=past.kind,
            status=StepStatus.RUNNING if is_running else status,
            context=past.context,
            output=past.output,
            error=past.error,
            created_at=at,
            started_at=at,
            updated_at=at,
            finished_at=None if is_running else at + timedelta(seconds=past.took or 0),
            worker_id=self.worker_id(),
        )

    def worker_id(self) -> str:
        """Return the token of a claim."""
        return f"{_WORKER}:{uuid4()}"

    def start_child(self, parent: WorkflowRun, step_name: str, child: WorkflowRun) -> None:
        """Make a run the child of a step of another."""
        attempt = next(
            one
            for one in self.attempts
            if one.workflow_run_id == parent.pk and one.step_name == step_name
        )
        child.parent_step_attempt_id = attempt.pk
        child.parent_step_attempt_namespace_id = child.namespace_id
        self.children[attempt.pk] = child.pk

    def insert(self) -> None:
        """Insert all rows, parents before children."""
        parents = {run.pk: run.parent_step_attempt_id for run in self.runs}
        for run in self.runs:
            run.parent_step_attempt_id = None
        WorkflowRun._base_manager.bulk_create(self.runs, batch_size=500)
        StepAttempt._base_manager.bulk_create(self.attempts, batch_size=500)
        for pk, attempt_id in parents.items():
            if attempt_id is not None:
                WorkflowRun._base_manager.filter(pk=pk).update(parent_step_attempt=attempt_id)
        for attempt_id, child_id in self.children.items():
            StepAttempt._base_manager.filter(pk=attempt_id).update(
                child_workflow_run=child_id, child_workflow_run_namespace_id="default"
            )


@transaction.atomic
def hang(*, runs: int = 240) -> list[WorkflowRun]:
    """Take down the last gallery and put up a new one; return its showpieces."""
    WorkflowRun.objects.filter(queue=QUEUE).delete()
    WorkerProcess.objects.filter(host="gallery").delete()
    gallery = Gallery(timezone.now())
    _past_days(gallery, runs)
    showpieces = [_onboarding(gallery), _failed(gallery), _canceled(gallery), _slept(gallery)]
    _waiting(gallery)
    gallery.insert()
    WorkerProcess.objects.create(
        name=_WORKER,
        host="gallery",
        pid=4711,
        concurrency=10,
        workflows=[["onboard-customer", "2"]],
    )
    return showpieces


def _onboarding(gallery: Gallery) -> WorkflowRun:
    """A run in the middle of it all: it has failed, slept, started a child, and waits."""
    second = {"kind": "sleep", "resumeAt": "2026-01-01T00:00:00.000Z"}
    wait = {
        "kind": "signal-wait",
        "signal": "approval:4711",
        "timeoutAt": "2999-01-01T00:00:00.000Z",
    }
    account = {"customer": 4711, "plan": "pro", "api_token": "never shown"}
    run = gallery.add(
        "onboard-customer",
        [
            Past(name="create-account", took=5.0, error=_TIMEOUT),
            Past(name="create-account", after=2.0, took=5.0, error=_TIMEOUT),
            Past(name="create-account", after=4.0, took=2.4, output=account),
            Past(name="cooling-off", took=60.0, kind=StepKind.SLEEP, context=second),
            Past(name="welcome-mail", took=33.0, kind=StepKind.WORKFLOW, output={"sent": 27}),
            Past(name="approval:4711", took=None, kind=StepKind.SIGNAL_WAIT, context=wait),
        ],
        ago=170,
        version="2",
        status=RunStatus.RUNNING,
        attempts=5,
        available_at=gallery.now + timedelta(days=3),
        idempotency_key="customer-4711",
        deadline_at=gallery.now + timedelta(days=7),
        input={"email": "zoë.ångström@example.com", "plan": "pro", "note": None, "vip": True},
    )
    child = gallery.add(
        "welcome-mail",
        [
            Past(name="write", took=0.7, output=27),
            Past(name="not-at-once", took=30.0, kind=StepKind.SLEEP, context=second),
            Past(name="send", took=1.9, output=27),
        ],
        ago=92,
        status=RunStatus.COMPLETED,
        input={"email": "zoë.ångström@example.com"},
        output={"sent": 27},
    )
    gallery.start_child(run, "welcome-mail", child)
    return run


def _failed(gallery: Gallery) -> WorkflowRun:
    tries = [Past(name="add-up", after=after, took=5.0, error=_TIMEOUT) for after in (0.2, 2, 4, 8)]
    return gallery.add(
        "nightly-report",
        tries,
        ago=840,
        version="1",
        status=RunStatus.FAILED,
        started_at=None,
        attempts=4,
        failures=1,
        error=_TIMEOUT,
        input={"amounts": [1250, 990, -1]},
    )


def _canceled(gallery: Gallery) -> WorkflowRun:
    return gallery.add(
        "onboard-customer",
        [Past(name="create-account", took=1.1, output={"customer": 4712, "plan": "basic"})],
        ago=1900,
        version="2",
        status=RunStatus.CANCELED,
        cancel_reason="The customer has changed their mind",
        cancel_actor="admin",
        cancel_source=CancelSource.ADMIN,
        input={"email": "kim@example.com"},
    )


def _slept(gallery: Gallery) -> WorkflowRun:
    """A run whose work is too short, beside its sleep, to be seen on an even axis."""
    context = {"kind": "sleep", "resumeAt": "2026-01-01T00:00:00.000Z"}
    return gallery.add(
        "welcome-mail",
        [
            Past(name="write", took=2.2, output=24),
            Past(name="not-at-once", took=259_000.0, kind=StepKind.SLEEP, context=context),
            Past(name="send", took=3.1, output=24),
        ],
        ago=259_100,
        status=RunStatus.COMPLETED,
        attempts=2,
        input={"email": "li@example.com"},
        output={"sent": 24},
    )


def _waiting(gallery: Gallery) -> None:
    """Runs that nobody has begun, that begin later, and one that a worker holds."""
    for number in range(6):
        gallery.add("nightly-report", [], ago=20 + 9 * number, version="1", input={"amounts": [1]})
    later = gallery.now + timedelta(hours=5)
    gallery.add("nightly-report", [], ago=3, version="1", available_at=later, input={"amounts": []})
    gallery.add(
        "nightly-report",
        [Past(name="add-up", took=1.5, output=40), Past(name="publish", took=None)],
        ago=14,
        version="1",
        status=RunStatus.RUNNING,
        worker_id=gallery.worker_id(),
        available_at=gallery.now + timedelta(minutes=30),
        input={"amounts": [40]},
    )


def _past_days(gallery: Gallery, runs: int) -> None:
    """Runs that have ended, more of them lately than long ago."""
    names = (("onboard-customer", "2"), ("nightly-report", "1"), ("welcome-mail", None))
    endings = (RunStatus.COMPLETED,) * 12 + (RunStatus.FAILED, RunStatus.CANCELED)
    for _ in range(runs):
        name, version = gallery.random.choice(names)
        status = gallery.random.choice(endings)
        took = gallery.random.lognormvariate(1.2, 0.8)
        error = _TIMEOUT if status == RunStatus.FAILED else None
        gallery.add(
            name,
            [Past(name="write", took=took, error=error, output=None if error else 27)],
            ago=60 + gallery.random.random() ** 2 * 80_000,
            version=version,
            status=status,
            error=error,
            input={"email": "somebody@example.com"},
            output={"sent": 27} if status == RunStatus.COMPLETED else None,
        )
