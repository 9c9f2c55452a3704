"""Group commit: whoever finds the ledger free writes for all that is queued.

Executors hand in operations and wait for the verdict. The first to find the ledger free leads: its
thread writes everything that is queued in one transaction and tells the others. So a lone executor
writes at once, without a thread switch, and with many of them one commit is shared.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Final

from asgiref.sync import sync_to_async
from django.db import (
    DatabaseError,
    DataError,
    IntegrityError,
    InterfaceError,
    ProgrammingError,
)

from django_openworkflow.store.operations import Receipt, StorageInterrupted, Verdict
from django_openworkflow.transactions import borrowed, private_connection

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from uuid import UUID

    from django_openworkflow.store.base import Store
    from django_openworkflow.store.operations import Operation, StepCompleted

logger: Final = logging.getLogger(__name__)

_LARGEST_TURN: Final = 500
_FIRST_PAUSE_SECONDS: Final = 0.005
_LONGEST_PAUSE_SECONDS: Final = 0.5


class _Ticket:
    """The operations of one caller, and how it hears the answer.

    A thread waits for ``answered``. An event loop is called back, and never leads a turn itself.
    """

    __slots__ = ("answered", "error", "leads", "on_answer", "operations", "receipt")

    def __init__(
        self, operations: Sequence[Operation], on_answer: Callable[[], object] | None = None
    ) -> None:
        self.operations = operations
        self.on_answer = on_answer
        self.answered = threading.Event()
        self.leads = False
        self.receipt: Receipt | None = None
        self.error: Exception | None = None

    def answer(self, *, receipt: Receipt | None = None, error: Exception | None = None) -> None:
        self.receipt, self.error = receipt, error
        if self.on_answer is None:
            self.answered.set()
            return
        with contextlib.suppress(RuntimeError):  # the loop has been closed
            self.on_answer()


class _Patience:
    """How long a caller goes on trying: a locked row for ever, a broken database for a lease."""

    def __init__(self, lease_seconds: float) -> None:
        self._lease_seconds = lease_seconds
        self._gives_up_at = time.monotonic() + lease_seconds
        self._pause = _FIRST_PAUSE_SECONDS

    def judge(self, ticket: _Ticket) -> float | None:
        """Return None when the answer stands, or how long to pause before the next try."""
        if ticket.error is None:
            if ticket.receipt is not None and ticket.receipt.verdict is not Verdict.BUSY:
                return None
            self._gives_up_at = time.monotonic() + self._lease_seconds
        elif time.monotonic() > self._gives_up_at or not _is_passing(ticket.error):
            raise StorageInterrupted from ticket.error
        pause = self._pause * random.uniform(0.5, 1.0)  # noqa: S311 - jitter
        self._pause = min(self._pause * 2, _LONGEST_PAUSE_SECONDS)
        return pause


class GroupLedger:
    """The ledger of a worker process, on a connection of its own.

    Never waits for a row lock: operations on a run that somebody else holds are tried again while
    others go on. Storage errors are retried for as long as a lease lasts, then the run is left to
    its lease with ``StorageInterrupted``; they never become an error of the run.
    """

    is_shared = True

    def __init__(self, store: Store, *, lease_seconds: float) -> None:
        self._store = store
        self._lease_seconds = lease_seconds
        self._connection = private_connection(store.using)
        self._queue: list[_Ticket] = []
        self._mutex = threading.Lock()
        self._is_led = False
        self._leader = ThreadPoolExecutor(1, thread_name_prefix="openworkflow-ledger")

    def submit(self, *operations: Operation) -> Receipt:
        """See ``Ledger.submit``."""
        patience = _Patience(self._lease_seconds)
        while True:
            ticket = _Ticket(operations)
            if self._enqueue(ticket):
                self._lead()
            else:
                ticket.answered.wait()
                if ticket.leads:
                    self._lead()
            if (pause := patience.judge(ticket)) is None and ticket.receipt is not None:
                return ticket.receipt
            time.sleep(pause or 0)

    async def asubmit(self, *operations: Operation) -> Receipt:
        """See ``Ledger.asubmit``. A cancelled caller does not take its operations back."""
        loop = asyncio.get_running_loop()
        patience = _Patience(self._lease_seconds)
        while True:
            answered: asyncio.Future[None] = loop.create_future()
            call_back = partial(loop.call_soon_threadsafe, _set, answered)
            ticket = _Ticket(operations, on_answer=call_back)
            if self._enqueue(ticket):
                self._leader.submit(self._lead)
            await answered
            if (pause := patience.judge(ticket)) is None and ticket.receipt is not None:
                return ticket.receipt
            await asyncio.sleep(pause or 0)

    def is_completed(self, attempt_id: UUID) -> bool:
        """See ``Ledger.is_completed``; False as well when the database does not answer."""
        return self._ask(lambda: self._store.is_completed(attempt_id))

    def was_canceled(self, run_id: UUID) -> bool:
        """See ``Ledger.was_canceled``; True as well when the database does not answer."""
        return not self._ask(lambda: not self._store.was_canceled(run_id))

    def _ask(self, question: Callable[[], bool]) -> bool:
        connection = private_connection(self._store.using)
        try:
            with borrowed(self._store.using, connection):
                return question()
        except (DatabaseError, InterfaceError):
            return False
        finally:
            connection.close()

    def commit_with(self, operation: StepCompleted) -> Receipt:
        """See ``Ledger.commit_with``."""
        return self._store.apply([operation], wait=True)[0]

    def close(self) -> None:
        """Close the connection; for the end of the process."""
        self._leader.shutdown(wait=False)
        self._connection.close()

    # --- leader and followers -------------------------------------------------------------------

    def _enqueue(self, ticket: _Ticket) -> bool:
        """Queue a ticket; return whether the caller has to lead, because nobody does."""
        with self._mutex:
            self._queue.append(ticket)
            leads = not self._is_led
            self._is_led = True
        return leads

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
                self._hand_over(heir)

    def _hand_over(self, heir: _Ticket) -> None:
        if heir.on_answer is None:
            heir.leads = True
            heir.answered.set()
        else:
            self._leader.submit(self._lead)

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
            logger.warning("The ledger's turn failed and is tried again: %s", _first_line(error))
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

    is_shared = False

    def __init__(self, store: Store) -> None:
        self._store = store

    def submit(self, *operations: Operation) -> Receipt:
        """See ``Ledger.submit``; waits for row locks, and gives up at the first storage error."""
        try:
            return _worst(self._store.apply(operations, wait=True))
        except (DatabaseError, InterfaceError) as error:
            raise StorageInterrupted from error

    async def asubmit(self, *operations: Operation) -> Receipt:
        """See ``Ledger.asubmit``: in the thread that waits for the loop."""
        return await sync_to_async(self.submit, thread_sensitive=True)(*operations)

    def is_completed(self, attempt_id: UUID) -> bool:
        """See ``Ledger.is_completed``."""
        return self._store.is_completed(attempt_id)

    def was_canceled(self, run_id: UUID) -> bool:
        """See ``Ledger.was_canceled``: on one connection, whatever is seen is of its own making."""
        return False

    def commit_with(self, operation: StepCompleted) -> Receipt:
        """See ``Ledger.commit_with``."""
        return self._store.apply([operation], wait=True)[0]


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _worst(receipts: Sequence[Receipt]) -> Receipt:
    """Return one answer for a ticket: the first that is not an acceptance decides."""
    for receipt in receipts:
        if receipt.verdict is not Verdict.ACCEPTED:
            return receipt
    return receipts[-1]


def _first_line(error: Exception) -> str:
    """Return what a database said, without the details: those may show the values of a row."""
    return next(iter(str(error).splitlines()), type(error).__name__)


def _is_passing(error: Exception) -> bool:
    """Whether trying again can help: a lost connection, a deadlock, a lock that timed out.

    A constraint that refuses the row will refuse it again.
    """
    refused = IntegrityError | DataError | ProgrammingError
    return isinstance(error, DatabaseError | InterfaceError) and not isinstance(error, refused)
