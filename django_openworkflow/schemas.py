"""Check inputs and signals against what a project calls a schema.

A schema is a pydantic model, a dataclass, or any callable that returns the validated value or
raises ``ValueError``. pydantic is not required: its models are known by their ``model_validate``.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from django_openworkflow.exceptions import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable


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


def to_json(value: Any) -> Any:
    """Return what is stored of a validated value: the fields of a model or of a dataclass."""
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    return value


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
