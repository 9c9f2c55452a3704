"""Define workflows and start them. Importable before apps are loaded."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Final,
    Generic,
    ParamSpec,
    Protocol,
    TypeVar,
    overload,
)

from asgiref.sync import sync_to_async

from django_openworkflow import conf, instrumentation
from django_openworkflow.arguments import (
    InputForm,
    check_function,
    check_hook,
    is_coroutine_function,
    name_of,
)
from django_openworkflow.durations import to_moment
from django_openworkflow.exceptions import InvalidInput
from django_openworkflow.handles import RunHandle
from django_openworkflow.names import is_printable, name_problem
from django_openworkflow.registry import registry
from django_openworkflow.retries import RetryPolicy, checked_policy
from django_openworkflow.schemas import check_schema
from django_openworkflow.store.operations import NewRun

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from django_openworkflow.engine.async_steps import AsyncStep
    from django_openworkflow.engine.steps import Step

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

_LARGEST_PRIORITY: Final = 2**31 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class StartOptions:
    """How a run is started; checked when it is made, before anything is written."""

    available_at: datetime | timedelta | None = None
    deadline_at: datetime | timedelta | None = None
    idempotency_key: str | None = None
    priority: int = 0
    step_name: str | None = None  # of the step that starts the run as a child
    timeout: datetime | timedelta | None = None  # of the wait for a child

    def changed(self, **given: Any) -> StartOptions:
        """Return options changed by what a caller typed (None: as it is), or ``InvalidInput``."""
        options = {name: value for name, value in given.items() if value is not None}
        for name in {"available_at", "deadline_at", "timeout"} & options.keys():
            options[name] = to_moment(options[name])
        for name in ("idempotency_key", "step_name"):
            if name in options and not is_printable(options[name]):
                raise InvalidInput(name_problem(name, options[name]))
        priority = options.get("priority", 0)
        if type(priority) is not int or abs(priority) > _LARGEST_PRIORITY:
            message = f"priority must be a whole number within ±{_LARGEST_PRIORITY}: {priority!r}"
            raise InvalidInput(message)
        return replace(self, **options)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workflow(Generic[P, R_co]):
    """A registered workflow: call ``start`` with the arguments of its function."""

    fn: Callable[..., Any]
    name: str
    version: str | None = None
    schema: Any = None
    retry_policy: RetryPolicy = field(default_factory=RetryPolicy)
    queue: str = "default"
    on_cancel: Callable[..., Any] | None = None
    options: StartOptions = field(default_factory=StartOptions)

    @property
    def is_async(self) -> bool:
        """Whether the function is a coroutine function, executed on the worker's event loop."""
        return is_coroutine_function(self.fn)

    # --- start ----------------------------------------------------------------------------------

    def using(
        self,
        *,
        available_at: str | timedelta | datetime | None = None,
        deadline_at: str | timedelta | datetime | None = None,
        idempotency_key: str | None = None,
        priority: int | None = None,
        step_name: str | None = None,
        timeout: str | timedelta | datetime | None = None,
    ) -> Workflow[P, R_co]:
        """Return a copy that starts runs with these options, and with those it has already.

        ``available_at``: when the run may begin; ``deadline_at``: when it fails unless it has
        ended; each a duration from now by the database's clock, or an aware datetime.
        ``idempotency_key``: within 24 hours the same key returns the same run. ``priority``:
        higher first. As a child run (``step.run_workflow``): ``step_name`` names the step,
        ``timeout`` ends the wait; the key of a child is the engine's own.
        """
        options = self.options.changed(
            available_at=available_at,
            deadline_at=deadline_at,
            idempotency_key=idempotency_key,
            priority=priority,
            step_name=step_name,
            timeout=timeout,
        )
        return replace(self, options=options)

    def named(self, step_name: str) -> Workflow[P, R_co]:
        """Return a copy whose step, as a child run, has this name."""
        return replace(self, options=replace(self.options, step_name=step_name))

    def start(self, /, *args: P.args, **kwargs: P.kwargs) -> RunHandle[R_co]:
        """Insert a pending run inside the caller's transaction and return its handle.

        A rollback undoes it; no worker sees it before the commit. Raises ``InvalidInput`` for
        arguments that do not fit and ``InvalidPayload`` for values that JSON cannot keep.
        """
        return self._insert(self.new_run(args, kwargs))

    async def astart(self, /, *args: P.args, **kwargs: P.kwargs) -> RunHandle[R_co]:
        """See ``start``."""
        # Not passed on by the wrapper, which has a ``self`` of its own.
        return await sync_to_async(partial(self.start, *args, **kwargs))()

    def start_many(self, inputs: Iterable[Mapping[str, Any]]) -> list[RunHandle[R_co]]:
        """Start one run for each mapping of keyword arguments: all or, on an error, none."""
        from django_openworkflow.store.enqueue import insert_runs

        if self.options.idempotency_key is not None:
            message = "start_many() cannot share one idempotency_key between runs"
            raise InvalidInput(message)
        form = self._form
        with instrumentation.starting(self.name, self.version) as watched:
            encoded = [form.encode((), _mapping(given)) for given in inputs]
            traced = _traced(self._like(None), watched.context)
            ids = insert_runs(traced, encoded, using=conf.get_settings().DATABASE)
            watched.note(ids)
        return [RunHandle(pk) for pk in ids]

    def start_input(self, value: Any) -> RunHandle[R_co]:
        """Start a run with its input as one JSON value, as the command line and the admin have it.

        An object holds the arguments by name, null means none, anything else is the one argument.
        """
        if self.schema is not None:
            return self._insert(self.new_run((value,), {}))
        args, kwargs = self._form.decode(value)
        return self._insert(self.new_run(tuple(args), kwargs))

    def new_run(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> NewRun:
        """Check arguments and options, and return the run to be inserted."""
        return self._like(self._form.encode(args, kwargs))

    def _like(self, encoded: str | None) -> NewRun:
        return NewRun(
            workflow_name=self.name,
            version=self.version,
            input=encoded,
            queue=self.queue,
            priority=self.options.priority,
            available_at=self.options.available_at,
            deadline_at=self.options.deadline_at,
            has_cancel_hook=self.on_cancel is not None,
        )

    def _insert(self, new_run: NewRun) -> RunHandle[R_co]:
        from django_openworkflow.store.enqueue import insert_run_once, insert_runs

        using = conf.get_settings().DATABASE
        key = self.options.idempotency_key
        with instrumentation.starting(self.name, self.version) as watched:
            traced = _traced(new_run, watched.context)
            if key is not None:
                run_id = insert_run_once(traced, key, using=using)
            else:
                [run_id] = insert_runs(traced, [traced.input], using=using)
            watched.note([run_id])
        return RunHandle(run_id)

    # --- execute --------------------------------------------------------------------------------

    def call(self, step: Any, value: Any) -> Any:
        """Call the function with a stored input; raises ``InvalidInput`` when it does not fit."""
        args, kwargs = self._form.decode(value)
        return self.fn(step, *args, **kwargs)

    def call_hook(self, step: Any, value: Any) -> Any:
        """Call ``on_cancel`` with the arguments that the function was called with."""
        args, kwargs = self._form.decode(value)
        return self.on_cancel(step, *args, **kwargs) if self.on_cancel is not None else None

    @property
    def _form(self) -> InputForm:
        return InputForm(workflow_name=self.name, fn=self.fn, schema=self.schema)


def _traced(new_run: NewRun, context: dict[str, Any] | None) -> NewRun:
    return new_run if context is None else replace(new_run, context=context)


def _mapping(given: Any) -> Mapping[str, Any]:
    if isinstance(given, Mapping):
        return given
    message = f"start_many() takes mappings of keyword arguments, not {type(given).__name__}"
    raise InvalidInput(message)


class Decorator(Protocol):
    """What ``workflow(...)`` with options returns: it keeps parameters and result."""

    @overload
    def __call__(
        self, fn: Callable[Concatenate[AsyncStep, P], Awaitable[R]], /
    ) -> Workflow[P, R]: ...

    @overload
    def __call__(self, fn: Callable[Concatenate[Step, P], R], /) -> Workflow[P, R]: ...


@overload
def workflow(name: Callable[Concatenate[AsyncStep, P], Awaitable[R]], /) -> Workflow[P, R]: ...


@overload
def workflow(name: Callable[Concatenate[Step, P], R], /) -> Workflow[P, R]: ...


@overload
def workflow(
    name: str | None = None,
    *,
    version: str | None = None,
    schema: Any = None,
    retry_policy: RetryPolicy | None = None,
    queue: str = "default",
    on_cancel: Callable[..., Any] | None = None,
) -> Decorator: ...


def workflow(
    name: Any = None,
    *,
    version: str | None = None,
    schema: Any = None,
    retry_policy: RetryPolicy | None = None,
    queue: str = "default",
    on_cancel: Callable[..., Any] | None = None,
) -> Any:
    """Register a function as a workflow; bare, its name is the function's, with ``-`` for ``_``.

    ``retry_policy`` says how often the function itself may fail, by default once. ``schema`` checks
    the input: a pydantic model, a dataclass, or a callable that raises ``ValueError``.
    ``on_cancel`` is called as a workflow of its own, with the same arguments, after a run was
    canceled. Raises ``DuplicateWorkflow`` when the name and version are taken, ``InvalidInput`` for
    wrong options.
    """
    options: dict[str, Any] = {
        "version": version,
        "schema": schema,
        "retry_policy": retry_policy,
        "queue": queue,
        "on_cancel": on_cancel,
    }
    if callable(name):
        return _define(name, None, **options)
    return lambda fn: _define(fn, name, **options)


def workflow_spec(
    name: str, *, version: str | None = None, schema: Any = None, queue: str = "default"
) -> Decorator:
    """Describe a workflow that other code executes: a TypeScript worker, or another project.

    It can be started, and waited for as a child, but no worker of this project executes it. The
    function says by its signature what the workflow takes and returns, and is never called.
    Source: the original's ``defineWorkflowSpec``.
    """
    options = {"version": version, "schema": schema, "queue": queue}
    return lambda fn: _definition(fn, name, **options)


def _define(fn: Callable[..., Any], name: str | None, **options: Any) -> Workflow[Any, Any]:
    definition = _definition(fn, name, **options)
    registry.register(definition)
    return definition


def _definition(fn: Callable[..., Any], name: str | None, **options: Any) -> Workflow[Any, Any]:
    chosen = name_of(fn) if name is None else name
    options["retry_policy"] = checked_policy(options.get("retry_policy"))
    definition: Workflow[Any, Any] = Workflow(fn=fn, name=chosen, **options)
    names = {"name": chosen, "version": definition.version, "queue": definition.queue}
    for what, text in names.items():
        if not is_printable(text) and (what != "version" or text is not None):
            raise InvalidInput(name_problem(f"A workflow's {what}", text))
    check_function(fn, chosen)
    check_hook(definition.on_cancel, fn, chosen)
    check_schema(definition.schema)
    return definition
