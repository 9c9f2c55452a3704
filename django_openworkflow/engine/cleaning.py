"""A clean-up run: undo, in reverse order, what a canceled run had completed, then call its hook.

Functions are never named in rows. The canceled run is replayed over its saved steps, which calls no
body and writes nothing, and on the way each completed step registers its undo anew.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from asgiref.sync import async_to_sync
from django.db import DEFAULT_DB_ALIAS

from django_openworkflow.arguments import is_coroutine_function
from django_openworkflow.cleanups import UNDO_PREFIX
from django_openworkflow.engine.async_pass import AsyncPass
from django_openworkflow.engine.async_steps import AsyncStep
from django_openworkflow.engine.control import ControlFlow, Suspend
from django_openworkflow.engine.execution import Execution
from django_openworkflow.engine.history import History
from django_openworkflow.engine.steps import Step
from django_openworkflow.exceptions import NonDeterministicWorkflow, StepFailed
from django_openworkflow.states import STEP_SUCCESSFUL
from django_openworkflow.store.operations import Lease

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from django_openworkflow.engine.execution import Undo
    from django_openworkflow.store.operations import (
        Attempt,
        ClaimedRun,
        Operation,
        Posted,
        Receipt,
        StepCompleted,
    )
    from django_openworkflow.workflows import Workflow


class ReadOnlyLedger:
    """Suspends whoever wants to write: a replay ends where the saved steps end."""

    is_shared = False

    def submit(self, *_operations: Operation, after: Sequence[Posted] = ()) -> Receipt:
        """See ``Ledger.submit``."""
        raise Suspend

    async def asubmit(self, *_operations: Operation, after: Sequence[Posted] = ()) -> Receipt:
        """See ``Ledger.asubmit``."""
        raise Suspend

    def post(self, _operation: Operation) -> Posted:
        """See ``Ledger.post``."""
        raise Suspend

    async def apost(self, _operation: Operation) -> Posted:
        """See ``Ledger.apost``."""
        raise Suspend

    def is_completed(self, _attempt_id: object) -> bool:
        """See ``Ledger.is_completed``."""
        return False

    def was_canceled(self, _run_id: object) -> bool:
        """See ``Ledger.was_canceled``."""
        return True

    def commit_with(self, _operation: StepCompleted) -> Receipt:
        """See ``Ledger.commit_with``."""
        raise Suspend


def clean_up(
    step: Step, claimed: ClaimedRun, workflow: Workflow[Any, Any], saved: Sequence[Attempt]
) -> None:
    """Be the workflow function of a sync workflow's clean-up run."""
    failures = []
    for undo in reversed(registered_undos(claimed, workflow, saved)):
        try:
            step.run(f"{UNDO_PREFIX}{undo.key}", _sync(undo.compensate), undo.saved.output)
        except StepFailed as error:  # the others are undone all the same
            failures.append(error)
    if workflow.on_cancel is not None and claimed.cleanup_attempt_id is None:
        workflow.call_hook(step, claimed.input)
    if failures:
        raise failures[0]


async def aclean_up(
    step: AsyncStep, claimed: ClaimedRun, workflow: Workflow[Any, Any], undos: Sequence[Undo]
) -> None:
    """Be the workflow function of an async workflow's clean-up run."""
    failures = []
    for undo in reversed(undos):
        try:
            await step.run(f"{UNDO_PREFIX}{undo.key}", undo.compensate, undo.saved.output)
        except StepFailed as error:  # the others are undone all the same
            failures.append(error)
    if workflow.on_cancel is not None and claimed.cleanup_attempt_id is None:
        await workflow.call_hook(step, claimed.input)
    if failures:
        raise failures[0]


def registered_undos(
    claimed: ClaimedRun, workflow: Workflow[Any, Any], saved: Sequence[Attempt]
) -> list[Undo]:
    """Replay the canceled run and return the undos that this clean-up run is to call, in order.

    Raises ``NonDeterministicWorkflow`` when the code no longer comes to a step that can be undone.
    """
    undoable = {
        attempt.id: attempt.step_name
        for attempt in saved
        if attempt.has_undo
        and attempt.status in STEP_SUCCESSFUL
        and not attempt.is_set_aside
        and _is_ours(claimed, attempt)
    }
    if not undoable:
        return []
    registered = _replay(claimed, workflow, saved)
    found = [undo for undo in registered if undo.saved.id in undoable]
    if missing := undoable.keys() - {undo.saved.id for undo in found}:
        name = undoable[min(missing)]
        message = f'Step "{name}" is to be undone, but the workflow does not come to it any more'
        raise NonDeterministicWorkflow(message)
    return found


def _is_ours(claimed: ClaimedRun, attempt: Attempt) -> bool:
    """Whether this clean-up run undoes the step; what completed late has a run of its own."""
    if claimed.cleanup_attempt_id is not None:
        return attempt.id == claimed.cleanup_attempt_id
    return not attempt.is_late


def _replay(
    claimed: ClaimedRun, workflow: Workflow[Any, Any], saved: Sequence[Attempt]
) -> list[Undo]:
    original = replace(
        claimed,
        lease=Lease(run_id=claimed.cleanup_of_id or claimed.lease.run_id, worker_id="replay"),
        workflow_name=workflow.name,
        created_at=claimed.original_created_at or claimed.created_at,
        started_at=claimed.original_started_at or claimed.started_at,
    )
    history = History(saved, limit=sys.maxsize)
    # No body is called, and nothing is written anywhere.
    execution = Execution(original, history, ReadOnlyLedger(), using=DEFAULT_DB_ALIAS)
    # However the code ends, it has come as far as it had come when it was canceled.
    with suppress(Exception, ControlFlow, asyncio.CancelledError):
        if workflow.is_async:
            asyncio.run(_areplay(execution, workflow))
        else:
            workflow.call(Step(execution), claimed.input)
    return execution.undos


async def _areplay(execution: Execution, workflow: Workflow[Any, Any]) -> None:
    current = AsyncPass(execution, _never_in_thread)
    step = AsyncStep(current)
    await current.run(lambda: workflow.call(step, execution.claimed.input))


async def _never_in_thread(_fn: Callable[[], Any]) -> Any:
    raise Suspend


def _sync(fn: Callable[[Any], object]) -> Callable[[Any], object]:
    return async_to_sync(fn) if is_coroutine_function(fn) else fn  # type: ignore[arg-type]
