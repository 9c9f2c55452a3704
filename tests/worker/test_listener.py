"""The listener: word of a cancel at once, a lost connection found again, a stop that wakes it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator

import pytest
from django.db import connection, transaction
from django.test import override_settings

from django_openworkflow import notices
from django_openworkflow.worker.listener import Listener
from tests.factories import WorkflowRunFactory
from tests.worker.workers import wait_until

on_postgresql = pytest.mark.skipif(
    "connection.vendor != 'postgresql'", reason="only PostgreSQL can notify"
)


class Notices:
    """Counts what a listener hears."""

    def __init__(self) -> None:
        self.count = 0
        self.payloads: list[str] = []

    def note(self, payload: str) -> None:
        self.count += 1
        self.payloads.append(payload)

    def wait_for(self, count: int) -> None:
        """Return once so many have come."""
        wait_until(lambda: self.count >= count, f"notice number {count}")


@pytest.fixture
def heard() -> Notices:
    return Notices()


@pytest.fixture
def listener(heard: Notices) -> Iterator[Listener]:
    """Return a listener that has heard the one notice that each connection begins with."""
    listener = Listener("default", heard.note)
    listener.start()
    heard.wait_for(1)
    yield listener
    listener.stop()


def backends() -> list[int]:
    """Return the process ids of the connections that listen."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pid FROM pg_stat_activity "
            "WHERE datname = current_database() AND query LIKE 'LISTEN %%'"
        )
        return [pid for (pid,) in cursor.fetchall()]


def is_alive() -> bool:
    """Whether the thread of a listener is alive."""
    return any(thread.name == "openworkflow-listener" for thread in threading.enumerate())


@on_postgresql
@pytest.mark.usefixtures("listener")
def test_a_cancel_is_heard_once_it_has_committed(heard: Notices) -> None:
    runs = [WorkflowRunFactory.create(running=True) for _ in range(3)]
    with transaction.atomic():
        for run in runs:
            run.cancel()
        assert heard.count == 1  # nothing before the commit
    heard.wait_for(2)

    WorkflowRunFactory.create(running=True).cancel()
    heard.wait_for(3)
    assert heard.count == 3  # one for each commit, however many runs


@on_postgresql
@pytest.mark.usefixtures("listener")
def test_what_is_rolled_back_or_of_another_namespace_is_not_heard(heard: Notices) -> None:
    with transaction.atomic():
        WorkflowRunFactory.create(running=True).cancel()
        transaction.set_rollback(True)
    with override_settings(OPENWORKFLOW={"NAMESPACE": "other"}):
        WorkflowRunFactory.create(running=True).cancel()
        WorkflowRunFactory.create().cancel()
    WorkflowRunFactory.create(running=True).cancel()
    heard.wait_for(2)

    assert heard.count == 2


@on_postgresql
@pytest.mark.usefixtures("listener")
def test_a_lost_connection_is_found_again(heard: Notices, caplog: pytest.LogCaptureFixture) -> None:
    wait_until(lambda: len(backends()) == 1, "the end of earlier connections")
    (pid,) = backends()
    with caplog.at_level(logging.WARNING), connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s)", [pid])
        heard.wait_for(2)  # each connect looks up what was missed meanwhile
    assert "Listening for notifications failed and is tried again" in caplog.text
    assert backends() != [pid]
    notices.notify_canceled("default")
    heard.wait_for(3)


@on_postgresql
def test_a_listener_that_waits_for_nothing_is_woken_to_stop(listener: Listener) -> None:
    listener.stop()

    assert not is_alive()
    wait_until(lambda: not backends(), "the end of its connection")
    listener.stop()  # again: it does no harm


@on_postgresql
def test_a_listener_that_cannot_connect_is_woken_to_stop(
    heard: Notices, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("django_openworkflow.worker.listener._RECONNECT_SECONDS", 3_600.0)
    monkeypatch.setattr(
        Listener, "_parameters", lambda self: {"host": "127.0.0.1", "port": 1, "dbname": "none"}
    )
    listener = Listener("default", heard.note)
    with caplog.at_level(logging.WARNING):
        listener.start()
        wait_until(lambda: caplog.records, "the first failure")
        listener.stop()

    assert (heard.count, is_alive()) == (0, False)


def test_where_nobody_can_notify_there_is_no_listener(heard: Notices) -> None:
    if connection.vendor == "postgresql":
        pytest.skip("PostgreSQL can notify")
    listener = Listener("default", heard.note)
    listener.start()
    assert not is_alive()
    listener.stop()  # nothing to stop: it does no harm
    notices.notify_canceled("default")

    assert heard.count == 0
