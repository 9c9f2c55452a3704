"""``Step``: what a workflow function is given to make its work durable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from django_openworkflow.durations import to_timedelta
from django_openworkflow.engine.calls import FunctionCall
from django_openworkflow.engine.control import Park
from django_openworkflow.engine.history import resume_at
from django_openworkflow.identifiers import new_id
from django_openworkflow.serialization import decode
from django_openworkflow.states import StepKind
from django_openworkflow.store.operations import SleepStarted

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime, timedelta
    from uuid import UUID

    from django_openworkflow.engine.execution import Execution
    from django_openworkflow.retries import RetryPolicy

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInfo:
    """What a workflow may know of its own run."""

    id: UUID
    workflow_name: str
    version: str | None
    created_at: datetime
    started_at: datetime


class Step:
    """The durable steps of one run. Names are durable too: ``a``, then ``a:1``, ``a:2``, ….

    A step's result is saved before the next step's body starts; a replay returns what was saved
    and runs nothing again. Call steps in an order that depends on saved results alone.
    """

    def __init__(self, execution: Execution) -> None:
        self._execution = execution

    @property
    def info(self) -> RunInfo:
        """Facts about this run."""
        claimed = self._execution.claimed
        return RunInfo(
            id=claimed.lease.run_id,
            workflow_name=claimed.workflow_name,
            version=claimed.version,
            created_at=claimed.created_at,
            started_at=claimed.started_at,
        )

    @property
    def cancel_requested(self) -> bool:
        """Whether the run was canceled, or taken over by another worker, while the body runs.

        Costs nothing: the worker's heartbeat sets it. For long bodies that can stop early.
        """
        return self._execution.is_unwanted

    def raise_if_canceled(self) -> None:
        """Raise ``RunCanceled`` if the run was canceled; a ``BaseException``, so let it pass."""
        if self._execution.is_unwanted:
            self._execution.check()

    @overload
    def run(
        self,
        name: str,
        fn: Callable[..., T],
        /,
        *args: Any,
        retry_policy: RetryPolicy,
        **kwargs: Any,
    ) -> T: ...

    @overload
    def run(self, name: str, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T: ...

    def run(self, name: str, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Call ``fn`` once and return its result as JSON gives it back, now and in every replay.

        A body that raises is called again after a back-off, by default up to 10 times; then
        ``StepFailed`` is raised, here and in every replay. A worker that dies runs the body again:
        at least once, its recorded result at most once. Raises ``StepCallRefused`` inside another
        step's body or inside a transaction. ``retry_policy`` is not passed on to ``fn``.
        """
        call = FunctionCall(self._execution, name, kwargs.pop("retry_policy", None))
        if call.saved is not None:
            return call.saved.output
        self._execution.submit(call.start())
        try:
            with call.body():
                result = fn(*args, **kwargs)
            text = call.encode(result)
        except BaseException as error:  # whatever user code raises is the user's
            failure = call.fail(error)
            self._execution.submit(failure)
            call.raise_failure(error, failure.error)
        self._execution.submit(call.complete(text))
        return decode(text)

    def sleep(self, name: str, duration: str | timedelta) -> None:
        """Let the run sleep without a worker.

        The end is fixed by the database's clock when the sleep begins, to the millisecond. Raises
        ``InvalidDuration`` before anything is saved.
        """
        span = to_timedelta(duration)
        execution = self._execution
        key = execution.enter(name)
        if execution.saved(key, StepKind.SLEEP) is not None:
            return
        if (pending := execution.history.running.get(key)) is not None:
            execution.stop(Park(wake_at=resume_at(pending)))
        execution.count_attempt()
        execution.stop(
            Park(
                sleep=SleepStarted(
                    lease=execution.claimed.lease,
                    attempt_id=new_id(),
                    step_name=key,
                    duration=span,
                )
            )
        )
