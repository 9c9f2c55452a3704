"""Where executors run: sync ones in threads, async ones on one event loop."""

from __future__ import annotations

import asyncio
import logging
import threading
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from asgiref.sync import sync_to_async
from django.db import connections

from django_openworkflow.engine.async_pass import install_task_factory
from django_openworkflow.engine.connections import user_connections
from django_openworkflow.engine.executor import Executor
from django_openworkflow.worker.threads import DaemonPool

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
    from uuid import UUID

    from django_openworkflow.store.base import Store
    from django_openworkflow.store.operations import Attempt, ClaimedRun, Ledger

logger: Final = logging.getLogger(__name__)

# Threads for the sync bodies of async runs; the runs themselves need none.
_MOST_BODY_THREADS: Final = 32
_CLOSE_SECONDS: Final = 5.0


def executors_of(store: Store, claimed: Sequence[ClaimedRun], ledger: Ledger) -> Iterator[Executor]:
    """Yield an executor for each claimed run, all histories having been read at once."""
    if not claimed:
        return
    ids = {run.lease.run_id for run in claimed}
    originals = {run.cleanup_of_id for run in claimed if run.cleanup_of_id is not None}
    histories = store.load_history(ids | originals)
    for run in claimed:
        yield executor_of(run, histories, ledger, using=store.using)


def executor_of(
    run: ClaimedRun, histories: Mapping[UUID, Sequence[Attempt]], ledger: Ledger, *, using: str
) -> Executor:
    """Return the executor of a claimed run. A run without a history is at its beginning."""
    original = run.cleanup_of_id
    return Executor(
        run,
        histories.get(run.lease.run_id, ()),
        ledger,
        using=using,
        original=() if original is None else histories.get(original, ()),
    )


def _log_failure(executor: Executor) -> None:
    facts = executor.execution.claimed.log_facts()
    logger.exception("Executing a run failed; it is left to its lease", extra=facts)


class ExecutorPool:
    """Threads that are started as they are needed, and a loop when the first async run comes."""

    def __init__(self, size: int, *, on_done: Callable[[Executor], None]) -> None:
        self._on_done = on_done
        self._threads = DaemonPool(size, name="openworkflow")
        self._bodies = DaemonPool(min(size, _MOST_BODY_THREADS), name="openworkflow-body")
        self._context = copy_context()
        self._mutex = threading.Lock()
        self._tasks: set[asyncio.Task[None]] = set()  # the loop itself holds them weakly
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loop_thread: threading.Thread | None = None

    def hand_out(self, executors: Iterable[Executor]) -> None:
        """Execute; ``on_done`` is called when a pass is over, from where it ran."""
        for_loop = []
        for executor in executors:
            if executor.workflow.is_async:
                for_loop.append(executor)
            else:
                self._threads.run(partial(self._execute, executor))
        if for_loop:
            loop = self._running_loop()
            loop.call_soon_threadsafe(self._create_tasks, for_loop, context=self._context)

    def close(self) -> None:
        """Let the threads and the loop end."""
        self._threads.close()
        self._bodies.close()
        if self._loop is not None and self._loop_thread is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._loop_thread.join(timeout=_CLOSE_SECONDS)

    def _execute(self, executor: Executor) -> None:
        try:
            executor.execute()
        except BaseException:
            _log_failure(executor)
        finally:
            self._on_done(executor)

    # --- event loop -----------------------------------------------------------------------------

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        with self._mutex:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                install_task_factory(self._loop)
                self._loop_thread = threading.Thread(
                    target=self._run_loop, args=(self._loop,), name="openworkflow-loop", daemon=True
                )
                self._loop_thread.start()
            return self._loop

    def _run_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        """Run the loop until it is stopped; then close what async ORM calls have opened."""
        try:
            loop.run_forever()
            if left := asyncio.all_tasks(loop):
                for task in left:
                    task.cancel()
                loop.run_until_complete(asyncio.wait(left, timeout=_CLOSE_SECONDS / 2))
            loop.run_until_complete(sync_to_async(connections.close_all)())
        finally:
            loop.close()

    def _create_tasks(self, executors: Iterable[Executor]) -> None:
        for executor in executors:
            task = asyncio.get_running_loop().create_task(self._aexecute(executor))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _aexecute(self, executor: Executor) -> None:
        try:
            await executor.aexecute(self._in_thread)
        except BaseException:
            _log_failure(executor)
        finally:
            self._on_done(executor)

    def _in_thread(self, fn: Callable[[], Any]) -> Awaitable[Any]:
        """Run what would block the loop in a thread with healthy connections."""

        def guarded() -> Any:
            with user_connections():
                return fn()

        return asyncio.wrap_future(self._bodies.submit(guarded))
