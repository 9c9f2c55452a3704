"""A worker process: claims runs for its free slots, executes them in threads, drains, stops."""

from __future__ import annotations

import logging
import os
import random
import socket
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from django_openworkflow import conf
from django_openworkflow.identifiers import new_id
from django_openworkflow.registry import registry
from django_openworkflow.store.base import ClaimRequest
from django_openworkflow.store.factory import store_for
from django_openworkflow.store.operations import RunReleased, StorageInterrupted
from django_openworkflow.store.workers import WorkerRecord
from django_openworkflow.transactions import borrowed, private_connection
from django_openworkflow.worker.ledger import GroupLedger
from django_openworkflow.worker.listener import Listener
from django_openworkflow.worker.pool import ExecutorPool, executors_of
from django_openworkflow.worker.upkeep import Leases, Upkeep

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django_openworkflow.engine.executor import Executor

logger: Final = logging.getLogger(__name__)

# How far ahead "idle" looks: a run due within this time is waited for by ``until_idle``.
_IDLE_HORIZON_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions:
    """How a worker runs; spans in seconds. ``queues`` None means every queue."""

    using: str
    concurrency: int
    queues: Sequence[str] | None = None
    grace_seconds: float = 30.0
    lease_seconds: float = 30.0
    poll_seconds: tuple[float, float] = (0.1, 1.0)

    @classmethod
    def from_settings(cls) -> WorkerOptions:
        """Take everything from the project's settings."""
        settings = conf.get_settings()
        return cls(
            using=settings.DATABASE,
            concurrency=settings.CONCURRENCY,
            lease_seconds=settings.LEASE_SECONDS,
            poll_seconds=settings.POLL_SECONDS,
        )


class Worker:
    """Claims and executes runs until it is asked to stop.

    ``run`` blocks. ``request_stop`` and ``stop_now`` may be called from a signal handler.
    """

    def __init__(self, options: WorkerOptions) -> None:
        self.options = options
        self.name = f"{socket.gethostname()}-{os.getpid()}"
        self.executed = 0
        self._store = store_for(options.using)
        self._connection = private_connection(options.using)
        self._ledger = GroupLedger(self._store, lease_seconds=options.lease_seconds)
        self._leases = Leases()
        self._upkeep = Upkeep(
            self._store,
            self._leases,
            WorkerRecord(
                id=new_id(),
                name=self.name,
                concurrency=options.concurrency,
                queues=options.queues,
                workflows=registry.claimable(),
                using=options.using,
            ),
            lease_seconds=options.lease_seconds,
        )
        self._listener = Listener(options.using, self._upkeep.nudge)
        self._pool = ExecutorPool(options.concurrency, on_done=self._done)
        self._busy = 0
        self._mutex = threading.Lock()
        self._wake = threading.Event()
        self._stopping = threading.Event()

    # --- life -----------------------------------------------------------------------------------

    def run(self, *, until_idle: bool = False, once: bool = False) -> None:
        """Claim and execute until asked to stop; then drain within the grace time.

        ``until_idle`` ends when nothing is being executed, claimable, or due within a second;
        ``once`` after one round of claims has been executed.
        """
        self._upkeep.start()
        self._listener.start()
        idle_rounds = 0
        try:
            while not self._stopping.is_set():
                claimed = self._claim()
                if once or (until_idle and not claimed and self._is_idle()):
                    break
                idle_rounds = 0 if claimed else idle_rounds + 1
                self._wait(idle_rounds)
            if once:
                self._finish_round()
        finally:
            self._drain()

    def request_stop(self) -> None:
        """Ask for a drain: no new claims, steps in flight may finish, leases are released."""
        self._stopping.set()
        self._wake.set()

    def _wait(self, idle_rounds: int) -> None:
        """Pause until a slot is free and the next poll is due; a finished run ends it early."""
        first, longest = self.options.poll_seconds
        pause = min(first * 2 ** min(max(idle_rounds - 1, 0), 16), longest)
        if self._free_slots() == 0:
            pause = longest
        self._wake.wait(pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
        self._wake.clear()

    # --- claim ----------------------------------------------------------------------------------

    def _claim(self) -> int:
        """Fill the free slots; return how many runs were claimed. A failure is the next round's."""
        free = self._free_slots()
        if free <= 0:
            return 0
        try:
            with borrowed(self.options.using, self._connection):
                return self._claim_for(free)
        except Exception:
            logger.exception("Claiming failed and is tried again")
            self._connection.close()
            return 0

    def _claim_for(self, free: int) -> int:
        claimed = self._store.claim(
            ClaimRequest(
                worker_name=self.name,
                limit=free,
                lease_seconds=self.options.lease_seconds,
                workflows=registry.claimable(),
                queues=self.options.queues,
            )
        )
        for executor in executors_of(self._store, claimed, self._ledger):
            self._leases.add(executor.execution)
            with self._mutex:
                self._busy += 1
            self._pool.hand_out(executor)
        return len(claimed)

    def _free_slots(self) -> int:
        with self._mutex:
            return self.options.concurrency - self._busy

    def _is_idle(self) -> bool:
        with self._mutex:
            if self._busy:
                return False
        try:
            with borrowed(self.options.using, self._connection):
                seconds = self._store.seconds_until_due(registry.claimable(), self.options.queues)
        except Exception:
            logger.exception("Looking for due runs failed and is tried again")
            self._connection.close()
            return False
        return seconds is None or seconds > _IDLE_HORIZON_SECONDS

    def _done(self, executor: Executor) -> None:
        self._leases.remove(executor.execution)
        with self._mutex:
            self._busy -= 1
            self.executed += 1
        self._wake.set()

    # --- stop -----------------------------------------------------------------------------------

    def _finish_round(self) -> None:
        while self._free_slots() < self.options.concurrency and not self._stopping.is_set():
            self._wake.wait(self.options.poll_seconds[1])
            self._wake.clear()

    def _drain(self) -> None:
        """Let steps in flight finish within the grace time, release what is left, and end."""
        for execution in self._leases.executions():
            execution.drain()
        ends_at = time.monotonic() + self.options.grace_seconds
        while self._leases.executions() and time.monotonic() < ends_at:
            self._wake.wait(max(0.0, min(1.0, ends_at - time.monotonic())))
            self._wake.clear()
        self._release_rest()
        self._pool.close()
        self._listener.stop()
        self._upkeep.stop()
        self._ledger.close()
        self._connection.close()

    def _release_rest(self) -> None:
        """Hand on runs whose step outlived the grace time; their bodies end with the process."""
        for execution in self._leases.executions():
            lease, facts = execution.claimed.lease, execution.claimed.log_facts()
            execution.lose()
            message = "Run %s was released in the middle of a step"
            logger.warning(message, lease.run_id, extra=facts)
            try:
                self._ledger.submit(RunReleased(lease=lease))
            except StorageInterrupted:
                message = "Run %s could not be released; its lease will run out"
                logger.warning(message, lease.run_id, extra=facts)
