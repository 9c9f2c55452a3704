"""Threads with database connections of their own, and what they need to meet at one row."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Generic, ParamSpec, TypeVar

import pytest
from django.db import connection, connections, transaction

P = ParamSpec("P")
T = TypeVar("T")

PATIENCE_SECONDS: Final = 10.0

requires_row_locks = pytest.mark.skipif(
    connection.vendor != "postgresql",
    reason="NOT RACED: SQLite has no row locks; set DATABASE_URL=postgres://... to race",
)

# Real transactions. Only the tables of this app are emptied afterwards: the rest costs time.
race = [
    requires_row_locks,
    pytest.mark.django_db(transaction=True, available_apps=["django_openworkflow"]),
]

# A deadlock is found by a timer: the default of a second would only make it look slow.
_FIND_DEADLOCKS_SOON: Final = """
SELECT set_config('deadlock_timeout', '50ms', false)
FROM pg_roles
WHERE rolname = current_user AND rolsuper
"""
# A test that hangs in a lock must fail by itself.
_HANG_NOT_FOR_EVER: Final = "SET lock_timeout = '20s'"


@dataclass(frozen=True)
class Ending:
    """How a rival's action ended: with a value, or with an error."""

    value: Any = None
    error: BaseException | None = None

    def told(self) -> Any:
        """Return the value; an error that nobody expects is raised here."""
        if self.error is not None:
            raise self.error
        return self.value


class Rival:
    """One thread with a connection of its own. It does one thing after the other."""

    def __init__(self, name: str) -> None:
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self.pid: int = self.do(self._connect).result()

    def do(self, action: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Begin something in the thread, and return at once."""
        return self._pool.submit(action, *args, **kwargs)

    @staticmethod
    def _connect() -> int:
        with connection.cursor() as cursor:
            cursor.execute(_FIND_DEADLOCKS_SOON)
            cursor.execute(_HANG_NOT_FOR_EVER)
            cursor.execute("SELECT pg_backend_pid()")
            return int(cursor.fetchone()[0])

    def close(self) -> None:
        """End the thread and its connection."""
        self.do(connections.close_all).result(PATIENCE_SECONDS)
        self._pool.shutdown()

    # --- where it stands ------------------------------------------------------------------------

    def is_blocked(self) -> bool:
        """Whether PostgreSQL says that the thread's statement waits for a lock."""
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = %s", [self.pid]
            )
            return bool((cursor.fetchone() or [False])[0])

    def wait_until_blocked(self, action: Future[Any]) -> None:
        """Return once the thread waits for a lock; fail when it ends without having to wait."""
        self.settle(action)
        if action.done():
            message = f"did not wait for a lock, but ended: {ending(action)}"
            raise AssertionError(message)

    def settle(self, action: Future[Any]) -> None:
        """Return once the thread has ended its action or waits for a lock."""
        gives_up_at = time.monotonic() + PATIENCE_SECONDS
        while not action.done() and not self.is_blocked():
            if time.monotonic() > gives_up_at:
                message = "neither ended nor waited for a lock"
                raise AssertionError(message)


def ending(action: Future[Any]) -> Ending:
    """Wait for the end of an action, and return how it ended."""
    error = action.exception(PATIENCE_SECONDS * 3)
    return Ending(error=error) if error is not None else Ending(value=action.result())


@contextmanager
def rivals(*names: str) -> Iterator[list[Rival]]:
    """Threads that end with the block."""
    threads = [Rival(name) for name in names]
    try:
        yield threads
    finally:
        for thread in threads:
            thread.close()


# --- close meetings -----------------------------------------------------------------------------


class Race:
    """Lets two rivals act at the same moment, again and again, and keeps the outcome open.

    Who has won starts a little later next time, give or take a random bit, and much later who wins
    again and again: so the two meet at every point of each other's way, whatever the machine is
    like, and however much longer one way is than the other.
    """

    _STEP_SECONDS: Final = 0.0001
    _LONGEST_STEP_SECONDS: Final = 0.01
    _SPREAD_SECONDS: Final = 0.0006

    def __init__(self, first: Rival, second: Rival, *, seed: int) -> None:
        self._first, self._second = first, second
        self._random = random.Random(seed)  # noqa: S311 - not a secret
        self._lead_seconds = 0.0  # by how much the second starts earlier
        self._step_seconds = self._STEP_SECONDS
        self._last_winner = ""
        self.wins = {"first": 0, "second": 0}

    def run(self, one: Callable[[], Any], other: Callable[[], Any]) -> tuple[Ending, Ending]:
        """Let both act; return how it ended for the first and for the second."""
        spread = self._random.uniform(-self._SPREAD_SECONDS, self._SPREAD_SECONDS)
        lead = self._lead_seconds + spread
        meeting = threading.Barrier(2)
        actions = [
            self._first.do(self._act, meeting, max(lead, 0.0), one),
            self._second.do(self._act, meeting, max(-lead, 0.0), other),
        ]
        one_end, other_end = map(ending, actions)
        return one_end, other_end

    def won_by(self, winner: str) -> None:
        """Note who was first at the row."""
        self.wins[winner] += 1
        if winner == self._last_winner:
            self._step_seconds = min(self._step_seconds * 1.5, self._LONGEST_STEP_SECONDS)
        else:
            self._step_seconds = self._STEP_SECONDS
        self._last_winner = winner
        self._lead_seconds += self._step_seconds if winner == "first" else -self._step_seconds

    @staticmethod
    def _act(meeting: threading.Barrier, delay_seconds: float, action: Callable[[], Any]) -> Any:
        meeting.wait(PATIENCE_SECONDS)
        if delay_seconds:
            threading.Event().wait(delay_seconds)
        return action()


# --- meetings as on a stage ---------------------------------------------------------------------


class OpenTransaction(Generic[T]):
    """What a rival has done in a transaction that stays open until ``end``."""

    def __init__(self, rival: Rival, action: Callable[[], T]) -> None:
        self._acted, self._may_end = threading.Event(), threading.Event()
        self._commits = False
        self._held = rival.do(self._hold, action)
        if not self._acted.wait(PATIENCE_SECONDS):
            message = "the transaction that should be held open did not get that far"
            raise AssertionError(message)

    def _hold(self, action: Callable[[], T]) -> T:
        with transaction.atomic():
            try:
                result = action()
            finally:
                self._acted.set()
            self._may_end.wait(PATIENCE_SECONDS * 3)
            transaction.set_rollback(not self._commits)
        return result

    def end(self, *, commit: bool) -> T:
        """Commit or roll back, and return what the action returned."""
        if not self._may_end.is_set():
            self._commits = commit
            self._may_end.set()
        return self._held.result(PATIENCE_SECONDS)


@contextmanager
def held_open(rival: Rival, action: Callable[[], T]) -> Iterator[OpenTransaction[T]]:
    """Let a rival act in a transaction that stays open; by default it rolls back."""
    held = OpenTransaction(rival, action)
    try:
        yield held
    finally:
        held.end(commit=False)


class Halt:
    """An action in one transaction that stops before its n-th statement, or before its commit."""

    def __init__(self, rival: Rival, action: Callable[[], Any], *, before: int) -> None:
        self._before = before
        self._count = 0
        self._go = threading.Event()
        self._stopped_or_done = threading.Event()
        self.has_stopped = False
        self.action = rival.do(self._act, action)
        if not self._stopped_or_done.wait(PATIENCE_SECONDS):
            message = "neither got to its statement nor ended"
            raise AssertionError(message)

    def go_on(self) -> Ending:
        """Let it go on, and return how it ended."""
        self._go.set()
        return ending(self.action)

    def _act(self, action: Callable[[], Any]) -> Any:
        try:
            with transaction.atomic():
                with connection.execute_wrapper(self._wrapper):
                    result = action()
                self._gate()  # before the commit
            return result
        finally:
            self._stopped_or_done.set()

    def _wrapper(self, execute: Callable[..., Any], *args: Any) -> Any:
        self._gate()
        return execute(*args)

    def _gate(self) -> None:
        self._count += 1
        if self._count == self._before:
            self.has_stopped = True
            self._stopped_or_done.set()
            self._go.wait(PATIENCE_SECONDS * 3)


def halted(
    who: Rival, action: Callable[[], Any], other: Rival, other_action: Callable[[], Any], step: int
) -> tuple[Ending, Ending] | None:
    """Stop one before its n-th statement, let the other go as far as it can, then go on with both.

    Returns how it ended for both; None when there is no n-th statement.
    """
    halt = Halt(who, action, before=step)
    if not halt.has_stopped:
        ending(halt.action)
        return None
    meanwhile = other.do(other_action)
    other.settle(meanwhile)
    one_end = halt.go_on()
    return one_end, ending(meanwhile)
