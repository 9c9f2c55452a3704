"""Group commit: whoever finds the ledger free writes for all that is queued.

Executors hand in operations and wait for the verdict. The first to find the ledger free leads: its
thread writes everything that is queued in one transaction and tells the others. So a lone executor
writes at once, without a thread switch, and with many of them one commit is shared.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from typing import TYPE_CHECKING, Final

from django.db import (
    DatabaseError,
    DataError,
    IntegrityError,
    InterfaceError,
    ProgrammingError,
)

from django_openworkflow.store.operations import Operation, Receipt, StorageInterrupted, Verdict
from django_openworkflow.transactions import borrowed, private_connection

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django_openworkflow.store.base import Store

logger: Final = logging.getLogger(__name__)

_LARGEST_TURN: Final = 500
_FIRST_PAUSE_SECONDS: Final = 0.005
_LONGEST_PAUSE_SECONDS: Final = 0.5


class _Ticket:
    """The operations of one caller, and where it waits for the answer."""

    __slots__ = ("answered", "error", "leads", "operations", "receipt")

    def __init__(self, operations: Sequence[Operation]) -> None:
        self.operations = operations
        self.answered = threading.Event()
        self.leads = False
        self.receipt: Receipt | None = None
        self.error: Exception | None = None

    def answer(self, *, receipt: Receipt | None = None, error: Exception | None = None) -> None:
        self.receipt, self.error = receipt, error
        self.answered.set()


class GroupLedger:
    """The ledger of a worker process, on a connection of its own.

    Never waits for a row lock: operations on a run that somebody else holds are tried again while
    others go on. Storage errors are retried for as long as a lease lasts, then the run is left to
    its lease with ``StorageInterrupted``; they never become an error of the run.
    """

    def __init__(self, store: Store, *, lease_seconds: float) -> None:
        self._store = store
        self._lease_seconds = lease_seconds
        self._connection = private_connection(store.using)
        self._queue: list[_Ticket] = []
        self._mutex = threading.Lock()
        self._is_led = False

    def submit(self, *operations: Operation) -> Receipt:
        """See ``Ledger.submit``."""
        gives_up_at = time.monotonic() + self._lease_seconds
        pause = _FIRST_PAUSE_SECONDS
        while True:
            ticket = self._enqueue(operations)
            if ticket.receipt is not None and ticket.receipt.verdict is not Verdict.BUSY:
                return ticket.receipt
            if ticket.error is None:
                # Held by somebody else: no limit, the heartbeat keeps the lease meanwhile.
                gives_up_at = time.monotonic() + self._lease_seconds
            elif time.monotonic() > gives_up_at or not _is_passing(ticket.error):
                raise StorageInterrupted from ticket.error
            time.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)

    def close(self) -> None:
        """Close the connection; for the end of the process."""
        self._connection.close()

    # --- leader and followers -------------------------------------------------------------------

    def _enqueue(self, operations: Sequence[Operation]) -> _Ticket:
        """Queue a ticket, and return it answered: by another thread, or by leading a turn."""
        ticket = _Ticket(operations)
        with self._mutex:
            self._queue.append(ticket)
            leads = not self._is_led
            self._is_led = True
        if not leads:
            ticket.answered.wait()
            leads = ticket.leads
        if leads:
            self._lead()
        return ticket

    def _lead(self) -> None:
        """Write what is queued, then hand the lead to the next in the queue, if any."""
        with self._mutex:
            turn, self._queue = self._queue[:_LARGEST_TURN], self._queue[_LARGEST_TURN:]
        try:
            self._write(turn)
        finally:
            with self._mutex:
                heir = self._queue[0] if self._queue else None
                self._is_led = heir is not None
            if heir is not None:
                heir.leads = True
                heir.answered.set()

    def _write(self, turn: Sequence[_Ticket]) -> None:
        try:
            receipts = self._apply([op for ticket in turn for op in ticket.operations])
        except Exception as error:
            self._write_apart(turn, error)
            return
        except BaseException:
            # The leader's thread is being torn down: the others must not wait for it for ever.
            for ticket in turn:
                ticket.answer(error=InterfaceError("The ledger's turn was interrupted"))
            raise
        rest = iter(receipts)
        for ticket in turn:
            ticket.answer(receipt=_worst([next(rest) for _ in ticket.operations]))

    def _write_apart(self, turn: Sequence[_Ticket], error: Exception) -> None:
        """Write ticket by ticket, so that a bad one fails alone; give up at a lost connection."""
        is_alive = self._connection.connection is not None and self._connection.is_usable()
        if len(turn) == 1 or not is_alive:
            logger.warning("The ledger's turn failed and is tried again: %s", error)
            self._connection.close()
            for ticket in turn:
                ticket.answer(error=error)
            return
        for ticket in turn:
            try:
                ticket.answer(receipt=_worst(self._apply(ticket.operations)))
            except Exception as own_error:
                ticket.answer(error=own_error)

    def _apply(self, operations: Sequence[Operation]) -> list[Receipt]:
        with borrowed(self._store.using, self._connection):
            return self._store.apply(operations)


class DirectLedger:
    """Applies operations at once, in the calling thread, on that thread's own connection.

    For tests and for ``run_until_idle``: inside a test's transaction nothing else can see the rows.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def submit(self, *operations: Operation) -> Receipt:
        """See ``Ledger.submit``; waits for row locks, and gives up at the first storage error."""
        try:
            return _worst(self._store.apply(operations, wait=True))
        except (DatabaseError, InterfaceError) as error:
            raise StorageInterrupted from error


def _worst(receipts: Sequence[Receipt]) -> Receipt:
    """Return one answer for a ticket: the first that is not an acceptance decides."""
    for receipt in receipts:
        if receipt.verdict is not Verdict.ACCEPTED:
            return receipt
    return receipts[-1]


def _is_passing(error: Exception) -> bool:
    """Whether trying again can help: a lost connection, a deadlock, a lock that timed out.

    A constraint that refuses the row will refuse it again.
    """
    refused = IntegrityError | DataError | ProgrammingError
    return isinstance(error, DatabaseError | InterfaceError) and not isinstance(error, refused)
