"""A worker process: claims runs for its free slots, executes them in threads, drains, stops."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from django_openworkflow import conf, notices
from django_openworkflow.identifiers import new_id
from django_openworkflow.registry import registry
from django_openworkflow.store.factory import store_for
from django_openworkflow.store.operations import RunReleased, StorageInterrupted
from django_openworkflow.store.workers import WorkerRecord
from django_openworkflow.transactions import borrowed, private_connection
from django_openworkflow.worker.intake import Intake
from django_openworkflow.worker.leases import Leases
from django_openworkflow.worker.ledger import GroupLedger
from django_openworkflow.worker.listener import Listener
from django_openworkflow.worker.pace import Pace
from django_openworkflow.worker.pool import ExecutorPool, executor_of
from django_openworkflow.worker.upkeep import Upkeep
from django_openworkflow.worker.wakeup import WakeUp

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django_openworkflow.engine.executor import Executor
    from django_openworkflow.store.base import TurnResult

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

    ``run`` blocks. ``request_stop`` may be called from a signal handler.
    """

    def __init__(self, options: WorkerOptions) -> None:
        self.options = options
        self.name = f"{socket.gethostname()}-{os.getpid()}"
        self.executed = 0
        self._store = store_for(options.using)
        self._connection = private_connection(options.using)
        self._leases = Leases(options.lease_seconds)
        self._intake = Intake(
            options.concurrency,
            self._leases,
            worker_name=self.name,
            lease_seconds=options.lease_seconds,
            queues=options.queues,
            hand_out=self._hand_out,
        )
        self._ledger = GroupLedger(
            self._store, lease_seconds=options.lease_seconds, intake=self._intake
        )
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
        self._pace = Pace(options.poll_seconds)
        self._listener = Listener(options.using, self._hear)
        self._pool = ExecutorPool(options.concurrency, on_done=self._done)
        self._mutex = threading.Lock()
        self._wake = WakeUp()
        self._is_stopping = False
        self._stop_reason = ""
        self._is_watched = False  # somebody waits for passes to end

    # --- life -----------------------------------------------------------------------------------

    def run(self, *, until_idle: bool = False, once: bool = False) -> None:
        """Claim and execute until asked to stop; then drain within the grace time.

        ``until_idle`` ends when nothing is being executed, claimable, or due within a second;
        ``once`` after one round of claims has been executed.
        """
        self._is_watched = until_idle or once
        if once:
            self._intake.ask_once()
        self._upkeep.start()
        self._listener.start()
        try:
            while not self._is_stopping:
                has_claimed = self._poll()
                if once or (until_idle and not has_claimed and self._is_idle()):
                    break
                self._wait(has_claimed=has_claimed)
            if once:
                self._finish_round()
        finally:
            self._drain()

    def request_stop(self, reason: str = "") -> None:
        """Ask for a drain: no new claims, steps in flight may finish, leases are released.

        A ``reason`` is logged by the thread that drains. Takes no lock: it may be called by that
        very thread, out of a signal handler, wherever it is.
        """
        self._stop_reason = self._stop_reason or reason
        self._is_stopping = True
        self._wake.call()

    @property
    def is_listening(self) -> bool:
        """Whether a notification would be heard."""
        return self._listener.is_listening

    def _poll(self) -> bool:
        """Take a turn that claims for free slots, and extends the leases if that is due.

        Returns whether anything was claimed since the last poll, by whichever turn.
        """
        has_room = self._intake.free > 0
        if has_room:
            self._intake.ask()
        if has_room or self._leases.seconds_until_due() == 0:
            self._ledger.take_turn()
        return self._intake.has_claimed()

    def _wait(self, *, has_claimed: bool) -> None:
        """Pause until the next poll or heartbeat is due; a notification ends it early.

        A slot that a pass leaves is filled by the very turn that ends the pass.
        """
        pause = self._pace.pause(has_claimed=has_claimed, is_full=self._intake.free <= 0)
        heartbeat = self._leases.seconds_until_due()
        self._wake.wait(pause if heartbeat is None else min(pause, heartbeat))

    def _hear(self, notice: str) -> None:
        """Look at once: for runs that are due, and at the leases if one may have been taken away.

        Not for runs that are due while there is no room for them.
        """
        if notice != notices.DUE:
            self._leases.hurry()
        elif self._intake.free <= 0:
            return
        self._pace.hurry()
        self._wake.call()

    # --- passes ---------------------------------------------------------------------------------

    def _hand_out(self, result: TurnResult) -> None:
        """Let the pool execute what a turn has claimed."""
        executors = [
            executor_of(run, result.histories, self._ledger, using=self.options.using)
            for run in result.claimed
        ]
        for executor in executors:
            self._leases.add(executor.execution)
        if self._is_stopping:
            for executor in executors:
                executor.execution.drain()
        self._pool.hand_out(executors)

    def _done(self, executor: Executor) -> None:
        with self._mutex:
            self.executed += 1
        was_taken = self._intake.leave(executor.execution.claimed.lease)
        if was_taken or self._is_watched:
            self._wake.call()

    def _is_idle(self) -> bool:
        if self._intake.active or self._intake.is_asked:
            return False
        try:
            with borrowed(self.options.using, self._connection):
                seconds = self._store.seconds_until_due(registry.claimable(), self.options.queues)
        except Exception:
            logger.exception("Looking for due runs failed and is tried again")
            self._connection.close()
            return False
        return seconds is None or seconds > _IDLE_HORIZON_SECONDS

    # --- stop -----------------------------------------------------------------------------------

    def _finish_round(self) -> None:
        self._intake.close()
        while self._intake.active and not self._is_stopping:
            self._wake.wait(self.options.poll_seconds[1])
            self._poll()

    def _drain(self) -> None:
        """Let steps in flight finish within the grace time, release what is left, and end."""
        self._is_stopping = True
        if self._stop_reason:
            logger.info("%s: draining", self._stop_reason)
        self._is_watched = True
        self._intake.close()
        for execution in self._leases.executions():
            execution.drain()
        ends_at = time.monotonic() + self.options.grace_seconds
        while (self._intake.active or self._ledger.is_busy) and time.monotonic() < ends_at:
            self._wake.wait(max(0.0, min(1.0, ends_at - time.monotonic())))
            self._poll()
        self._release_rest()
        self._pool.close()
        self._listener.stop()
        self._ledger.close()
        self._upkeep.stop()
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
