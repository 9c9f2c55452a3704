"""Real worker processes and the signals that operators send them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from django.db import connection

from django_openworkflow import RunHandle, clock
from django_openworkflow.models import WorkerProcess, WorkflowRun
from tests.factories import WorkflowRunFactory
from tests.worker.workers import PATIENCE_SECONDS, attempts_of, wait_until

MANAGE = Path(__file__).resolve().parents[2] / "testproject" / "manage.py"


def database_url() -> str:
    """Return the address of the test database, whether its host is a name or a socket's folder."""
    given = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{given['NAME']}"
    known = {"host": given["HOST"], "port": given["PORT"], "user": given["USER"]}
    known["password"] = given["PASSWORD"]
    query = urlencode({key: value for key, value in known.items() if value})
    return f"postgres:///{given['NAME']}?{query}"


@contextmanager
def worker_process(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Start ``manage.py runworker``, and kill it at the end if it is still there."""
    process = subprocess.Popen(  # noqa: S603 - our own command
        [sys.executable, str(MANAGE), "runworker", *arguments],
        env={
            **os.environ,
            "DATABASE_URL": database_url(),
            "DJANGO_SETTINGS_MODULE": "tests.worker.process.settings",
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait(PATIENCE_SECONDS)


class Folder:
    """Where a process notes what it does, and is told to go on."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def journal(self) -> list[str]:
        """Return the lines noted so far."""
        journal = self.path / "journal"
        return journal.read_text().splitlines() if journal.exists() else []

    def let_finish(self, name: str) -> None:
        """Let a body end."""
        (self.path / f"finish-{name}").touch()


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """Return a folder of the test's own."""
    return Folder(tmp_path)


def start_long_and_restless(folder: Folder) -> tuple[RunHandle[Any], RunHandle[Any]]:
    """Start a run that is held in its first step, and one that goes from step to step."""
    long = WorkflowRunFactory.create(
        workflow_name="two-long-steps", input={"folder": str(folder.path)}
    )
    wait_until(lambda: folder.journal() == ["first began"], "the first step")
    restless: RunHandle[Any] = RunHandle(WorkflowRunFactory.create(workflow_name="restless").pk)
    wait_until(lambda: attempts_of(restless), "the restless run")
    return RunHandle(long.pk), restless


def wait_until_released(handle: RunHandle[Any]) -> None:
    """Return once a run was handed on: by then the process has heard of its signal."""
    wait_until(lambda: handle.run.worker_id is None, "the release of the restless run")


def test_sigterm_finishes_the_step_in_flight_and_hands_the_run_on(folder: Folder) -> None:
    with worker_process() as process:
        long, restless = start_long_and_restless(folder)
        process.send_signal(signal.SIGTERM)
        wait_until_released(restless)
        folder.let_finish("first")
        assert process.wait(PATIENCE_SECONDS) == 0

    assert folder.journal() == ["first began", "first ended"]
    assert attempts_of(long) == [("first", "completed")]
    for handle in (long, restless):
        run = handle.run
        assert (run.status, run.worker_id, run.takeovers, run.crashes) == ("running", None, 0, 0)
    assert not WorkerProcess.objects.exists()

    restless.cancel()
    folder.let_finish("second")
    with worker_process("--until-idle") as process:
        assert process.wait(PATIENCE_SECONDS) == 0
    assert long.result(timeout=0) == ["first", "second"]
    assert folder.journal()[2:] == ["second began", "second ended"]


def test_a_second_sigterm_ends_the_process_at_once_and_another_one_takes_over(
    folder: Folder,
) -> None:
    with worker_process() as process:
        long, restless = start_long_and_restless(folder)
        process.send_signal(signal.SIGTERM)
        wait_until_released(restless)
        assert process.poll() is None  # it waits for the step in flight
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_SECONDS) == 128 + signal.SIGTERM

    assert long.run.worker_id is not None  # as if it had been killed
    assert attempts_of(long) == [("first", "running")]
    restless.cancel()
    WorkflowRun.objects.filter(pk=long.id).update(available_at=clock.read("default"))
    for name in ("first", "second"):
        folder.let_finish(name)
    with worker_process("--until-idle") as process:
        assert process.wait(PATIENCE_SECONDS) == 0

    assert long.result(timeout=0) == ["first", "second"]
    run = long.run
    assert (run.takeovers, run.crashes, run.failures) == (1, 0, 0)
    assert folder.journal().count("first began") == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_during_start_up_is_not_lost(number: signal.Signals) -> None:
    with worker_process() as process:
        process.send_signal(number)
        assert process.wait(PATIENCE_SECONDS) in {0, 1, -number, 128 + number}
