"""``Step``: what a sync workflow function is given to make its work durable."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from django_openworkflow.engine import waits
from django_openworkflow.engine.branches import Call, gather
from django_openworkflow.engine.calls import FunctionCall
from django_openworkflow.engine.driving import drive
from django_openworkflow.workflows import Workflow

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime, timedelta
    from uuid import UUID

    from django_openworkflow.engine.effects import StepProgram
    from django_openworkflow.engine.execution import Execution
    from django_openworkflow.retries import RetryPolicy
    from django_openworkflow.schemas import SignalPayload

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


class StepBase:
    """What the sync and the async step have in common."""

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

        Costs nothing: the worker is told by a notification or by its heartbeat. For long bodies
        that can stop early.
        """
        return self._execution.is_unwanted

    def raise_if_canceled(self) -> None:
        """Raise ``RunCanceled`` if the run was canceled; a ``BaseException``, so let it pass."""
        if self._execution.is_unwanted:
            self._execution.check()

    @overload
    def call(
        self, name: str, workflow: Workflow[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> Call[T]: ...

    @overload
    def call(
        self,
        name: str,
        fn: Callable[..., T],
        /,
        *args: Any,
        retry_policy: RetryPolicy | None = None,
        compensate: Callable[[T], object],
        **kwargs: Any,
    ) -> Call[T]: ...

    @overload
    def call(
        self,
        name: str,
        fn: Callable[..., T],
        /,
        *args: Any,
        retry_policy: RetryPolicy,
        **kwargs: Any,
    ) -> Call[T]: ...

    @overload
    def call(
        self, name: str, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Call[T]: ...

    @overload
    def call(
        self, name: str, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> Call[T]: ...

    def call(self, name: str, fn: Any, /, *args: Any, **kwargs: Any) -> Call[Any]:
        """Return a step for ``gather``: of a function, as ``run``, or of a workflow, as a child.

        ``retry_policy`` and ``compensate`` are understood as in ``run``.
        """
        return Call(name=name, program=partial(self._program, name, fn, args, kwargs))

    def _program(self, name: str, fn: Any, args: Any, kwargs: dict[str, Any]) -> StepProgram:
        if isinstance(fn, Workflow):
            return waits.run_child(self._execution, fn.named(name), args, kwargs)
        return self._function(name, kwargs).run(partial(fn, *args, **kwargs))

    def _function(self, name: str, kwargs: dict[str, Any]) -> FunctionCall:
        """Open a function step, taking the engine's own options out of the keyword arguments."""
        return FunctionCall(
            self._execution,
            name,
            policy=kwargs.pop("retry_policy", None),
            compensate=kwargs.pop("compensate", None),
        )


class Step(StepBase):
    """The durable steps of one run. Names are durable too: ``a``, then ``a:1``, ``a:2``, ….

    A step's result is saved before the next step's body starts; a replay returns what was saved
    and runs nothing again. Call steps in an order that depends on saved results alone.
    """

    @overload
    def run(
        self,
        name: str,
        fn: Callable[..., T],
        /,
        *args: Any,
        retry_policy: RetryPolicy | None = None,
        compensate: Callable[[T], object],
        **kwargs: Any,
    ) -> T: ...

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
        step's body or inside a transaction.

        ``retry_policy`` and ``compensate`` are not passed on. ``compensate`` undoes the step, given
        its result, if the run is canceled after it completed.
        """
        call = self._function(name, kwargs)
        return drive(self._execution, call.run(partial(fn, *args, **kwargs)))

    @overload
    def transaction(
        self,
        name: str,
        fn: Callable[..., T],
        /,
        *args: Any,
        retry_policy: RetryPolicy | None = None,
        compensate: Callable[[T], object],
        **kwargs: Any,
    ) -> T: ...

    @overload
    def transaction(
        self,
        name: str,
        fn: Callable[..., T],
        /,
        *args: Any,
        retry_policy: RetryPolicy,
        **kwargs: Any,
    ) -> T: ...

    @overload
    def transaction(
        self, name: str, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T: ...

    def transaction(self, name: str, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Call ``fn`` inside ``atomic()`` on the workflow database, its checkpoint with it.

        Its ORM writes and its result are committed together, exactly once, wherever a worker dies;
        a cancel that commits first rolls both back. Otherwise as ``run``.
        """
        call = self._function(name, kwargs)
        return drive(self._execution, call.transact(partial(fn, *args, **kwargs)))

    def sleep(self, name: str, duration: str | timedelta) -> None:
        """Let the run sleep without a worker.

        The end is fixed by the database's clock when the sleep begins, to the millisecond. Raises
        ``InvalidDuration`` before anything is saved.
        """
        drive(self._execution, waits.sleep(self._execution, name, duration))

    def run_workflow(self, workflow: Workflow[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Start a child run, wait for it without a worker, and return its output.

        Options go through ``workflow.using(step_name=…, timeout=…)``. Raises ``StepFailed`` when
        the child failed, was canceled, or did not end in time (by default within a year).
        """
        child: T = drive(self._execution, waits.run_child(self._execution, workflow, args, kwargs))
        return child

    def wait_for_signal(
        self,
        signal: str,
        *,
        timeout: str | timedelta | datetime | None = None,
        schema: Any = None,
        name: str | None = None,
    ) -> SignalPayload | None:
        """Wait without a worker for a signal; None when ``timeout`` (by default a year) is over.

        ``schema`` checks the data; what does not fit fails the step. ``name`` is the step's, by
        default the signal's.
        """
        program = waits.wait_for_signal(
            self._execution, signal, timeout=timeout, schema=schema, name=name
        )
        payload: SignalPayload | None = drive(self._execution, program)
        return payload

    def send_signal(self, signal: str, data: Any = None, *, name: str | None = None) -> list[str]:
        """Send a signal, once, and return the ids of the runs that received it."""
        program = waits.send_signal(self._execution, signal, data, name=name)
        ids: list[str] = drive(self._execution, program)
        return ids

    def gather(self, *calls: Call[Any], return_exceptions: bool = False) -> list[Any]:
        """Run the steps that ``call`` returned side by side; return their results in order.

        All of them are joined before anything else happens. With ``return_exceptions`` errors take
        the place of results, otherwise the first in order is raised.
        """
        return gather(self._execution, calls, return_exceptions=return_exceptions)
