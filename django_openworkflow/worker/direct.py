"""The ledger without a worker: for tests, and for ``run_until_idle``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asgiref.sync import sync_to_async
from django.db import DatabaseError, InterfaceError

from django_openworkflow.store.operations import Posted, Receipt, StorageInterrupted
from django_openworkflow.worker.tickets import worst

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from django_openworkflow.store.base import Store
    from django_openworkflow.store.operations import Operation, StepCompleted


class DirectLedger:
    """Applies operations at once, in the calling thread, on that thread's own connection.

    For tests and for ``run_until_idle``: inside a test's transaction nothing else can see the rows.
    """

    is_shared = False

    def __init__(self, store: Store) -> None:
        self._store = store

    def submit(self, *operations: Operation, after: Sequence[Posted] = ()) -> Receipt:
        """See ``Ledger.submit``; waits for row locks, and gives up at the first storage error."""
        try:
            receipt = worst(self._store.apply(operations, wait=True))
        except (DatabaseError, InterfaceError) as error:
            raise StorageInterrupted from error
        if receipt is None:
            message = "there is nothing to submit"
            raise ValueError(message)
        return receipt

    async def asubmit(self, *operations: Operation, after: Sequence[Posted] = ()) -> Receipt:
        """See ``Ledger.asubmit``: in the thread that waits for the loop."""
        return await sync_to_async(self.submit, thread_sensitive=True)(*operations)

    def post(self, operation: Operation) -> Posted:
        """See ``Ledger.post``: written at once."""
        return Posted(operation, self.submit(operation))

    async def apost(self, operation: Operation) -> Posted:
        """See ``Ledger.apost``: written at once, in the thread that waits for the loop."""
        return Posted(operation, await self.asubmit(operation))

    def is_completed(self, attempt_id: UUID) -> bool:
        """See ``Ledger.is_completed``."""
        return self._store.is_completed(attempt_id)

    def was_canceled(self, run_id: UUID) -> bool:
        """See ``Ledger.was_canceled``: on one connection, whatever is seen is of its own making."""
        return False

    def commit_with(self, operation: StepCompleted) -> Receipt:
        """See ``Ledger.commit_with``."""
        return self._store.apply([operation], wait=True)[0]
