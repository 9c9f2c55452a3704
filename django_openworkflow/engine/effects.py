"""What a step asks of whoever drives it: the sync and the async ``Step`` share all the rest.

A step is a generator of effects. It never touches a database, a thread or an event loop itself.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datetime import datetime

    from django_openworkflow.store.operations import Operation, StepCompleted, WaitOperation


@dataclass(frozen=True, slots=True, kw_only=True)
class Submit:
    """Write operations and continue with the receipt."""

    operations: tuple[Operation, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """Hand in an operation and continue at once: it is written with what is submitted next."""

    operation: Operation


@dataclass(frozen=True, slots=True, kw_only=True)
class CallBody:
    """Call the user's function and continue with what it returns, or raise what it raises."""

    step_name: str
    fn: Callable[[], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class CallTransaction:
    """Call the user's function and its checkpoint in one transaction; continue with the result.

    ``checkpoint`` turns what the function returned into the operation that commits with it.
    """

    step_name: str
    fn: Callable[[], Any]
    checkpoint: Callable[[Any], StepCompleted]


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitUntil:
    """Wait in vain: this pass cannot go on here. ``start`` begins the wait, if it is new."""

    wake_at: datetime | None = None
    start: WaitOperation | None = None


Effect = Submit | Post | CallBody | CallTransaction | WaitUntil
StepProgram = Generator[Effect, Any, Any]
