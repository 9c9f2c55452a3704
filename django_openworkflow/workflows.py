"""Define workflows and start them. Importable before apps are loaded."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Generic,
    ParamSpec,
    TypeVar,
    overload,
)

from asgiref.sync import sync_to_async

from django_openworkflow import conf
from django_openworkflow.durations import to_moment
from django_openworkflow.exceptions import InvalidInput
from django_openworkflow.handles import RunHandle
from django_openworkflow.names import is_printable
from django_openworkflow.registry import registry
from django_openworkflow.retries import RetryPolicy, checked_policy
from django_openworkflow.serialization import encode

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from django_openworkflow.engine.steps import Step
    from django_openworkflow.store.enqueue import NewRun

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

_LARGEST_PRIORITY = 2**31 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class StartOptions:
    """How a run is started; checked when it is made, before anything is written."""

    available_at: datetime | timedelta | None = None
    deadline_at: datetime | timedelta | None = None
    idempotency_key: str | None = None
    priority: int = 0

    @classmethod
    def checked(cls, **given: Any) -> StartOptions:
        """Build options from what a caller typed; raises ``InvalidInput``."""
        for name in ("available_at", "deadline_at"):
            if given.get(name) is not None:
                given[name] = to_moment(given[name])
        key, priority = given.get("idempotency_key"), given.get("priority", 0)
        if key is not None and not is_printable(key):
            message = f"idempotency_key must be printable text, not {key!r}"
            raise InvalidInput(message)
        if type(priority) is not int or abs(priority) > _LARGEST_PRIORITY:
            message = f"priority must be a whole number within ±{_LARGEST_PRIORITY}: {priority!r}"
            raise InvalidInput(message)
        return cls(**given)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workflow(Generic[P, R_co]):
    """A registered workflow: call ``start`` with the arguments of its function."""

    fn: Callable[..., R_co]
    name: str
    version: str | None = None
    retry_policy: RetryPolicy = field(default_factory=RetryPolicy)
    queue: str = "default"
    options: StartOptions = field(default_factory=StartOptions)

    # --- start ----------------------------------------------------------------------------------

    def using(
        self,
        *,
        available_at: str | timedelta | datetime | None = None,
        deadline_at: str | timedelta | datetime | None = None,
        idempotency_key: str | None = None,
        priority: int = 0,
    ) -> Workflow[P, R_co]:
        """Return a copy that starts runs with these options.

        ``available_at``: when the run may begin; ``deadline_at``: when it fails unless it has
        ended; each a duration from now by the database's clock, or an aware datetime.
        ``idempotency_key``: within 24 hours the same key returns the same run. ``priority``:
        higher first.
        """
        options = StartOptions.checked(
            available_at=available_at,
            deadline_at=deadline_at,
            idempotency_key=idempotency_key,
            priority=priority,
        )
        return replace(self, options=options)

    def start(self, *args: P.args, **kwargs: P.kwargs) -> RunHandle[R_co]:
        """Insert a pending run inside the caller's transaction and return its handle.

        A rollback undoes it; no worker sees it before the commit. Raises ``InvalidInput`` for
        arguments that do not fit and ``InvalidPayload`` for values that JSON cannot keep.
        """
        from django_openworkflow.store.enqueue import insert_run_once, insert_runs

        new_run = self._new_run(self._input(args, kwargs))
        using = conf.get_settings().DATABASE
        if (key := self.options.idempotency_key) is not None:
            return RunHandle(insert_run_once(new_run, key, using=using))
        return RunHandle(insert_runs([new_run], using=using)[0])

    async def astart(self, *args: P.args, **kwargs: P.kwargs) -> RunHandle[R_co]:
        """See ``start``."""
        return await sync_to_async(self.start)(*args, **kwargs)

    def start_many(self, inputs: Iterable[Mapping[str, Any]]) -> list[RunHandle[R_co]]:
        """Start one run for each mapping of keyword arguments: all or, on an error, none."""
        from django_openworkflow.store.enqueue import insert_runs

        if self.options.idempotency_key is not None:
            message = "start_many() cannot share one idempotency_key between runs"
            raise InvalidInput(message)
        new_runs = [self._new_run(self._input((), _mapping(given))) for given in inputs]
        ids = insert_runs(new_runs, using=conf.get_settings().DATABASE)
        return [RunHandle(pk) for pk in ids]

    def start_input(self, value: Any) -> RunHandle[R_co]:
        """Start a run with its input as one JSON value, as the command line and the admin have it.

        An object holds the arguments by name, null means none, anything else is the one argument.
        """
        args, kwargs = self._arguments(value)
        return self.start(*args, **kwargs)

    def _new_run(self, text: str | None) -> NewRun:
        from django_openworkflow.store.enqueue import NewRun

        return NewRun(
            workflow_name=self.name,
            version=self.version,
            input=text,
            queue=self.queue,
            priority=self.options.priority,
            available_at=self.options.available_at,
            deadline_at=self.options.deadline_at,
        )

    def _input(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str | None:
        """Return the arguments as one encoded JSON object; None when there are none."""
        try:
            bound = self._signature().bind(*args, **kwargs)
        except TypeError as error:
            message = f'Workflow "{self.name}" was started with wrong arguments: {error}'
            raise InvalidInput(message) from None
        named = dict(bound.arguments)
        for parameter in bound.signature.parameters.values():
            if parameter.kind is inspect.Parameter.VAR_KEYWORD:
                named |= named.pop(parameter.name, {})
        return encode(named, what=f'input of workflow "{self.name}"') if named else None

    # --- execute --------------------------------------------------------------------------------

    def call(self, step: Step, value: Any) -> R_co:
        """Call the function with a stored input; raises ``InvalidInput`` when it does not fit."""
        args, kwargs = self._arguments(value)
        return self.fn(step, *args, **kwargs)

    def _arguments(self, value: Any) -> tuple[list[Any], dict[str, Any]]:
        signature = self._signature()
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        if isinstance(value, dict):
            kwargs = dict(value)
            for parameter in signature.parameters.values():
                is_leading = parameter.kind is inspect.Parameter.POSITIONAL_ONLY
                if is_leading and parameter.name in kwargs:
                    args.append(kwargs.pop(parameter.name))
        elif value is not None:
            args = [value]
        try:
            signature.bind(*args, **kwargs)
        except TypeError as error:
            message = f'The input does not fit workflow "{self.name}": {error}'
            raise InvalidInput(message) from None
        return args, kwargs

    def _signature(self) -> inspect.Signature:
        """Return the signature without the step, which the engine adds."""
        signature = inspect.signature(self.fn)
        return signature.replace(parameters=list(signature.parameters.values())[1:])


def _mapping(given: Any) -> Mapping[str, Any]:
    if isinstance(given, Mapping):
        return given
    message = f"start_many() takes mappings of keyword arguments, not {type(given).__name__}"
    raise InvalidInput(message)


@overload
def workflow(name: Callable[Concatenate[Step, P], R], /) -> Workflow[P, R]: ...


@overload
def workflow(
    name: str | None = None,
    /,
    *,
    version: str | None = None,
    retry_policy: RetryPolicy | None = None,
    queue: str = "default",
) -> Callable[[Callable[Concatenate[Step, P], R]], Workflow[P, R]]: ...


def workflow(
    name: Any = None,
    /,
    *,
    version: str | None = None,
    retry_policy: RetryPolicy | None = None,
    queue: str = "default",
) -> Any:
    """Register a function as a workflow; bare, its name is the function's, with ``-`` for ``_``.

    ``retry_policy`` says how often the function itself may fail, by default once. Raises
    ``DuplicateWorkflow`` when the name and version are taken, ``InvalidInput`` for wrong options.
    """
    if callable(name):
        return _define(name, None, version, retry_policy, queue)
    return lambda fn: _define(fn, name, version, retry_policy, queue)


def _define(
    fn: Callable[..., Any],
    name: str | None,
    version: str | None,
    retry_policy: RetryPolicy | None,
    queue: str,
) -> Workflow[Any, Any]:
    chosen = fn.__name__.replace("_", "-") if name is None else name
    for what, text in (("name", chosen), ("version", version), ("queue", queue)):
        if text is not None and not is_printable(text):
            message = f"A workflow's {what} must be printable text, not {text!r}"
            raise InvalidInput(message)
    _check_function(fn, chosen)
    definition: Workflow[Any, Any] = Workflow(
        fn=fn,
        name=chosen,
        version=version,
        retry_policy=checked_policy(retry_policy),
        queue=queue,
    )
    registry.register(definition)
    return definition


def _check_function(fn: Callable[..., Any], name: str) -> None:
    parameters = list(inspect.signature(fn).parameters.values())
    if not parameters or parameters[0].kind is inspect.Parameter.KEYWORD_ONLY:
        message = f'The function of workflow "{name}" must take the step as its first argument'
        raise InvalidInput(message)
    if any(parameter.kind is inspect.Parameter.VAR_POSITIONAL for parameter in parameters):
        message = f'The function of workflow "{name}" cannot take *args: its input is named'
        raise InvalidInput(message)
