"""Parallel steps in sync code: every branch is joined before the run goes on, parks or ends."""

from __future__ import annotations

import queue
import threading
from contextvars import copy_context
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from django_openworkflow.engine.connections import user_connections
from django_openworkflow.engine.control import Suspend
from django_openworkflow.engine.driving import drive
from django_openworkflow.engine.execution import in_branch
from django_openworkflow.exceptions import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from django_openworkflow.engine.effects import StepProgram
    from django_openworkflow.engine.execution import Execution

T_co = TypeVar("T_co", covariant=True)

_MOST_THREADS: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Generic[T_co]):
    """A step to be called by ``gather``. Made by ``Step.call``; used once."""

    name: str
    program: Callable[[], StepProgram]


@dataclass(slots=True, kw_only=True)
class _Branch:
    """One call on its way."""

    program: StepProgram
    value: Any = None
    error: BaseException | None = None
    is_over: bool = field(default=False)

    def drive(self, execution: Execution) -> None:
        token = in_branch.set(True)
        try:
            self.value = drive(execution, self.program)
        except BaseException as error:  # joined, and judged, by gather
            self.error = error
        finally:
            in_branch.reset(token)


def gather(
    execution: Execution, calls: Sequence[Call[Any]], *, return_exceptions: bool
) -> list[Any]:
    """Run calls side by side and return their results in order.

    All branches are joined first: one that sleeps or fails never makes a finished sibling run
    again. Then the first error in order is raised; without one the run waits for what branches wait
    for. Names are given in the order of the calls.
    """
    branches = [_Branch(program=checked_call(call).program()) for call in calls]
    if execution.ledger.is_shared and len(branches) > 1:
        _drive_in_threads(execution, branches)
    else:
        for branch in branches:
            branch.drive(execution)
    execution.check_interrupted()
    return _results(execution, branches, return_exceptions=return_exceptions)


def _results(
    execution: Execution, branches: Sequence[_Branch], *, return_exceptions: bool
) -> list[Any]:
    errors = [branch.error for branch in branches if branch.error is not None]
    suspends = [error for error in errors if isinstance(error, Suspend)]
    failures = [error for error in errors if not isinstance(error, Suspend)]
    if failures and not return_exceptions:
        raise failures[0]
    for failure in failures:
        if not isinstance(failure, Exception):
            raise failure
    if suspends:
        execution.suspend(Suspend.together(suspends))
    return [branch.value if branch.error is None else branch.error for branch in branches]


def _drive_in_threads(execution: Execution, branches: Sequence[_Branch]) -> None:
    work: queue.SimpleQueue[_Branch] = queue.SimpleQueue()
    for branch in branches:
        work.put(branch)
    threads = [
        threading.Thread(
            target=copy_context().run,
            args=(partial(_drive_all, execution, work),),
            name=f"{threading.current_thread().name}-branch-{index}",
            daemon=True,
        )
        for index in range(min(len(branches), _MOST_THREADS))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _drive_all(execution: Execution, work: queue.SimpleQueue[_Branch]) -> None:
    with user_connections():
        while True:
            try:
                branch = work.get_nowait()
            except queue.Empty:
                break
            branch.drive(execution)
    from django.db import connections

    connections.close_all()


def checked_call(call: object) -> Call[Any]:
    """Return what ``Step.call`` made; raise ``InvalidInput`` for anything else."""
    if isinstance(call, Call):
        return call
    message = f"gather() takes what step.call() returns, not {type(call).__name__}"
    raise InvalidInput(message)
