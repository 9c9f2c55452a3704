"""The leases that a worker process holds, and when each was last known to be its own."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from django_openworkflow.store.operations import Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from django_openworkflow.engine.execution import Execution
    from django_openworkflow.store.operations import Lease


class Leases:
    """The executions of this process by lease; they are extended three times before they end.

    By lease and not by run: a worker that stalls may come to take over a run from itself.
    """

    def __init__(self, lease_seconds: float) -> None:
        self._lease_seconds = lease_seconds
        self._held: dict[Lease, tuple[Execution, float]] = {}
        self._mutex = threading.Lock()
        self._due_at = 0.0

    def add(self, execution: Execution) -> None:
        """Look after an execution, whose run was claimed just now."""
        now = time.monotonic()
        with self._mutex:
            if not self._held:  # the claim itself is as good as a heartbeat
                self._due_at = now + self._lease_seconds / 3
            self._held[execution.claimed.lease] = (execution, now)

    def remove(self, lease: Lease) -> None:
        """Forget an execution that has ended."""
        with self._mutex:
            self._held.pop(lease, None)

    def executions(self) -> list[Execution]:
        """Return what is being executed now."""
        with self._mutex:
            return [execution for execution, _ in self._held.values()]

    # --- heartbeats -----------------------------------------------------------------------------

    def seconds_until_due(self) -> float | None:
        """Return how long the next heartbeat has time; None while no lease is held."""
        return max(0.0, self._due_at - time.monotonic()) if self._held else None

    def hurry(self) -> None:
        """Let the next turn ask for all leases: one of them may have been taken away."""
        self._due_at = 0.0

    def take_due(self) -> Sequence[Lease]:
        """Return the leases that are to be extended now: all of them, or none yet."""
        now = time.monotonic()
        if now < self._due_at or not self._held:
            return ()
        self._due_at = now + self._lease_seconds / 3
        with self._mutex:
            return list(self._held)

    def retry_soon(self) -> None:
        """Let a heartbeat that failed be tried again, well before the leases end."""
        self._due_at = min(self._due_at, time.monotonic() + self._lease_seconds / 12)

    def tell(self, verdicts: Mapping[Lease, Verdict]) -> None:
        """Tell executions what the database has said of their leases."""
        for lease, verdict in verdicts.items():
            execution, _ = self._held.get(lease, (None, 0.0))
            if execution is None:
                continue
            if verdict is Verdict.CANCELED:
                execution.cancel()
            elif verdict is Verdict.LOST:
                execution.lose()
            else:
                self._confirm(execution)

    def _confirm(self, execution: Execution) -> None:
        with self._mutex:
            if execution.claimed.lease in self._held:
                self._held[execution.claimed.lease] = (execution, time.monotonic())

    def lose_unconfirmed(self) -> None:
        """Stop executions whose lease nobody has confirmed for as long as it lasts."""
        limit = time.monotonic() - self._lease_seconds
        with self._mutex:
            unconfirmed = [one for one, confirmed_at in self._held.values() if confirmed_at < limit]
        for execution in unconfirmed:
            execution.lose()
