"""One factory per table, one trait per state: ``WorkflowRunFactory(parked=True)``.

A row that was created is read back, so that it shows what the database holds, defaults included.
Rows built without a database (``build_batch``) suit ``bulk_create``.
"""

# mypy: disable-error-code="attr-defined, no-untyped-call, untyped-decorator"
# factory_boy says that it is typed, but few of its functions are.

from __future__ import annotations

from datetime import timedelta
from typing import Any, TypeVar
from uuid import uuid4

import factory
from django.db.models import Model
from django.utils import timezone
from factory.django import DjangoModelFactory

from django_openworkflow.identifiers import new_id
from django_openworkflow.models import (
    BufferedSignal,
    SignalDelivery,
    StepAttempt,
    WorkerProcess,
    WorkflowRun,
)
from django_openworkflow.states import CancelSource, RunStatus, StepKind, StepStatus

_Row = TypeVar("_Row", bound=Model)

ERROR = {"name": "ValueError", "message": "No stock"}


def _in(**span: float) -> Any:
    """Declare a moment this far from now; negative spans lie in the past."""
    return factory.LazyFunction(lambda: timezone.now() + timedelta(**span))


class _RowFactory(DjangoModelFactory[_Row]):
    class Meta:
        abstract = True

    @classmethod
    def _generate(cls, strategy: Any, params: dict[str, Any]) -> Any:
        # factory_boy looks for a trait that nobody has named by an exception that describes the
        # whole factory, for each column, which took most of the time of a row.
        traits = cls._meta.parameters
        by_others = {name for each in traits.values() for name in getattr(each, "overrides", ())}
        own = {name for name, each in traits.items() if isinstance(each, factory.Trait)}
        unnamed = dict.fromkeys(own - by_others, False)
        return super()._generate(strategy, {**unnamed, **params})

    @classmethod
    def _create(cls, model_class: type[_Row], *args: Any, **kwargs: Any) -> _Row:
        row: _Row = super()._create(model_class, *args, **kwargs)
        row.refresh_from_db()
        return row


class WorkflowRunFactory(_RowFactory[WorkflowRun]):
    """A run: due and pending, unless a trait says otherwise.

    ``parent`` makes it the child of that run: a running ``workflow`` step of the parent links both.
    """

    class Meta:
        model = WorkflowRun
        skip_postgeneration_save = True

    class Params:
        parent = None
        scheduled = factory.Trait(available_at=_in(hours=1))
        retrying = factory.Trait(available_at=_in(minutes=1), failures=1, attempts=1, error=ERROR)
        running = factory.Trait(
            status=RunStatus.RUNNING,
            worker_id=factory.LazyFunction(lambda: f"worker:{uuid4()}"),
            available_at=_in(seconds=30),
            started_at=_in(seconds=-1),
            attempts=1,
        )
        expired = factory.Trait(running=True, available_at=_in(seconds=-1))
        parked = factory.Trait(
            status=RunStatus.RUNNING,
            worker_id=None,
            available_at=_in(hours=1),
            started_at=_in(minutes=-1),
            attempts=1,
        )
        sleeping_legacy = factory.Trait(parked=True, status=RunStatus.SLEEPING)
        completed = factory.Trait(
            status=RunStatus.COMPLETED,
            worker_id=factory.LazyFunction(lambda: f"worker:{uuid4()}"),
            available_at=None,
            started_at=_in(seconds=-2),
            finished_at=_in(seconds=-1),
            output={"ok": True},
            attempts=1,
        )
        succeeded_legacy = factory.Trait(completed=True, status=RunStatus.SUCCEEDED)
        failed = factory.Trait(
            status=RunStatus.FAILED,
            available_at=None,
            finished_at=_in(seconds=-1),
            error=ERROR,
            attempts=1,
            failures=1,
        )
        canceled = factory.Trait(
            status=RunStatus.CANCELED,
            available_at=None,
            finished_at=_in(seconds=-1),
            cancel_reason="first reason",
            cancel_actor="first actor",
            cancel_source=CancelSource.API,
            attempts=1,
        )
        child = factory.Trait(
            parent_step_attempt=factory.SubFactory(
                "tests.factories.StepAttemptFactory",
                workflow=True,
                workflow_run=factory.SelfAttribute("..parent"),
            ),
            parent_step_attempt_namespace_id=factory.SelfAttribute(
                "parent_step_attempt.namespace_id"
            ),
        )

    workflow_name = "process-order"
    available_at = _in(seconds=-1)

    @classmethod
    def _adjust_kwargs(cls, **kwargs: Any) -> dict[str, Any]:
        kwargs.pop("parent", None)
        return super()._adjust_kwargs(**kwargs)  # type: ignore[no-any-return]

    @factory.post_generation
    def link(self: WorkflowRun, create: bool, _given: object, **_kwargs: object) -> None:  # noqa: FBT001 - factory_boy's signature
        if create and self.parent_step_attempt_id is not None:
            link_child(StepAttempt.objects.get(pk=self.parent_step_attempt_id), self)


class StepAttemptFactory(_RowFactory[StepAttempt]):
    """A step attempt: a function step whose body runs, unless a trait says otherwise."""

    class Meta:
        model = StepAttempt

    class Params:
        completed = factory.Trait(
            status=StepStatus.COMPLETED, finished_at=_in(seconds=-1), output={"done": True}
        )
        succeeded_legacy = factory.Trait(completed=True, status=StepStatus.SUCCEEDED)
        failed = factory.Trait(status=StepStatus.FAILED, finished_at=_in(seconds=-1), error=ERROR)
        sleep = factory.Trait(
            kind=StepKind.SLEEP,
            context={"kind": "sleep", "resumeAt": "2999-01-01T00:00:00.000Z"},
        )
        signal_wait = factory.Trait(
            kind=StepKind.SIGNAL_WAIT,
            context={
                "kind": "signal-wait",
                "signal": "approval",
                "timeoutAt": "2999-01-01T00:00:00.000Z",
            },
        )
        signal_send = factory.Trait(kind=StepKind.SIGNAL_SEND)
        workflow = factory.Trait(
            kind=StepKind.WORKFLOW,
            context={"kind": "workflow", "timeoutAt": "2999-01-01T00:00:00.000Z"},
        )

    workflow_run = factory.SubFactory(WorkflowRunFactory, running=True)
    step_name = factory.Sequence(lambda number: f"step-{number}")
    kind = StepKind.FUNCTION
    worker_id = factory.SelfAttribute("workflow_run.worker_id")


class SignalDeliveryFactory(_RowFactory[SignalDelivery]):
    """A signal that a waiting step of a parked run has received."""

    class Meta:
        model = SignalDelivery

    signal = "approval"
    data = factory.LazyFunction(lambda: {"ok": True})
    step_attempt = factory.SubFactory(
        StepAttemptFactory,
        signal_wait=True,
        workflow_run=factory.SubFactory(WorkflowRunFactory, parked=True),
    )
    workflow_run = factory.SelfAttribute("step_attempt.workflow_run")


class BufferedSignalFactory(_RowFactory[BufferedSignal]):
    """A signal that is kept until a step waits for it."""

    class Meta:
        model = BufferedSignal

    signal = "approval"
    data = factory.LazyFunction(lambda: {"ok": True})


class WorkerProcessFactory(_RowFactory[WorkerProcess]):
    """A worker that was heard of just now, or long ago when ``dead``."""

    class Meta:
        model = WorkerProcess

    class Params:
        dead = factory.Trait(heartbeat_at=_in(hours=-1))

    name = factory.Sequence(lambda number: f"host-{number}")
    host = "host"
    pid = factory.Sequence(lambda number: number + 1)
    concurrency = 10
    workflows = factory.LazyFunction(lambda: [["process-order", None]])


def link_child(attempt: StepAttempt, child: WorkflowRun) -> None:
    """Let a ``workflow`` step attempt know the child run that it waits for."""
    StepAttempt.objects.filter(pk=attempt.pk).update(
        child_workflow_run=child, child_workflow_run_namespace_id=child.namespace_id
    )


def create_many(size: int, **traits: Any) -> list[WorkflowRun]:
    """Insert runs that are alike but for their ids, at once; they are not read back."""
    model = WorkflowRunFactory.build(**traits)
    columns = {field.attname: getattr(model, field.attname) for field in model._meta.fields}
    runs = [WorkflowRun(**{**columns, "id": new_id()}) for _ in range(size)]
    WorkflowRun._base_manager.bulk_create(runs, batch_size=500)
    return runs
