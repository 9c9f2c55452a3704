"""Group commit: whoever finds the ledger free writes for all that is queued.

Executors hand in operations and wait for the verdict. The first to find the ledger free leads: its
thread writes everything that is queued in one transaction and tells the others. So a lone executor
writes at once, without a thread switch, and with many of them one commit is shared. The same
transaction claims runs for slots that are free, or become free by what it writes, and extends the
leases when that is due.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from typing import TYPE_CHECKING, Final

from django.db import DatabaseError, InterfaceError

from django_openworkflow.store.operations import StorageInterrupted
from django_openworkflow.transactions import borrowed, limit_silence, private_connection
from django_openworkflow.worker.tickets import (
    AsyncTicket,
    Patience,
    PostedTicket,
    Ticket,
    call_back,
)
from django_openworkflow.worker.writing import TurnWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from uuid import UUID

    from django_openworkflow.store.base import Store
    from django_openworkflow.store.operations import Operation, Posted, Receipt, StepCompleted
    from django_openworkflow.worker.writing import Intake

logger: Final = logging.getLogger(__name__)

_LARGEST_TURN: Final = 500
# How long a posted operation waits for somebody to take a turn before one is taken for it.
_FLUSH_SECONDS: Final = 0.01
# How many looks in vain end the watch over posted operations.
_MOST_LOOKS: Final = 100
# How long the turns that are on their way may take when the ledger is closed.
_CLOSE_SECONDS: Final = 5.0


class GroupLedger:
    """The ledger of a worker process, on a connection of its own.

    Never waits for a row lock: operations on a run that somebody else holds are tried again while
    others go on. Storage errors are retried for as long as a lease lasts, then the run is left to
    its lease with ``StorageInterrupted``; they never become an error of the run.
    """

    is_shared = True

    def __init__(self, store: Store, *, lease_seconds: float, intake: Intake | None = None) -> None:
        self._store = store
        self._lease_seconds = lease_seconds
        self._intake = intake
        self._connection = private_connection(store.using)
        self._writer = TurnWriter(
            store, self._connection, lease_seconds=lease_seconds, intake=intake
        )
        self._mutex = threading.Lock()
        self._queue: list[Ticket] = []
        self._posted: list[PostedTicket] = []
        self._is_led = False
        self._is_wanted = False  # somebody wants a turn although nothing is queued
        self._thread: threading.Thread | None = None
        self._calls = threading.Event()
        self._is_called = False  # the thread of the ledger has been told to lead
        self._is_watched = False  # the thread of the ledger looks after posted operations
        self._is_over = False  # the thread of the ledger may end
        self._is_still = threading.Event()  # closed, and nobody leads any more
        self.is_closed = False

    # --- for executors --------------------------------------------------------------------------

    def submit(self, *operations: Operation, after: Sequence[Posted] = ()) -> Receipt:
        """See ``Ledger.submit``."""
        patience = Patience(self._lease_seconds)
        while True:
            ticket = Ticket(operations, after)
            if self._enqueue(ticket):
                self._lead()
            else:
                ticket.wait()
                if ticket.leads:
                    self._lead()
            pause = patience.judge(ticket.receipt, ticket.error)
            if pause is None and ticket.receipt is not None:
                return ticket.receipt
            time.sleep(pause or 0)

    async def asubmit(self, *operations: Operation, after: Sequence[Posted] = ()) -> Receipt:
        """See ``Ledger.asubmit``. A cancelled caller does not take its operations back."""
        patience = Patience(self._lease_seconds)
        while True:
            ticket = AsyncTicket(operations, after)
            with self._mutex:
                self._refuse_if_closed()
                self._queue.append(ticket)
                is_first = len(self._queue) == 1
            if is_first:  # the others who are ready to run come to the same turn
                ticket.loop.call_soon(self._take_turn_aside)
            await ticket.future
            pause = patience.judge(ticket.receipt, ticket.error)
            if pause is None and ticket.receipt is not None:
                return ticket.receipt
            await asyncio.sleep(pause or 0)

    def post(self, operation: Operation) -> Posted:
        """See ``Ledger.post``."""
        due_at = time.monotonic() + _FLUSH_SECONDS
        posted = PostedTicket(operation, Patience(self._lease_seconds), due_at)
        with self._mutex:
            self._refuse_if_closed()
            self._posted.append(posted)
            needs_watch = not self._is_watched
            self._is_watched = True
        if needs_watch:
            self._call()
        return posted

    async def apost(self, operation: Operation) -> Posted:
        """See ``Ledger.apost``."""
        return self.post(operation)

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
        """See ``Ledger.commit_with``. From here on the transaction has only to commit."""
        limit_silence(self._store.using)
        return self._store.apply([operation], wait=True)[0]

    @property
    def is_busy(self) -> bool:
        """Whether a turn is being taken."""
        return self._is_led

    # --- for the worker -------------------------------------------------------------------------

    def take_turn(self) -> None:
        """Take a turn now, in the calling thread, or let the one who leads see to the next."""
        with self._mutex:
            self._is_wanted = self._is_led
            if self._is_led:
                return
            self._is_led = True
        self._lead()

    def _take_turn_aside(self) -> None:
        """Let the ledger's own thread write what is queued, unless somebody leads already."""
        with self._mutex:
            if self._is_led or not self._queue:
                return
            self._is_led = True
        self._call(to_lead=True)

    def close(self) -> None:
        """Write what was handed in, take nothing more, and close the connection.

        Callers that come later, such as a body that has outlived the grace time, get
        ``StorageInterrupted``. A turn that does not end keeps its connection: to close what another
        thread is using would bring the process down.
        """
        if self._posted or self._queue:  # of a task whose loop has ended meanwhile, too
            self.take_turn()
        with self._mutex:
            self.is_closed = True
            if not self._is_led:
                self._is_still.set()
        is_still = self._is_still.wait(_CLOSE_SECONDS)
        self._is_over = True
        self._calls.set()
        if self._thread is not None:
            self._thread.join(timeout=_CLOSE_SECONDS)
        if is_still:
            self._connection.close()
        else:
            logger.warning("The ledger's last turn did not end; its connection is left open")

    # --- the ledger's own thread ----------------------------------------------------------------

    def _call(self, *, to_lead: bool = False) -> None:
        """Wake the thread of the ledger, which begins with the first need of it."""
        with self._mutex:
            self._is_called = self._is_called or to_lead
            if self._thread is None and not self._is_over:
                self._thread = threading.Thread(
                    target=self._serve, name="openworkflow-ledger", daemon=True
                )
                self._thread.start()
        self._calls.set()

    def _serve(self) -> None:
        """Lead for event loops, and for what was posted when nobody else takes a turn."""
        looks = 0
        while not self._is_over:
            called = self._calls.wait(_FLUSH_SECONDS if self._is_watched else None)
            if called:
                self._calls.clear()
                looks = 0
                if self._is_called:
                    self._is_called = False
                    self._lead()
                continue
            looks += 1
            self._look_after_posted(looks)

    def _look_after_posted(self, looks: int) -> None:
        now = time.monotonic()
        with self._mutex:
            if not self._posted and looks > _MOST_LOOKS:
                self._is_watched = False
            if self._is_led or not any(posted.due_at <= now for posted in self._posted):
                return
            self._is_led = True
        self._lead()

    # --- leader and followers -------------------------------------------------------------------

    def _enqueue(self, ticket: Ticket) -> bool:
        """Queue a ticket; return whether the caller has to lead, because nobody does."""
        with self._mutex:
            self._refuse_if_closed()
            leads = not self._is_led
            if not leads:
                ticket.close_gate()
            self._queue.append(ticket)
            self._is_led = True
        return leads

    def _refuse_if_closed(self) -> None:
        if self.is_closed:
            message = "the worker has stopped"
            raise StorageInterrupted(message)

    def _lead(self) -> None:
        """Write what is queued, hand the lead to the next in the queue, then tell the others."""
        with self._mutex:
            turn, self._queue = self._queue[:_LARGEST_TURN], self._queue[_LARGEST_TURN:]
            posted, self._posted = self._posted, []
            self._is_wanted = False
        result = None
        try:
            result = self._writer.write(turn, posted)
        finally:
            self._pass_on([one for one in posted if one.receipt is None])
            call_back(turn)
        if result is not None and self._intake is not None:
            self._intake.receive(result)

    def _pass_on(self, unwritten: Sequence[PostedTicket]) -> None:
        with self._mutex:
            self._posted[:0] = unwritten
            heir = self._queue[0] if self._queue else None
            goes_on = self._is_led = heir is not None or self._is_wanted
            if self.is_closed and not goes_on:
                self._is_still.set()
        if heir is not None and not isinstance(heir, AsyncTicket):
            heir.lead()
        elif goes_on:  # and not _is_led: by now it may be somebody else who leads
            self._call(to_lead=True)
