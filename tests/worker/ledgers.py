"""A ledger under observation: what its turns hold, who stands in front of it, what goes wrong."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from django.db import OperationalError, connections

from django_openworkflow.store.base import Store, TurnResult
from django_openworkflow.worker.ledger import GroupLedger
from tests.engine.turns import OPERATIONS, lease_of
from tests.worker.workers import PATIENCE_SECONDS, wait_until

if TYPE_CHECKING:
    from django_openworkflow.models import WorkflowRun
    from django_openworkflow.store.operations import Operation, Posted, Receipt


class WatchedStore(Store):
    """The real store, which notes its turns and can be made to wait or to fail around one."""

    def __init__(self, using: str) -> None:
        super().__init__(using)
        self.turns: list[int] = []
        self.kinds: list[list[str]] = []
        self.before: Callable[[], None] = lambda: None
        self.after: Callable[[], None] = lambda: None

    def take_turn(self, operations: Sequence[Operation], **wanted: Any) -> TurnResult:
        self.turns.append(len(operations))
        self.kinds.append([type(operation).__name__ for operation in operations])
        self.before()
        result = super().take_turn(operations, **wanted)
        self.after()
        return result


class Callers:
    """Threads that submit to one ledger."""

    def __init__(self, ledger: GroupLedger, pool: ThreadPoolExecutor) -> None:
        self.ledger = ledger
        self._pool = pool
        self._about_to: list[object] = []
        self._futures: list[Future[Receipt]] = []

    def submit(self, *operations: Operation, after: Sequence[Posted] = ()) -> Future[Receipt]:
        """Submit in a thread of its own."""

        def call() -> Receipt:
            self._about_to.append(operations)
            return self.ledger.submit(*operations, after=after)

        self._futures.append(self._pool.submit(call))
        return self._futures[-1]

    def wait_until_all_submit(self) -> None:
        """Return once every thread is at the ledger's door."""
        wait_until(lambda: len(self._about_to) == len(self._futures), "all threads")


@contextmanager
def callers(store: Store, *, lease_seconds: float = 30) -> Iterator[Callers]:
    """Give a ledger with many threads in front of it."""
    ledger = GroupLedger(store, lease_seconds=lease_seconds)
    try:
        with ThreadPoolExecutor(16) as pool:
            yield Callers(ledger, pool)
    finally:
        ledger.close()


class Pause:
    """Holds the first turn until it may go on."""

    def __init__(self, store: WatchedStore) -> None:
        self.is_reached = threading.Event()
        self.may_go_on = threading.Event()
        store.before = self._hold

    def _hold(self) -> None:
        self.is_reached.set()
        assert self.may_go_on.wait(PATIENCE_SECONDS)


def start_of(run: WorkflowRun) -> Operation:
    """Return an operation that starts a step of a held run."""
    return OPERATIONS["start"](lease_of(run), run.pk)


def broken_once(how_often: int) -> Callable[[], None]:
    """Return what loses the connection a few times, and then never again."""
    left = [how_often]

    def break_connection() -> None:
        if left[0]:
            left[0] -= 1
            connections["default"].close()
            raise OperationalError

    return break_connection
