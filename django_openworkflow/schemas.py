"""Check inputs and signals against what a project calls a schema.

A schema is a pydantic model, a dataclass, or any callable that returns the validated value or
raises ``ValueError``. pydantic is not required: its models are known by their ``model_validate``.
"""

from __future__ import annotations

import dataclasses
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from django_openworkflow.exceptions import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclasses.dataclass(frozen=True, slots=True)
class SignalPayload:
    """What a signal brought. ``data`` is None for a signal without data."""

    data: Any


def validate(schema: Any, value: Any) -> Any:
    """Return the validated value; raises ``ValueError`` (pydantic's are) or ``TypeError``."""
    if schema is None:
        return value
    if hasattr(schema, "model_validate"):
        return schema.model_validate(value)
    if isinstance(schema, type) and dataclasses.is_dataclass(schema):
        if isinstance(value, schema):
            return value
        make: Callable[..., Any] = schema
        return make(**value) if isinstance(value, dict) else make(value)
    return schema(value)


def stored_forms(value: Any) -> Iterator[Any]:
    """Yield what may be stored of a validated value: the fields of a model or of a dataclass.

    A model is offered as its author dumps it, and by its aliases; nothing is that is computed,
    because it is no input. Whether the schema takes a form again is not known yet.
    """
    with suppress(Exception):  # a stranger's: a field for which pydantic knows no JSON, a lock
        if hasattr(value, "model_dump"):
            yield value.model_dump(mode="json", round_trip=True)
            yield value.model_dump(mode="json", round_trip=True, by_alias=True)
        elif dataclasses.is_dataclass(value) and not isinstance(value, type):
            taken = {field.name for field in dataclasses.fields(value) if field.init}
            every = dataclasses.asdict(value)
            yield {name: part for name, part in every.items() if name in taken}
        else:
            yield value


def is_alike(one: Any, other: Any) -> bool:
    """Whether two validated values tell a function the same; True where nobody can tell.

    A tuple is a list, as it is in JSON. Objects without an ``==`` of their own are alike if their
    classes are the same.
    """
    try:
        return _is_alike(one, other)
    except Exception:  # whatever a stranger's == does: an array's has no truth value
        return type(one) is type(other)


def _is_alike(one: Any, other: Any) -> bool:
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(is_alike, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(is_alike(one[key], other[key]) for key in one)
    if type(one) is not type(other):
        return bool(one == other)
    if dataclasses.is_dataclass(one):
        names = [field.name for field in dataclasses.fields(one)]
        return all(is_alike(getattr(one, name), getattr(other, name)) for name in names)
    if hasattr(one, "model_dump"):
        return bool(one == other) or (
            is_alike(vars(one), vars(other))
            and is_alike(*(getattr(each, "__pydantic_extra__", None) for each in (one, other)))
        )
    own_equality: Any = type(one).__eq__
    return own_equality is object.__eq__ or bool(one == other)


def check_signal(schema: Any, data: Any) -> Any:
    """Return a signal's validated data, or raise ``InvalidInput`` with the original's message."""
    try:
        return validate(schema, data)
    except (ValueError, TypeError) as error:
        message = f"Signal schema validation failed: {'; '.join(issues(error))}"
        raise InvalidInput(message) from error


def issues(error: Exception) -> list[str]:
    """List what is wrong in one sentence each; pydantic tells the place of each."""
    errors: Callable[[], list[dict[str, Any]]] | None = getattr(error, "errors", None)
    if not callable(errors):
        return [str(error)]
    return [
        f"{'.'.join(str(part) for part in issue.get('loc', ()))}: {issue.get('msg', '')}".lstrip(
            ": "
        )
        for issue in errors()
    ]


def check_schema(schema: Any) -> None:
    """Raise ``InvalidInput`` for something that cannot be a schema."""
    if schema is not None and not callable(schema):
        message = f"schema must be a pydantic model, a dataclass or a callable, not {schema!r}"
        raise InvalidInput(message)
