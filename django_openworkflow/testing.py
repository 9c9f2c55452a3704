"""Helpers for the tests of projects: execute what is due in this process, move the clock."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from django_openworkflow import clock, conf, signals
from django_openworkflow.durations import to_timedelta
from django_openworkflow.engine.executor import Executor
from django_openworkflow.registry import registry
from django_openworkflow.store import sweeps
from django_openworkflow.store.announcements import announce_run
from django_openworkflow.store.base import ClaimRequest, Store
from django_openworkflow.store.operations import Attempt, ClaimedRun, StorageInterrupted
from django_openworkflow.worker.ledger import DirectLedger

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

_ROUND: Final = 10


def run_until_idle(*, max_seconds: float = 60.0) -> int:
    """Execute everything that is due now, upkeep included; return how many passes were made.

    Runs in the calling thread and on its connection, so that it works inside ``TestCase``. Returns
    without waiting for what is due later (see ``advance``). Raises ``TimeoutError`` when it is
    not done after ``max_seconds``, as with a workflow that never ends.
    """
    store = Store(conf.get_settings().DATABASE)
    ends_at = time.monotonic() + max_seconds
    passes = 0
    while True:
        _sweep(store)
        claimed = store.claim(
            ClaimRequest(
                worker_name="testing",
                limit=_ROUND,
                lease_seconds=conf.get_settings().LEASE_SECONDS,
                workflows=registry.definitions(),
            )
        )
        if not claimed:
            return passes
        histories = store.load_history([run.lease.run_id for run in claimed])
        for run in claimed:
            _execute(store, run, histories[run.lease.run_id])
            passes += 1
        if time.monotonic() > ends_at:
            message = f"Runs were still due after {max_seconds:g} seconds and {passes} passes"
            raise TimeoutError(message)


def _execute(store: Store, run: ClaimedRun, history: Sequence[Attempt]) -> None:
    executor = Executor(run, history, DirectLedger(store), using=store.using)
    executor.execute()
    stopped = executor.execution.stopped
    if isinstance(stopped, StorageInterrupted):  # a worker would leave the run to its lease
        raise stopped.__cause__ or stopped


def _sweep(store: Store) -> None:
    failed = [*sweeps.fail_overdue(store), *sweeps.fail_poisoned(store)]
    announce_run(signals.run_failed, *failed, using=store.using)
    sweeps.put_back_unknown(store, registry.definitions())


def advance(duration: str | timedelta) -> None:
    """Move the engine's clock forward in this process, so that sleeping runs become due.

    Undone by ``reset_clock``, which the pytest plugin calls after each test.
    """
    clock.shift(to_timedelta(duration))


def reset_clock() -> None:
    """Let the engine follow the database's clock again."""
    clock.reset()
