"""One turn of the ledger: what it is made of, and what is done when the database refuses it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, Protocol

from django.db import Error, InterfaceError

from django_openworkflow import notices
from django_openworkflow.store.operations import (
    ChildStarted,
    RunCompleted,
    RunFailed,
    RunParked,
    RunReleased,
    RunRescheduled,
    SignalSent,
    StepCompleted,
    StepFailed,
    Verdict,
)
from django_openworkflow.transactions import borrowed

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

    from django.db.backends.base.base import BaseDatabaseWrapper

    from django_openworkflow.store.base import ClaimRequest, Store, TurnResult
    from django_openworkflow.store.operations import Lease, Operation, Receipt
    from django_openworkflow.worker.tickets import PostedTicket, Ticket

logger: Final = logging.getLogger(__name__)

_IS_PROGRESS: Final = (StepCompleted, StepFailed)
_ENDS_PASS: Final = (RunCompleted, RunFailed, RunParked, RunReleased, RunRescheduled)


class Intake(Protocol):
    """Who the ledger claims and beats for; called by whoever leads, one at a time."""

    def request(self, ending: int) -> ClaimRequest | None:
        """Return what to claim in a turn that ends so many passes."""
        ...

    def leases_due(self) -> Sequence[Lease]:
        """Return the leases to be extended in this turn."""
        ...

    def note(
        self, result: TurnResult, ended: Sequence[Lease], advanced: Sequence[Lease] = ()
    ) -> None:
        """Take account of what a turn has claimed, of passes it has ended, of runs that got on."""
        ...

    def receive(self, result: TurnResult) -> None:
        """Hand out what was claimed, and tell of leases; while the next turn may be on its way."""
        ...

    def failed(self) -> None:
        """Take note that a turn was not written: what it was to claim and extend, too."""
        ...


class TurnWriter:
    """Writes turns on the ledger's connection, for one leader at a time."""

    def __init__(
        self,
        store: Store,
        connection: BaseDatabaseWrapper,
        *,
        lease_seconds: float,
        intake: Intake | None,
    ) -> None:
        self._store = store
        self._connection = connection
        self._lease_seconds = lease_seconds
        self._intake = intake

    def write(self, turn: Sequence[Ticket], posted: Sequence[PostedTicket]) -> TurnResult | None:
        """Write all of it, or each alone; answer everybody. None if it was not written together."""
        operations = [one.operation for one in posted]
        written = [ticket for ticket in turn if not ticket.refuse()]
        for ticket in written:
            operations += ticket.operations
        claim, leases = self._wishes(operations)
        try:
            result = self._take(operations, claim, leases)
        except Exception as error:
            is_shared = len(written) + len(posted) > 1 or claim is not None or bool(leases)
            self._heed_failure(error, written, posted, is_shared=is_shared)
            return None
        except BaseException:
            # The leader's thread is being torn down: the others must not wait for it for ever.
            for ticket in turn:
                ticket.error = InterfaceError("The ledger's turn was interrupted")
            raise
        rest = iter(result.receipts)
        for one in posted:
            one.settle(next(rest), None)
        for ticket in written:
            ticket.answer([next(rest) for _ in ticket.operations])
        return result

    def _wishes(
        self, operations: Sequence[Operation]
    ) -> tuple[ClaimRequest | None, Sequence[Lease]]:
        """Return what the worker wants of a turn with these operations."""
        if self._intake is None:
            return None, ()
        ending = sum(type(operation) in _ENDS_PASS for operation in operations)
        return self._intake.request(ending), self._intake.leases_due()

    def _take(
        self,
        operations: Sequence[Operation],
        claim: ClaimRequest | None = None,
        leases: Sequence[Lease] = (),
    ) -> TurnResult:
        with borrowed(self._store.using, self._connection):
            result = self._store.take_turn(
                operations, claim=claim, leases=leases, lease_seconds=self._lease_seconds
            )
            self._tell_others(operations, claim, result)
        if self._intake is not None:
            ended, advanced = (
                _written(operations, result.receipts, kinds) for kinds in (_ENDS_PASS, _IS_PROGRESS)
            )
            self._intake.note(result, ended, advanced)
        return result

    def _tell_others(
        self, operations: Sequence[Operation], claim: ClaimRequest | None, result: TurnResult
    ) -> None:
        """Wake idle workers for runs that this turn has made due and has not claimed itself."""
        took_all = claim is not None and len(result.claimed) < claim.limit
        told = zip(operations, result.receipts, strict=True)
        if took_all or not any(_has_made_due(*each) for each in told):
            return
        try:
            notices.notify_due(self._store.using)
        except Error:  # the turn is written; a poll finds the runs
            logger.warning("Idle workers could not be notified")

    def _heed_failure(
        self,
        error: Exception,
        turn: Sequence[Ticket],
        posted: Sequence[PostedTicket],
        *,
        is_shared: bool,
    ) -> None:
        """Write ticket by ticket, so that a bad one fails alone; give up at a lost connection."""
        if self._intake is not None:
            self._intake.failed()
        is_alive = self._connection.connection is not None and self._connection.is_usable()
        logger.warning("The ledger's turn failed and is tried again: %s", _first_line(error))
        if is_shared and is_alive:
            self._write_apart(turn, posted)
            return
        self._connection.close()
        for one in posted:
            one.settle(None, error)
        for ticket in turn:
            ticket.error = error

    def _write_apart(self, turn: Sequence[Ticket], posted: Sequence[PostedTicket]) -> None:
        for one in posted:
            answers, own_error = self._apply_alone([one.operation])
            one.settle(answers[0] if answers else None, own_error)
        for ticket in turn:
            receipts: Sequence[Receipt] = ()
            if all(one.is_accepted for one in ticket.after):
                receipts, ticket.error = self._apply_alone(ticket.operations)
            ticket.answer(receipts)

    def _apply_alone(
        self, operations: Sequence[Operation]
    ) -> tuple[Sequence[Receipt], Exception | None]:
        try:
            return self._take(operations).receipts, None
        except Exception as error:
            return (), error


def _written(
    operations: Sequence[Operation], receipts: Sequence[Receipt], kinds: Container[type[Operation]]
) -> list[Lease]:
    """Return the leases of such operations that were written, or refused for good."""
    return [
        operation.lease
        for operation, receipt in zip(operations, receipts, strict=True)
        if type(operation) in kinds and receipt.verdict is not Verdict.BUSY
    ]


def _has_made_due(operation: Operation, receipt: Receipt) -> bool:
    """Whether this may have made another run due, or its own for another worker."""
    if receipt.verdict is Verdict.BUSY:  # a refused one may have been written in a turn before
        return False
    match operation:
        case RunCompleted() | RunFailed():
            return operation.parent_run_id is not None
        case RunParked():
            return any(isinstance(wait, ChildStarted) for wait in operation.waits)
        case _:
            return isinstance(operation, ChildStarted | SignalSent | RunReleased)


def _first_line(error: Exception) -> str:
    """Return what a database said, without the details: those may show the values of a row."""
    return next(iter(str(error).splitlines()), type(error).__name__)
