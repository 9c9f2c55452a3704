"""Helpers for the tests of projects: execute what is due in this process, move the clock."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, TypeVar

from asgiref.sync import async_to_sync, sync_to_async

from django_openworkflow import clock, conf, signals
from django_openworkflow.durations import to_timedelta
from django_openworkflow.registry import registry
from django_openworkflow.store import signalling, sweeps
from django_openworkflow.store.announcements import announce_foreign_cancels, announce_run
from django_openworkflow.store.base import ClaimRequest, Store
from django_openworkflow.store.factory import store_for
from django_openworkflow.store.operations import StorageInterrupted
from django_openworkflow.worker.direct import DirectLedger
from django_openworkflow.worker.pool import executors_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta

    from django_openworkflow.engine.executor import Executor
    from django_openworkflow.handles import RunHandle

T = TypeVar("T")

_ROUND: Final = 10


def run_until_idle(*, max_seconds: float = 60.0) -> int:
    """Execute everything that is due now, upkeep included; return how many passes were made.

    Runs in the calling thread and on its connection, so that it works inside ``TestCase``. Returns
    without waiting for what is due later (see ``advance``). Raises ``TimeoutError`` when it is
    not done after ``max_seconds``, as with a workflow that never ends.
    """
    store = store_for(conf.get_settings().DATABASE)
    ends_at = time.monotonic() + max_seconds
    passes = 0
    while True:
        _sweep(store)
        claimed = store.claim(
            ClaimRequest(
                worker_name="testing",
                limit=_ROUND,
                lease_seconds=conf.get_settings().LEASE_SECONDS,
                workflows=registry.claimable(),
            )
        )
        if not claimed:
            return passes
        for executor in executors_of(store, claimed, DirectLedger(store)):
            _execute(executor)
            passes += 1
        if time.monotonic() > ends_at:
            message = f"Runs were still due after {max_seconds:g} seconds and {passes} passes"
            raise TimeoutError(message)


def _execute(executor: Executor) -> None:
    if executor.workflow.is_async:
        async_to_sync(executor.aexecute)(_in_this_thread)
    else:
        executor.execute()
    stopped = executor.execution.stopped
    if isinstance(stopped, StorageInterrupted):  # a worker would leave the run to its lease
        raise stopped.__cause__ or stopped


async def _in_this_thread(fn: Callable[[], Any]) -> Any:
    """Run what would block the loop in the thread that waits for the loop: the test's own."""
    return await sync_to_async(fn, thread_sensitive=True)()


def _sweep(store: Store) -> None:
    failed = [*sweeps.fail_overdue(store), *sweeps.fail_poisoned(store)]
    announce_run(signals.run_failed, *failed, using=store.using)
    announce_foreign_cancels(*sweeps.finish_foreign_cancels(store), using=store.using)
    sweeps.put_back_unknown(store, registry.claimable())
    signalling.deliver_buffered(store.using)


def advance(duration: str | timedelta) -> None:
    """Move the engine's clock forward in this process, so that sleeping runs become due.

    Undone by ``reset_clock``, which the pytest plugin calls after each test.
    """
    clock.shift(to_timedelta(duration))


def reset_clock() -> None:
    """Let the engine follow the database's clock again."""
    clock.reset()


class WorkflowWorker:
    """The helpers of this module as one object: the value of the fixture ``workflow_worker``."""

    def run_until_idle(self, *, max_seconds: float = 60.0) -> int:
        """See ``run_until_idle``."""
        return run_until_idle(max_seconds=max_seconds)

    def advance(self, duration: str | timedelta) -> None:
        """Move the clock; see ``advance``."""
        advance(duration)

    def result(self, handle: RunHandle[T]) -> T:
        """Execute what is due and return the run's result, or raise as ``handle.result`` does."""
        run_until_idle()
        return handle.result(timeout=0)
