"""What a worker does beside executing: heartbeats for its leases, and bounded sweeps for all."""

from __future__ import annotations

import logging
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Final

from django_openworkflow import signals
from django_openworkflow.registry import registry
from django_openworkflow.store import signalling, sweeps
from django_openworkflow.store.announcements import announce_run
from django_openworkflow.store.operations import Verdict
from django_openworkflow.transactions import borrowed, private_connection
from django_openworkflow.worker.threads import DaemonPool

if TYPE_CHECKING:
    from collections.abc import Callable

    from django_openworkflow.engine.execution import Execution
    from django_openworkflow.store.base import Store
    from django_openworkflow.store.operations import Lease
    from django_openworkflow.store.workers import WorkerRecord

logger: Final = logging.getLogger(__name__)

SWEEP_SECONDS: Final = 1.0
_DEAD_WORKERS_SECONDS: Final = 3600.0


class Leases:
    """The executions of this process by lease, and when each was last known to be ours.

    By lease and not by run: a worker that stalls may come to take over a run from itself.
    """

    def __init__(self) -> None:
        self._held: dict[Lease, tuple[Execution, float]] = {}
        self._mutex = threading.Lock()

    def add(self, execution: Execution) -> None:
        """Look after an execution, whose run was claimed just now."""
        with self._mutex:
            self._held[execution.claimed.lease] = (execution, time.monotonic())

    def remove(self, execution: Execution) -> None:
        """Forget an execution that has ended."""
        with self._mutex:
            self._held.pop(execution.claimed.lease, None)

    def executions(self) -> list[Execution]:
        """Return what is being executed now."""
        with self._mutex:
            return [execution for execution, _ in self._held.values()]

    def confirm(self, execution: Execution) -> None:
        """Note that the database has just said that the lease is ours."""
        with self._mutex:
            if execution.claimed.lease in self._held:
                self._held[execution.claimed.lease] = (execution, time.monotonic())

    def lose_unconfirmed(self, lease_seconds: float) -> None:
        """Stop executions whose lease nobody has confirmed for as long as it lasts."""
        with self._mutex:
            limit = time.monotonic() - lease_seconds
            for execution, confirmed_at in self._held.values():
                if confirmed_at < limit:
                    execution.lose()


class Upkeep:
    """A thread with a connection of its own: beats three times per lease, sweeps every second."""

    def __init__(
        self, store: Store, leases: Leases, record: WorkerRecord, *, lease_seconds: float
    ) -> None:
        self._store = store
        self._leases = leases
        self._record = record
        self._lease_seconds = lease_seconds
        self._stopping = threading.Event()
        self._nudged = threading.Event()
        self._announcer = DaemonPool(1, name="openworkflow-announcer")
        self._thread = threading.Thread(target=self._run, name="openworkflow-upkeep", daemon=True)
        self._due: dict[Callable[[], None], float] = {}

    def start(self) -> None:
        """Begin to beat and to sweep."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread and take the worker's row away."""
        self._stopping.set()
        self._nudged.set()
        self._thread.join(timeout=5)

    def nudge(self) -> None:
        """Beat now: a lease may have been taken away. May be called from any thread."""
        self._due[self.beat] = 0.0
        self._nudged.set()

    def _run(self) -> None:
        connection = private_connection(self._store.using)
        with borrowed(self._store.using, connection):
            while not self._stopping.is_set():
                for chore, every in self._chores():
                    if time.monotonic() >= self._due.get(chore, 0):
                        self._due[chore] = time.monotonic() + every
                        self._do(chore)
                self._nudged.wait(min(SWEEP_SECONDS, self._lease_seconds / 6))
                self._nudged.clear()
            self._do(self._record.remove)
        self._announcer.close()
        connection.close()

    def _chores(self) -> list[tuple[Callable[[], None], float]]:
        return [
            (self.beat, self._lease_seconds / 3),
            (self.sweep, SWEEP_SECONDS),
            (self._forget_dead_workers, _DEAD_WORKERS_SECONDS),
        ]

    def _do(self, chore: Callable[[], None]) -> None:
        """Do a chore; a failure is logged and the next round is the retry."""
        from django.db import connections

        try:
            chore()
        except Exception:
            logger.exception("Upkeep failed and goes on: %s", chore.__name__)
            connections[self._store.using].close()

    def beat(self) -> None:
        """Extend the leases; tell executions that were canceled or have lost theirs."""
        try:
            self._extend()
            self._record.beat()
        finally:
            self._leases.lose_unconfirmed(self._lease_seconds)

    def _extend(self) -> None:
        by_lease = {execution.claimed.lease: execution for execution in self._leases.executions()}
        if by_lease:
            verdicts = self._store.extend(by_lease, self._lease_seconds)
            for lease, verdict in verdicts.items():
                self._tell(by_lease[lease], verdict)

    def _tell(self, execution: Execution, verdict: Verdict) -> None:
        if verdict is Verdict.CANCELED:
            execution.cancel()
        elif verdict is Verdict.LOST:
            execution.lose()
        else:
            self._leases.confirm(execution)

    def sweep(self) -> None:
        """Do the chores that any worker may do for all."""
        using = self._store.using
        failed = [*sweeps.fail_overdue(self._store), *sweeps.fail_poisoned(self._store)]
        if failed:  # receivers are project code: the heartbeat must not wait for them
            self._announcer.submit(partial(announce_run, signals.run_failed, *failed, using=using))
        sweeps.put_back_unknown(self._store, registry.claimable())
        signalling.deliver_buffered(using)

    def _forget_dead_workers(self) -> None:
        sweeps.forget_dead_workers(self._store)
