"""An idle worker: woken at once by what there is to do, and as good as asleep until then."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Final

import pytest
from django.db import connection, transaction

from django_openworkflow import RunHandle, Step, send_signal, workflow
from django_openworkflow.models import WorkerProcess
from django_openworkflow.worker.listener import Listener
from django_openworkflow.worker.pace import Pace
from tests.factories import WorkflowRunFactory
from tests.worker.workers import attempts_of, wait_for_end, wait_until, work_until_idle, working

if TYPE_CHECKING:
    from django_openworkflow.worker.worker import Worker

on_postgresql = pytest.mark.skipif(
    "connection.vendor != 'postgresql'", reason="only PostgreSQL can notify"
)
# Nothing is found by a poll within the patience of these tests.
NEVER_SECONDS = (600.0, 600.0)


@pytest.fixture
def sleeper() -> Iterator[Worker]:
    """Return a worker that listens, has found nothing to do, and does not poll."""
    with working(poll_seconds=NEVER_SECONDS) as worker:
        wait_until(lambda: worker.is_listening, "the listener")
        wait_until(WorkerProcess.objects.exists, "the worker's row")
        yield worker


@workflow("woken", version="of test_wakes")
def woken(step: Step, signal: str | None = None) -> int:
    """Wait for a signal, if there is one to wait for, and do something."""
    if signal is not None:
        step.wait_for_signal(signal)
    return step.run("work", int, 1)


@workflow("parent", version="of test_wakes")
def parent(step: Step) -> int:
    """Let a child do it."""
    return step.run_workflow(woken)


@on_postgresql
@pytest.mark.usefixtures("sleeper")
def test_a_start_wakes_a_worker_once_it_has_committed() -> None:
    with transaction.atomic():
        handle = woken.start()
        assert handle.status == "pending"
    wait_for_end(handle)
    later = [woken.start() for _ in range(30)]  # most of them without a notification
    wait_for_end(*later)

    assert {handle.status for handle in (handle, *later)} == {"completed"}


@on_postgresql
@pytest.mark.usefixtures("sleeper")
def test_a_signal_wakes_a_worker() -> None:
    handle = woken.start(signal="go")
    wait_until(lambda: attempts_of(handle), "the wait")
    assert send_signal("go") == [handle.id]
    wait_for_end(handle)


@on_postgresql
@pytest.mark.usefixtures("sleeper")
def test_the_end_of_a_child_and_a_retry_wake_a_worker() -> None:
    handle = parent.start()
    wait_for_end(handle)
    assert handle.result(timeout=0) == 1

    failed = WorkflowRunFactory.create(
        failed=True, workflow_name="woken", version="of test_wakes", input={}
    )
    failed.retry()
    wait_for_end(RunHandle(failed.pk))


@on_postgresql
def test_a_child_that_its_parents_worker_has_no_room_for_wakes_another_one() -> None:
    with (
        working(poll_seconds=NEVER_SECONDS, concurrency=1) as one,
        working(poll_seconds=NEVER_SECONDS, concurrency=1) as other,
    ):
        wait_until(lambda: one.is_listening and other.is_listening, "the listeners")
        handles = [parent.start() for _ in range(4)]
        wait_for_end(*handles)

    assert [handle.result(timeout=0) for handle in handles] == [1] * 4


def heard_of(block: str) -> list[str]:
    """Return the payloads that a listener hears of many starts, or of none."""
    heard: list[str] = []
    listener = Listener("default", heard.append)
    listener.start()
    wait_until(lambda: heard == [""], "the listener")
    with transaction.atomic():
        for _ in range(50):
            woken.using(available_at="1h").start()
        if block == "rolled back":
            woken.start()
            transaction.set_rollback(True)
    if block == "many":
        for _ in range(50):
            woken.start()
    WorkflowRunFactory.create(running=True).cancel()
    wait_until(lambda: heard[-1] == "canceled", "the cancel")
    listener.stop()
    return heard[1:-1]


@on_postgresql
@pytest.mark.parametrize("block", ["rolled back", "later"])
def test_what_is_not_due_is_not_heard(block: str) -> None:
    assert heard_of(block) == []


@on_postgresql
def test_many_starts_are_few_notifications() -> None:
    began = time.monotonic()
    heard = heard_of("many")
    hundredths = (time.monotonic() - began) * 100

    assert set(heard) == {"due"}
    assert len(heard) <= min(50, hundredths + 1)


def commits() -> int:
    """Return how many transactions were committed in this database."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_clear_snapshot()")
        cursor.execute(
            "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"
        )
        return int(cursor.fetchone()[0])


def fewest_commits(runs: int, concurrency: int) -> int:
    """Return how many transactions a worker takes to drain runs of three steps.

    The fewest of three times: those of PostgreSQL itself, such as autovacuum's, are counted too.
    """

    @workflow("three-steps", version=f"of test_wakes {concurrency}")
    def three_steps(step: Step) -> int:
        return sum(step.run(name, int, 1) for name in ("a", "b", "c"))

    def commits_of_one_drain() -> int:
        three_steps.start_many([{}] * runs)
        before = commits()
        work_until_idle(concurrency=concurrency)
        connection.close()  # reports what this thread has done
        return commits() - before

    return min(commits_of_one_drain() for _ in range(3))


@on_postgresql
@pytest.mark.usefixtures("unhurried")
def test_a_run_of_three_steps_is_at_most_five_commits_alone() -> None:
    """On a machine that keeps nobody waiting between two steps: a pause makes it one more."""
    assert fewest_commits(60, 1) <= 60 * 5


@on_postgresql
def test_a_run_of_three_steps_is_half_a_commit_in_a_crowd() -> None:
    assert fewest_commits(400, 50) <= 400 * 0.5


# Only of sessions between two transactions: the last statement of each stands for it.
LAST_OF_OTHERS: Final = """
    SELECT pid, query_start FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
      AND backend_type = 'client backend' AND query_start IS NOT NULL AND state = 'idle'
"""


def transactions_of_others(seconds: float) -> int:
    """Return how many transactions other clients of this database had in this time.

    Not those that the database counts: what PostgreSQL does itself is among them.
    """
    seen: set[tuple[int, datetime]] = set()

    def looks() -> bool:
        with connection.cursor() as cursor:
            cursor.execute(LAST_OF_OTHERS)
            seen.update(cursor.fetchall())
        return time.monotonic() > ends_at

    ends_at = time.monotonic() + seconds
    looks()
    before = len(seen)
    wait_until(looks, "idle seconds")
    return len(seen) - before


@on_postgresql
def test_an_idle_worker_takes_about_one_transaction_in_a_second() -> None:
    with working(poll_seconds=(0.1, 1.0), concurrency=50):
        wait_until(WorkerProcess.objects.exists, "the worker's row")
        wait_until(lambda: transactions_of_others(1) <= 2, "pauses that have grown")
        assert 1 <= transactions_of_others(5) <= 5 + 2


def test_pauses_double_and_a_notification_makes_them_short_again() -> None:
    pace = Pace((0.1, 0.4))
    pauses = [pace.pause(has_claimed=False, is_full=False) for _ in range(6)]
    for pause, limit in zip(pauses[:2], (0.1, 0.2), strict=True):
        assert limit / 2 <= pause <= limit
    assert all(0.4 <= pause <= 0.6 for pause in pauses[2:])

    assert pace.pause(has_claimed=True, is_full=False) <= 0.1
    pace.hurry()
    assert pace.pause(has_claimed=False, is_full=False) <= 0.005
    assert pace.pause(has_claimed=True, is_full=True) == 0.4


def test_a_worker_without_a_listener_polls() -> None:
    with working() as worker:
        handle = woken.start()
        wait_for_end(handle)
        if connection.vendor != "postgresql":
            assert not worker.is_listening

    assert handle.result(timeout=0) == 1
