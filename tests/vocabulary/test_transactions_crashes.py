"""Transaction steps take effect exactly once, wherever the worker or its connection dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
from django.contrib.auth.models import Group
from django.db import OperationalError, connection, transaction

from django_openworkflow import RetryPolicy, RunHandle, Step, clock, workflow
from django_openworkflow.models import StepAttempt, WorkflowRun
from django_openworkflow.testing import run_until_idle
from tests.engine.passes import tick
from tests.factories import WorkflowRunFactory
from tests.races.rivals import requires_row_locks
from tests.vocabulary.transactions_process import (
    AFTER_THE_COMMIT,
    BEFORE_THE_COMMIT,
    IN_THE_BODY,
    NEVER,
)
from tests.worker.conftest import opened  # noqa: F401 - closes what a worker's threads opened
from tests.worker.processes import database_url
from tests.worker.workers import (
    PATIENCE_SECONDS,
    SHORT_LEASE_SECONDS,
    attempts_of,
    backend_pid,
    wait_for_end,
    working,
)

pytestmark = pytest.mark.django_db(transaction=True)

ROOT: Final = Path(__file__).resolve().parents[2]
ONCE = RetryPolicy(maximum_attempts=1)


# --- killed processes ---------------------------------------------------------------------------


def work(moment: str, journal: Path) -> int:
    """Let a process work, and return its exit code."""
    process = subprocess.run(  # noqa: S603 - our own command
        [sys.executable, "-m", "tests.vocabulary.transactions_process", moment, str(journal)],
        cwd=ROOT,
        env={
            **os.environ,
            "DATABASE_URL": database_url(),
            "DJANGO_SETTINGS_MODULE": "testproject.settings",
        },
        timeout=PATIENCE_SECONDS * 2,
        check=False,
    )
    return process.returncode


def start_and_kill(moment: str, journal: Path) -> RunHandle[Any]:
    """Start a run, let its worker die at this moment, and let its lease expire."""
    run = WorkflowRunFactory.create(workflow_name="reserving", input=None)
    assert work(moment, journal) == -signal.SIGKILL
    WorkflowRun.objects.filter(pk=run.pk).update(available_at=clock.read("default"))
    return RunHandle(run.pk)


@pytest.mark.parametrize("moment", [IN_THE_BODY, BEFORE_THE_COMMIT])
def test_before_the_commit_nothing_has_happened_and_the_body_runs_again(
    moment: str, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    handle = start_and_kill(moment, journal)
    assert not Group.objects.exists()
    assert attempts_of(handle) == [("reserve", "running")]
    assert work(NEVER, journal) == 0

    assert handle.result(timeout=0) == ["group 0"]
    assert Group.objects.count() == 1
    assert journal.read_text().split() == ["reserve", "reserve", "thank"]
    (attempt, _) = StepAttempt.objects.order_by("created_at", "pk")
    assert (attempt.status, attempt.output, attempt.interruptions) == ("completed", "group 0", 1)
    assert handle.run.takeovers == 1


def test_after_the_commit_all_has_happened_and_the_body_does_not_run_again(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    handle = start_and_kill(AFTER_THE_COMMIT, journal)
    assert Group.objects.count() == 1
    assert attempts_of(handle) == [("reserve", "completed")]
    assert handle.run.worker_id is not None  # as a dead worker leaves it
    assert work(NEVER, journal) == 0

    assert handle.result(timeout=0) == ["group 0"]
    assert Group.objects.count() == 1
    assert journal.read_text().split() == ["reserve", "thank"]


# --- killed connections -------------------------------------------------------------------------


def terminate_own_connection() -> None:
    """Let the server close this thread's connection, as at a restart."""
    pid = backend_pid()
    other = connection.copy()
    try:
        with other.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s, 10000)", [pid])
    finally:
        other.close()


class Body:
    """Writes, and loses its connection in its first call."""

    def __init__(self, *, after_commit: bool = False, reconnects: bool = False) -> None:
        self.calls = 0
        self._after_commit = after_commit
        self._reconnects = reconnects

    def __call__(self) -> str:
        self.calls += 1
        group = Group.objects.create(name="reserved")
        if self.calls == 1 and self._after_commit:
            transaction.on_commit(self._lose_the_reply)
        elif self.calls == 1:
            terminate_own_connection()
        return group.name

    def _lose_the_reply(self) -> None:
        """Raise what a commit raises whose reply does not come."""
        terminate_own_connection()
        try:
            Group.objects.count()
        finally:
            if self._reconnects:  # as Django's atomic() does by itself after a failed commit
                connection.close()
                connection.ensure_connection()


def start_reserving(body: Body) -> RunHandle[Any]:
    @workflow("reserving")
    def reserving(step: Step) -> str:
        return step.transaction("reserve", body, retry_policy=ONCE)

    return reserving.start()


def judge(handle: RunHandle[Any]) -> None:
    """The trouble was not the run's: it completed, without a failure, and wrote once."""
    run = handle.run
    assert (run.status, run.output, run.error, run.failures) == ("completed", "reserved", None, 0)
    assert attempts_of(handle) == [("reserve", "completed")]
    assert Group.objects.count() == 1


@requires_row_locks
def test_a_connection_lost_before_the_commit_is_no_failure_of_the_run() -> None:
    body = Body()
    handle = start_reserving(body)
    with working(lease_seconds=SHORT_LEASE_SECONDS):
        wait_for_end(handle)

    judge(handle)
    assert body.calls == 2


@requires_row_locks
@pytest.mark.parametrize("reconnects", [False, True])
def test_a_commit_whose_reply_was_lost_is_found_to_have_happened(*, reconnects: bool) -> None:
    body = Body(after_commit=True, reconnects=reconnects)
    handle = start_reserving(body)
    with working(lease_seconds=SHORT_LEASE_SECONDS):
        wait_for_end(handle)

    judge(handle)
    assert body.calls == 1
    assert handle.run.takeovers == 0  # in the very same pass


@requires_row_locks
def test_in_a_projects_own_tests_a_lost_connection_is_shown_and_blamed_on_nobody() -> None:
    body = Body()
    handle = start_reserving(body)
    with pytest.raises(OperationalError):
        run_until_idle()
    assert not Group.objects.exists()
    tick("30s")

    judge(handle)
    assert body.calls == 2


def test_an_operational_error_of_the_body_on_a_healthy_connection_is_its_own() -> None:
    def body() -> None:
        Group.objects.create(name="reserved")
        message = "the disk of somebody else is full"
        raise OperationalError(message)

    @workflow("failing")
    def failing(step: Step) -> None:
        step.transaction("reserve", body, retry_policy=ONCE)

    handle = failing.start()
    run_until_idle()

    assert handle.run.error["name"] == "OperationalError"
    assert attempts_of(handle) == [("reserve", "failed")]
    assert not Group.objects.exists()
