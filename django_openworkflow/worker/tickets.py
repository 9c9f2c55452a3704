"""What callers leave at the ledger's door: the operations they wait for, and those they do not."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import suppress
from datetime import UTC, datetime
from threading import Lock
from typing import TYPE_CHECKING, Final

from django.db import (
    DatabaseError,
    DataError,
    IntegrityError,
    InterfaceError,
    ProgrammingError,
)

from django_openworkflow.store.operations import Posted, Receipt, StorageInterrupted, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from django_openworkflow.store.operations import Operation

_FIRST_PAUSE_SECONDS: Final = 0.005
_LONGEST_PAUSE_SECONDS: Final = 0.5
_EPOCH: Final = datetime.min.replace(tzinfo=UTC)
_NOT_YET: Final = Receipt(verdict=Verdict.BUSY, at=_EPOCH)
_GIVEN_UP: Final = Receipt(verdict=Verdict.LOST, at=_EPOCH)


class Ticket:
    """Operations that a thread waits for, behind a lock: the cheapest way to wait for one answer.

    Whoever holds the ledger's turn answers it, or lets its thread lead the next turn.
    """

    __slots__ = ("_gate", "after", "error", "follower", "leads", "operations", "receipt")

    def __init__(self, operations: Sequence[Operation], after: Sequence[Posted] = ()) -> None:
        self.operations = operations
        self.after = after
        self.leads = False
        self.receipt: Receipt | None = None
        self.error: Exception | None = None
        self.follower: Ticket | None = None  # whose thread goes on after this one's
        self._gate: Lock | None = None

    def close_gate(self) -> None:
        """Prepare to wait; a thread that leads at once has nothing to wait for."""
        self._gate = Lock()
        self._gate.acquire()

    def wait(self) -> None:
        """Block until the answer is there, or the lead is handed over."""
        if self._gate is not None:
            self._gate.acquire()
            if self.follower is not None:
                self.follower.open_gate()

    @property
    def is_waiting(self) -> bool:
        """Whether a thread waits at the gate, or is about to."""
        return self._gate is not None and not self.leads

    def lead(self) -> None:
        """Let the thread that waits take the next turn."""
        self.leads = True
        self.open_gate()

    def open_gate(self) -> None:
        """Let the thread go on."""
        if self._gate is not None:
            self._gate.release()

    def answer(self, receipts: Iterable[Receipt]) -> None:
        """Note the verdict: the first that is no acceptance, in the order of the operations."""
        before = [one.receipt or _NOT_YET for one in self.after]
        self.receipt = worst([*before, *receipts])

    def refuse(self) -> bool:
        """Answer without writing, if what was posted before was refused; return whether it was."""
        if any(one.receipt is not None and not one.is_accepted for one in self.after):
            self.answer(())
            return True
        return False


class AsyncTicket(Ticket):
    """Operations that a task waits for. Its loop is called back once for all of a turn's."""

    __slots__ = ("future", "loop")

    def __init__(self, operations: Sequence[Operation], after: Sequence[Posted]) -> None:
        super().__init__(operations, after)
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[None] = self.loop.create_future()


class PostedTicket(Posted):
    """A posted operation, and when it is to be written although nobody takes a turn."""

    __slots__ = ("due_at", "patience")

    def __init__(self, operation: Operation, patience: Patience, due_at: float) -> None:
        super().__init__(operation)
        self.patience = patience
        self.due_at = due_at

    def settle(self, receipt: Receipt | None, error: Exception | None) -> bool:
        """Take an answer; return whether it stands. What cannot be written leaves a lost run."""
        try:
            pause = self.patience.judge(receipt, error)
        except StorageInterrupted:
            self.receipt = _GIVEN_UP
            return True
        if pause is None:
            self.receipt = receipt
            return True
        self.due_at = time.monotonic() + pause
        return False


class Patience:
    """How long a caller goes on trying: a locked row for ever, a broken database for a lease."""

    __slots__ = ("_gives_up_at", "_lease_seconds", "_pause")

    def __init__(self, lease_seconds: float) -> None:
        self._lease_seconds = lease_seconds
        self._gives_up_at = time.monotonic() + lease_seconds
        self._pause = _FIRST_PAUSE_SECONDS

    def judge(self, receipt: Receipt | None, error: Exception | None) -> float | None:
        """Return None when the answer stands, or how long to pause before the next try."""
        if error is None:
            if receipt is not None and receipt.verdict is not Verdict.BUSY:
                return None
            self._gives_up_at = time.monotonic() + self._lease_seconds
        elif time.monotonic() > self._gives_up_at or not _is_passing(error):
            raise StorageInterrupted from error
        pause = self._pause * random.uniform(0.5, 1.0)  # noqa: S311 - jitter
        self._pause = min(self._pause * 2, _LONGEST_PAUSE_SECONDS)
        return pause


def call_back(tickets: Iterable[Ticket]) -> None:
    """Let everybody go on whose answer is there: each event loop at once, threads in a chain.

    Each thread lets the next one go on when it has come to run itself. All at once they would only
    push each other aside, as one of them can run Python code at a time.
    """
    loops: dict[asyncio.AbstractEventLoop, list[AsyncTicket]] = {}
    last: Ticket | None = None
    for ticket in tickets:
        if isinstance(ticket, AsyncTicket):
            loops.setdefault(ticket.loop, []).append(ticket)
        elif ticket.is_waiting:
            ticket.follower = last
            last = ticket
    if last is not None:
        last.open_gate()
    for loop, many in loops.items():
        with suppress(RuntimeError):  # the loop has been closed
            loop.call_soon_threadsafe(_resolve, many)


def _resolve(tickets: Iterable[AsyncTicket]) -> None:
    for ticket in tickets:
        if not ticket.future.done():
            ticket.future.set_result(None)


def worst(receipts: Iterable[Receipt]) -> Receipt | None:
    """Return one answer for many: the first that is not an acceptance decides."""
    receipt = None
    for receipt in receipts:
        if receipt.verdict is not Verdict.ACCEPTED:
            return receipt
    return receipt


def _is_passing(error: Exception) -> bool:
    """Whether trying again can help: a lost connection, a deadlock, a lock that timed out.

    A constraint that refuses the row will refuse it again.
    """
    refused = IntegrityError | DataError | ProgrammingError
    return isinstance(error, DatabaseError | InterfaceError) and not isinstance(error, refused)
