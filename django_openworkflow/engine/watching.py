"""What observers see of steps. Without an observer a step is left as it is."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from django_openworkflow import instrumentation
from django_openworkflow.arguments import is_coroutine_function

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from django_openworkflow.store.operations import ClaimedRun, NewRun


def watched(claimed: ClaimedRun, step_name: str, fn: Callable[[], Any]) -> Callable[[], Any]:
    """Return the body of a step, watched if anybody looks on; a coroutine function stays one."""
    if not instrumentation.is_watched():
        return fn

    def body() -> Any:
        with instrumentation.calling(claimed, step_name):
            return fn()

    async def async_body() -> Any:
        with instrumentation.calling(claimed, step_name):
            return await fn()

    return async_body if is_coroutine_function(fn) else body


def traced_child(parent: ClaimedRun, child: NewRun, child_id: UUID) -> NewRun:
    """Return a child run that knows its trace: of its start, or else its parent's."""
    context = instrumentation.inherited(parent.context)
    with instrumentation.starting(child.workflow_name, child.version) as begun:
        context = begun.context or context
        begun.note([child_id])
    return replace(child, context=context)
