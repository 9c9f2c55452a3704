"""What the races share: how long they last, a witness, and the count of deadlocks."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from django.db import connection

from django_openworkflow.worker.ledger import GroupLedger
from tests.races.rivals import PATIENCE_SECONDS
from tests.races.witness import Witness, backends, deadlocks, watching

if TYPE_CHECKING:
    from django_openworkflow.store.base import Store

ROUNDS = int(os.environ.get("RACE_ROUNDS", "100"))
SEED = int(os.environ.get("RACE_SEED", "20260131"))


def pytest_report_header() -> str:
    return f"races: RACE_ROUNDS={ROUNDS} RACE_SEED={SEED}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if connection.vendor != "postgresql":
        terminalreporter.write_line(
            "RACES NOT RUN: they need the row locks of PostgreSQL (DATABASE_URL=postgres://...)",
            red=True,
        )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """More rounds than usual may take longer than a test usually does."""
    for item in items:
        if "rounds" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.timeout(max(120.0, ROUNDS * 0.5)))


@pytest.fixture
def rounds() -> int:
    return ROUNDS


@pytest.fixture
def seed() -> int:
    return SEED


@pytest.fixture
def witness(transactional_db: None) -> Iterator[Witness]:
    """Watches the tables, and judges at the end of the test."""
    with watching() as watcher:
        yield watcher
        watcher.judge()


@pytest.fixture
def ledger(store: Store) -> Iterator[GroupLedger]:
    """The ledger of a worker process, with a connection of its own."""
    shared = GroupLedger(store, lease_seconds=PATIENCE_SECONDS)
    yield shared
    shared.close()


@pytest.fixture(autouse=True)
def _switch_threads_often() -> Iterator[None]:
    """Let the threads of a race interleave finely: Python's default is five milliseconds."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(0.0001)
    yield
    sys.setswitchinterval(usual)


@pytest.fixture(autouse=True)
def _no_deadlocks(transactional_db: None) -> Iterator[None]:
    """PostgreSQL counts the deadlocks that it breaks up, seen by the code or swallowed by it."""
    gives_up_at = time.monotonic() + 1
    while backends() and time.monotonic() < gives_up_at:
        pass  # those of an earlier test, whose processes were killed, are about to end
    before, others = deadlocks(), backends()
    yield
    gives_up_at = time.monotonic() + PATIENCE_SECONDS
    while backends() - others:  # a backend hands in its counts when it ends
        assert time.monotonic() < gives_up_at, "a connection of the test was left open"
    assert deadlocks() == before
