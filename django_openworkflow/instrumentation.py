"""The one place for those who look on: tracers and meters. Nobody by default, at no cost.

An observer sees what begins, and is told how it ended. It is called where things happen, from any
thread and from event loops: it must not block. What it raises is logged and changes nothing.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from uuid import UUID

    from django_openworkflow.store.operations import ClaimedRun

logger: Final = logging.getLogger(__name__)

# Where the original's clients keep a trace context. Source: the original's ``telemetry.ts``.
_TRACE_CONTEXT: Final = "traceContext"


class Watch(Protocol):
    """One thing that is being watched by one observer.

    ``carrier`` is what the runs that are started by it shall remember of their trace.
    """

    @property
    def carrier(self) -> Mapping[str, str]:
        """Return texts by name, or nothing."""
        ...

    def end(self, result: Any, error: BaseException | None) -> None:
        """Take how it ended; called once, in the context in which it began."""
        ...


class Observer:
    """The base of all observers: looks away, so that each overrides what it wants to see."""

    def starting(self, workflow_name: str, version: str | None) -> Watch | None:
        """Runs are about to be inserted, or a child to be started; the result is their ids."""
        return None

    def executing(self, claimed: ClaimedRun) -> Watch | None:
        """A pass begins; the result is the operation that settled it, None for a lost run."""
        return None

    def calling(self, claimed: ClaimedRun, step_name: str) -> Watch | None:
        """The body of a function step is about to be called; there is no result."""
        return None

    def canceling(self, using: str) -> Watch | None:
        """Runs are about to be canceled; the result is the ``CancelOutcome``."""
        return None

    def cancel_noticed(self, run_id: UUID) -> None:
        """A worker has just learned that a run it executes was canceled."""

    def ended(self, run_ids: Collection[UUID], status: str, *, using: str) -> None:
        """A cancel or a sweep has ended runs, and that has committed."""


_observers: tuple[Observer, ...] = ()


def install(observer: Observer) -> None:
    """Let an observer see what this process does from now on."""
    global _observers
    if observer not in _observers:
        _observers = (*_observers, observer)


def remove(observer: Observer) -> None:
    """Let an observer go."""
    global _observers
    _observers = tuple(other for other in _observers if other is not observer)


class Unwatched:
    """Takes the place of ``Watched`` when nobody looks on."""

    __slots__ = ()

    @property
    def context(self) -> dict[str, Any] | None:
        """There is nothing to remember."""
        return None

    def __enter__(self) -> Unwatched:
        return self

    def __exit__(self, *_error: object) -> None:
        return None

    def note(self, result: Any) -> None:
        """Forget it."""


class Watched:
    """A ``with`` block that observers watch; ``note`` says what it came to."""

    __slots__ = ("_result", "_watches")

    def __init__(self, begin: Callable[[Observer], Watch | None]) -> None:
        begun = (_safely(begin, observer) for observer in _observers)
        self._watches: list[Watch] = [watch for watch in begun if watch is not None]
        self._result: Any = None

    @property
    def context(self) -> dict[str, Any] | None:
        """Return the ``context`` of runs that are started within, as the original's clients do."""
        carrier: dict[str, str] = {}
        for watch in self._watches:
            carrier.update(watch.carrier)
        return {_TRACE_CONTEXT: carrier} if carrier else None

    def __enter__(self) -> Watched:
        return self

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        for watch in reversed(self._watches):
            _safely(watch.end, self._result, error)

    def note(self, result: Any) -> None:
        """Remember what the block came to."""
        self._result = result


_UNWATCHED: Final = Unwatched()


def starting(workflow_name: str, version: str | None) -> Watched | Unwatched:
    """Watch the start of runs."""
    if not _observers:
        return _UNWATCHED
    return Watched(lambda observer: observer.starting(workflow_name, version))


def executing(claimed: ClaimedRun) -> Watched | Unwatched:
    """Watch a pass."""
    if not _observers:
        return _UNWATCHED
    return Watched(lambda observer: observer.executing(claimed))


def is_watched() -> bool:
    """Whether anybody looks on."""
    return bool(_observers)


def calling(claimed: ClaimedRun, step_name: str) -> Watched | Unwatched:
    """Watch the body of a step."""
    if not _observers:
        return _UNWATCHED
    return Watched(lambda observer: observer.calling(claimed, step_name))


def canceling(using: str) -> Watched | Unwatched:
    """Watch a cancel."""
    if not _observers:
        return _UNWATCHED
    return Watched(lambda observer: observer.canceling(using))


def cancel_noticed(run_id: UUID) -> None:
    """Tell that a worker has learned of a cancel."""
    for observer in _observers:
        _safely(observer.cancel_noticed, run_id)


def ended(run_ids: Collection[UUID], status: str, *, using: str) -> None:
    """Tell that a cancel or a sweep has ended runs."""
    for observer in _observers if run_ids else ():
        _safely(partial(observer.ended, run_ids, status, using=using))


def inherited(context: Any) -> dict[str, Any] | None:
    """Return what a run's children and its clean-up keep of its ``context``: the trace context."""
    carrier = context.get(_TRACE_CONTEXT) if isinstance(context, dict) else None
    return {_TRACE_CONTEXT: carrier} if isinstance(carrier, dict) and carrier else None


def carrier_in(context: Any) -> dict[str, str]:
    """Return the trace context in a run's ``context``; nothing unless all of it is text."""
    carrier = (inherited(context) or {}).get(_TRACE_CONTEXT, {})
    return carrier if all(isinstance(value, str) for value in carrier.values()) else {}


def _safely(call: Callable[..., Any], *facts: Any) -> Any:
    try:
        return call(*facts)
    except Exception:
        logger.exception("An observer failed; what it observes goes on")
        return None
