"""What a worker does beside executing: its own row, and bounded sweeps for all."""

from __future__ import annotations

import logging
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Final

from django.db import transaction

from django_openworkflow import signals
from django_openworkflow.registry import registry
from django_openworkflow.store import signalling, sweeps
from django_openworkflow.store.announcements import announce_foreign_cancels, announce_run
from django_openworkflow.transactions import borrowed, private_connection
from django_openworkflow.worker.threads import DaemonPool

if TYPE_CHECKING:
    from collections.abc import Callable

    from django_openworkflow.store.base import Store
    from django_openworkflow.store.workers import WorkerRecord
    from django_openworkflow.worker.leases import Leases

logger: Final = logging.getLogger(__name__)

SWEEP_SECONDS: Final = 5.0
_DEAD_WORKERS_SECONDS: Final = 3600.0


class Upkeep:
    """A thread with a connection of its own: renews the worker's row, and sweeps.

    It also gives up leases that no heartbeat has confirmed: the ledger, which sends them, may be
    waiting for a database that does not answer.
    """

    def __init__(
        self, store: Store, leases: Leases, record: WorkerRecord, *, lease_seconds: float
    ) -> None:
        self._store = store
        self._leases = leases
        self._record = record
        self._lease_seconds = lease_seconds
        self._stopping = threading.Event()
        self._announcer = DaemonPool(1, name="openworkflow-announcer")
        self._thread = threading.Thread(target=self._run, name="openworkflow-upkeep", daemon=True)
        self._due: dict[Callable[[], None], float] = {}

    def start(self) -> None:
        """Begin to beat and to sweep."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread and take the worker's row away."""
        self._stopping.set()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        connection = private_connection(self._store.using)
        with borrowed(self._store.using, connection):
            while not self._stopping.is_set():
                for chore, every in self._chores():
                    if time.monotonic() >= self._due.get(chore, 0):
                        self._due[chore] = time.monotonic() + every
                        self._do(chore)
                self._leases.lose_unconfirmed()
                self._stopping.wait(min(SWEEP_SECONDS, self._lease_seconds / 6))
            self._do(self._record.remove)
        self._announcer.close()
        connection.close()

    def _chores(self) -> list[tuple[Callable[[], None], float]]:
        return [
            (self.sweep, min(SWEEP_SECONDS, self._lease_seconds / 3)),
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

    def sweep(self) -> None:
        """Say that the worker is alive, and do the chores that any worker may do for all.

        As long as there are none, all of it is one short transaction.
        """
        using = self._store.using
        known = registry.claimable()
        with transaction.atomic(using=using):
            self._record.beat()
            is_needed = sweeps.is_needed(self._store, known)
        if not is_needed:
            return
        failed = [*sweeps.fail_overdue(self._store), *sweeps.fail_poisoned(self._store)]
        if failed:  # receivers are project code: the heartbeat must not wait for them
            self._announcer.submit(partial(announce_run, signals.run_failed, *failed, using=using))
        if canceled := sweeps.finish_foreign_cancels(self._store):
            self._announcer.submit(partial(announce_foreign_cancels, *canceled, using=using))
        sweeps.put_back_unknown(self._store, known)
        signalling.deliver_buffered(using)

    def _forget_dead_workers(self) -> None:
        sweeps.forget_dead_workers(self._store)
