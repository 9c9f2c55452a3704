"""Every test here has real threads, real connections, and leaves none of them behind."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connections
from django.db.backends.signals import connection_created

from django_openworkflow.registry import registry
from django_openworkflow.testing import reset_clock
from tests.worker.workers import wait_until

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a posted result wait for the next turn, however slow the machine is, and not 10 ms."""
    monkeypatch.setattr("django_openworkflow.worker.ledger._FLUSH_SECONDS", 60.0)


def worker_threads() -> list[threading.Thread]:
    """Return the threads of workers that are still alive."""
    return [thread for thread in threading.enumerate() if thread.name.startswith("openworkflow-")]


def end_soon() -> bool:
    """Whether the threads of workers end by themselves within a second."""
    for thread in worker_threads():
        thread.join(1.0)
    return not worker_threads()


def close(connection: BaseDatabaseWrapper) -> None:
    """Close another thread's connection."""
    connection.inc_thread_sharing()
    connection.close()


@pytest.fixture(autouse=True)
def opened(transactional_db: None) -> Iterator[list[BaseDatabaseWrapper]]:
    """Collect the connections that other threads and the engine open, and close them at the end."""
    mine = connections["default"]
    found: list[BaseDatabaseWrapper] = []

    def note(connection: BaseDatabaseWrapper, **_facts: Any) -> None:
        if connection is not mine and connection not in found:
            found.append(connection)

    connection_created.connect(note, weak=False)
    with registry.isolated():
        yield found
        # Locks that a test has left behind could keep a thread from ending. But not those of a turn
        # that is being taken: SQLite crashes when a connection in use is closed.
        if not end_soon():
            for connection in found:
                if connection.in_atomic_block:
                    close(connection)
        wait_until(lambda: not worker_threads(), "the end of all threads of workers")
    reset_clock()
    connection_created.disconnect(note)
    for connection in found:
        close(connection)
