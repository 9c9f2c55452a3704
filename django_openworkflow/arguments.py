"""Turn the arguments of a workflow's function into one JSON value, and back."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from django_openworkflow.exceptions import InvalidInput, InvalidPayload
from django_openworkflow.schemas import is_alike, issues, stored_forms, validate
from django_openworkflow.serialization import decode, encode

if TYPE_CHECKING:
    from collections.abc import Callable

_NEVER_FIRST: Final = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_KEYWORD)
_NAMED: Final = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)

Arguments = tuple[list[Any], dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class InputForm:
    """The form of a workflow's input: its function's signature, and a schema if it has one.

    A schema is applied when a run is started and again when it is executed, because other clients
    start runs too. So what is stored is tried out at the start: it must come to the same again.
    """

    workflow_name: str
    fn: Callable[..., Any]
    schema: Any = None

    # --- start ----------------------------------------------------------------------------------

    def encode(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str | None:
        """Return the input as encoded JSON; None when there are no arguments.

        Raises ``InvalidInput`` for arguments that do not fit, ``InvalidPayload`` for values that
        JSON cannot keep.
        """
        what = f'input of workflow "{self.workflow_name}"'
        if self.schema is None:
            return encode(self._named(args, kwargs) or None, what=what)
        given = self._candidate(args, kwargs)
        validated = self._validated(given)
        refusal: Any = None
        # What was given comes last: for a schema that makes objects of it, or changes it each time.
        for form in chain(stored_forms(validated), [given]):
            try:
                text = encode(form, what=what)
                self._try_again(text, validated)
            except InvalidPayload as error:
                if refusal is None or isinstance(refusal, InvalidPayload):
                    refusal = error
            except Exception as error:  # the schema's, which took the value a moment ago
                refusal = error
            else:
                return text
        if isinstance(refusal, InvalidPayload):
            raise refusal
        message = (
            f"The {what} cannot be stored so that its schema would take it again in a worker: "
            f"{'; '.join(issues(refusal))}"
        )
        raise InvalidInput(message)

    def _try_again(self, text: str | None, validated: Any) -> None:
        """Raise what a worker would meet with this text as the input."""
        if not is_alike(validate(self.schema, decode(text)), validated):
            message = "the value would be another one there"
            raise ValueError(message)

    def _named(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        if not args and _fits_by_name(self.fn, kwargs):
            return dict(kwargs)
        try:
            _signature(self.fn).bind(None, *args, **kwargs)
            bound = _input_signature(self.fn).bind(*args, **kwargs)
        except TypeError as error:
            message = f'Workflow "{self.workflow_name}" was started with wrong arguments: {error}'
            raise InvalidInput(message) from None
        named = dict(bound.arguments)
        for parameter in bound.signature.parameters.values():
            if parameter.kind is inspect.Parameter.VAR_KEYWORD:
                others = named.pop(parameter.name, {})
                if twice := sorted(named.keys() & others.keys()):
                    message = (
                        f'Workflow "{self.workflow_name}" was started with two arguments named '
                        f"{twice[0]!r}"
                    )
                    raise InvalidInput(message)
                named |= others
        return named

    def _candidate(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Return what the schema is to check: the one argument, or the named ones."""
        if len(args) == 1 and not kwargs:
            return args[0]
        return dict(kwargs) if not args else self._named(args, kwargs)

    # --- execute --------------------------------------------------------------------------------

    def decode(self, value: Any) -> Arguments:
        """Return a stored input as arguments of the function; raises ``InvalidInput``.

        An object holds the arguments by name, null means none, anything else is the one argument.
        """
        if self.schema is not None:
            value = self._validated(value)
        if isinstance(value, Mapping) and _fits_by_name(self.fn, value):
            return [], dict(value)
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        if isinstance(value, Mapping):
            args, kwargs = self._spread(value)
        elif value is not None:
            args, kwargs = self._alone(value)
        try:
            # With a step in its place: an argument of the step's own name does not fit either.
            _signature(self.fn).bind(None, *args, **kwargs)
        except TypeError as error:
            if self.schema is not None and isinstance(value, Mapping):
                return [value], {}
            message = f'The input does not fit workflow "{self.workflow_name}": {error}'
            raise InvalidInput(message) from None
        return args, kwargs

    def _alone(self, value: Any) -> Arguments:
        parameters = _input_signature(self.fn).parameters.values()
        named = [one.name for one in parameters if one.kind is inspect.Parameter.KEYWORD_ONLY]
        if len(named) == 1 and all(one.kind in _NEVER_FIRST for one in parameters):
            return [], {named[0]: value}
        return [value], {}

    def _spread(self, value: Mapping[str, Any]) -> Arguments:
        kwargs = dict(value)
        args: list[Any] = []
        for name, parameter in _input_signature(self.fn).parameters.items():
            if parameter.kind is not inspect.Parameter.POSITIONAL_ONLY:
                break
            if name in kwargs:
                args.append(kwargs.pop(name))
            elif parameter.default is not inspect.Parameter.empty:
                args.append(parameter.default)  # it stands before others that were given
        return args, kwargs

    def _validated(self, value: Any) -> Any:
        try:
            return validate(self.schema, value)
        except (ValueError, TypeError) as error:
            problems = "; ".join(issues(error))
            message = f'The input of workflow "{self.workflow_name}" is not valid: {problems}'
            raise InvalidInput(message) from error


# Reading a signature costs more than writing a run does.
_signature = lru_cache(maxsize=1024)(inspect.signature)


@lru_cache(maxsize=1024)
def _input_signature(fn: Callable[..., Any]) -> inspect.Signature:
    """Return the signature without the step, which the engine adds."""
    signature = _signature(fn)
    return signature.replace(parameters=list(signature.parameters.values())[1:])


@lru_cache(maxsize=1024)
def _names(fn: Callable[..., Any]) -> tuple[frozenset[str], frozenset[str]] | None:
    """Return the arguments that must be there, and all; None if some have no name of their own."""
    parameters = _input_signature(fn).parameters.values()
    if any(parameter.kind not in _NAMED for parameter in parameters):
        return None
    needed = (one.name for one in parameters if one.default is inspect.Parameter.empty)
    return frozenset(needed), frozenset(one.name for one in parameters)


def _fits_by_name(fn: Callable[..., Any], named: Mapping[str, Any]) -> bool:
    """Whether a function can be called with these arguments; False also where it is not obvious.

    ``inspect`` would take longer to bind them than the database to insert the run.
    """
    names = _names(fn)
    return names is not None and names[0] <= named.keys() <= names[1]


def is_coroutine_function(fn: Callable[..., Any]) -> bool:
    """Whether calling this returns a coroutine; looks through ``functools.partial``."""
    while hasattr(fn, "func"):
        fn = fn.func
    return inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(type(fn).__call__)


def name_of(fn: Callable[..., Any]) -> str:
    """Return the name of a workflow that was given none, or raise ``InvalidInput``."""
    name = getattr(fn, "__name__", None)
    if not isinstance(name, str):
        message = f'{fn!r} has no name of its own: give the workflow one, as in workflow("name")'
        raise InvalidInput(message)
    return name.replace("_", "-")


def check_function(fn: Callable[..., Any], workflow_name: str) -> None:
    """Raise ``InvalidInput`` for a function that cannot be a workflow's."""
    parameters = list(inspect.signature(fn).parameters.values())
    named = f'The function of workflow "{workflow_name}"'
    if not parameters or parameters[0].kind in _NEVER_FIRST:
        message = f"{named} must take the step as its first argument"
        raise InvalidInput(message)
    if any(parameter.kind is inspect.Parameter.VAR_POSITIONAL for parameter in parameters):
        message = f"{named} cannot take *args: its input is named"
        raise InvalidInput(message)


def check_hook(hook: object, fn: Callable[..., Any], workflow_name: str) -> None:
    """Raise ``InvalidInput`` for an ``on_cancel`` that cannot be called as its workflow is."""
    if hook is None:
        return
    if not callable(hook):
        message = f'on_cancel of workflow "{workflow_name}" must be a function, not {hook!r}'
        raise InvalidInput(message)
    if is_coroutine_function(hook) != is_coroutine_function(fn):
        message = (
            f'on_cancel of workflow "{workflow_name}" must be async if the workflow is, '
            "and sync if it is not"
        )
        raise InvalidInput(message)
